import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { belongsToService, pickLatest, taskSchema, toMember } from '../../../../shared/gpu/upkeep/ecs-task.ts';
import { parseFleetEvent } from '../../../../shared/gpu/upkeep/fleet-event.ts';
import { aTask, CLUSTER } from './stand-in-ecs.ts';
import { told } from './upkeep-world.ts';

const sample = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../../../events', `${name}.json`), 'utf8'));
const settings = { port: 8_000, slots: 32 };
const memberOf = (changes: Parameters<typeof aTask>[1]) => toMember(told(aTask('t1', changes)), settings, undefined);

describe('a task', () => {
  test('of an event is a member with an address, a start and an instance', () => {
    const { detail } = sample('fleet-task-running');
    expect(toMember(v.parse(taskSchema, detail), settings, 'i-0123456789abcdef0')).toEqual({
      id: '9f3c2b7a8d6e4f10b5a49c8e7d6f5a43',
      url: 'http://10.0.3.7:8000/v1',
      phase: 'running',
      unhealthy: false,
      slots: 32,
      source: 'ecs',
      bootId: expect.stringMatching(/^[0-9a-f]{16}$/),
      startedAt: Date.parse('2026-11-21T09:40:31.482Z'),
      instance: 'i-0123456789abcdef0',
    });
  });

  test.each([
    [{ lastStatus: 'PROVISIONING' }, 'starting'],
    [{ lastStatus: 'PENDING' }, 'starting'],
    [{ lastStatus: 'ACTIVATING' }, 'starting'],
    [{ lastStatus: 'RUNNING' }, 'running'],
    [{ lastStatus: 'RUNNING', desiredStatus: 'STOPPED' }, 'stopping'],
    [{ lastStatus: 'PENDING', desiredStatus: 'STOPPED' }, 'stopping'],
    [{ lastStatus: 'DEACTIVATING', desiredStatus: 'STOPPED' }, 'stopping'],
    [{ lastStatus: 'STOPPING', desiredStatus: 'STOPPED' }, 'stopping'],
    [{ lastStatus: 'DEPROVISIONING', desiredStatus: 'STOPPED' }, 'stopping'],
    [{ lastStatus: 'STOPPED', desiredStatus: 'STOPPED' }, 'stopped'],
  ])('%o is %s', (changes, phase) => {
    expect(memberOf(changes).phase).toBe(phase);
  });

  test('has no address before its network interface has one', () => {
    expect(memberOf({ attachments: [{ type: 'ElasticNetworkInterface', details: [] }] }).url).toBeUndefined();
  });

  test('has another start with each container, and the same one in whatever order they are named', () => {
    const container = (runtimeId: string) => ({ name: 'c', runtimeId, lastStatus: 'RUNNING' });
    const start = (...ids: string[]) => memberOf({ containers: ids.map(container) }).bootId;
    expect(start('a', 'b')).toBe(start('b', 'a'));
    expect(start('a', 'b')).not.toBe(start('a', 'c'));
    expect(start()).toBe(memberOf({ containers: [] }).bootId);
    expect(start()).not.toBe(memberOf({ containers: [], startedAt: 1_800_000_001 }).bootId);
  });

  test('belongs to its service, whose cluster goes by its name or its ARN', () => {
    const task = told(aTask('t1'));
    expect(belongsToService(task, { cluster: 'gpu', service: 'qwen' })).toBe(true);
    expect(
      belongsToService(task, { cluster: CLUSTER, service: 'arn:aws:ecs:eu-west-1:123456789012:service/gpu/qwen' }),
    ).toBe(true);
    expect(belongsToService(task, { cluster: 'gpu', service: 'qwen2' })).toBe(false);
    expect(belongsToService(task, { cluster: 'cpu', service: 'qwen' })).toBe(false);
  });

  test('is what the higher version says', () => {
    const [old, young] = [told(aTask('t1', { version: 3 })), told(aTask('t1', { version: 4 }))];
    expect(pickLatest(old, young)).toBe(young);
    expect(pickLatest(young, old)).toBe(young);
    expect(pickLatest(old, undefined)).toBe(old);
  });
});

describe('the events', () => {
  test.each([
    ['fleet', { kind: 'tick' }],
    ['fleet-task-running', { kind: 'task', task: { lastStatus: 'RUNNING', group: 'service:qwen', version: 4 } }],
    [
      'fleet-task-stopping',
      { kind: 'task', task: { lastStatus: 'DEACTIVATING', desiredStatus: 'STOPPED', version: 5 } },
    ],
    ['fleet-spot-warning', { kind: 'interruption', instance: 'i-0123456789abcdef0' }],
    ['fleet-drain', { kind: 'command', command: { type: 'drain', fleet: 'local', worker: 'gpu-1' } }],
  ])('%s.json is read', (name, expected) => {
    expect(parseFleetEvent(sample(name))).toMatchObject(expected);
  });

  test.each([
    [{}],
    [null],
    ['drain'],
    [{ type: 'explode', fleet: 'gpu' }],
    [{ type: 'drain', fleet: 'gpu' }],
    [{ type: 'drain', fleet: 'gpu', worker: 'gpu-1', force: true }],
    [{ source: 'aws.ecs', 'detail-type': 'ECS Task State Change', detail: {} }],
    [{ source: 'theirs', 'detail-type': 'Scheduled Event' }],
  ])('%o is refused', (event) => {
    expect(() => parseFleetEvent(event)).toThrow(/The event is invalid/);
  });
});
