import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { belongsToService, pickLatest, taskSchema, toMember } from '../../../../shared/gpu/upkeep/ecs-task.ts';
import { parseFleetEvent } from '../../../../shared/gpu/upkeep/fleet-event.ts';
import { CLUSTER, createTask } from './stand-in-ecs.ts';
import { toEventTask } from './upkeep-world.ts';

const readSample = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../../../events', `${name}.json`), 'utf8'));
const settings = { port: 8_000, slots: 32 };
const createMember = (changes: Parameters<typeof createTask>[1]) =>
  toMember(toEventTask(createTask('t1', changes)), settings, undefined);

describe('ECS tasks', () => {
  it('a task of an event becomes a member with an address, a boot id and an instance', () => {
    const { detail } = readSample('fleet-task-running');
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

  it.each([
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
  ])('a task with %o is %s', (changes, phase) => {
    expect(createMember(changes).phase).toBe(phase);
  });

  it('a member has no URL until its network interface has an address', () => {
    expect(createMember({ attachments: [{ type: 'ElasticNetworkInterface', details: [] }] }).url).toBeUndefined();
  });

  it('the boot id changes with each container and does not depend on their order', () => {
    const container = (runtimeId: string) => ({ name: 'c', runtimeId, lastStatus: 'RUNNING' });
    const bootId = (...ids: string[]) => createMember({ containers: ids.map(container) }).bootId;
    expect(bootId('a', 'b')).toBe(bootId('b', 'a'));
    expect(bootId('a', 'b')).not.toBe(bootId('a', 'c'));
    expect(bootId()).toBe(createMember({ containers: [] }).bootId);
    expect(bootId()).not.toBe(createMember({ containers: [], startedAt: 1_800_000_001 }).bootId);
  });

  it('a task belongs to a service that is given by name or ARN', () => {
    const task = toEventTask(createTask('t1'));
    expect(belongsToService(task, { cluster: 'gpu', service: 'qwen' })).toBe(true);
    expect(
      belongsToService(task, { cluster: CLUSTER, service: 'arn:aws:ecs:eu-west-1:123456789012:service/gpu/qwen' }),
    ).toBe(true);
    expect(belongsToService(task, { cluster: 'gpu', service: 'qwen2' })).toBe(false);
    expect(belongsToService(task, { cluster: 'cpu', service: 'qwen' })).toBe(false);
  });

  it('the description with the higher version is picked', () => {
    const [older, newer] = [
      toEventTask(createTask('t1', { version: 3 })),
      toEventTask(createTask('t1', { version: 4 })),
    ];
    expect(pickLatest(older, newer)).toBe(newer);
    expect(pickLatest(newer, older)).toBe(newer);
    expect(pickLatest(older, undefined)).toBe(older);
  });
});

describe('parseFleetEvent', () => {
  it.each([
    ['fleet', { kind: 'tick' }],
    ['fleet-task-running', { kind: 'task', task: { lastStatus: 'RUNNING', group: 'service:qwen', version: 4 } }],
    [
      'fleet-task-stopping',
      { kind: 'task', task: { lastStatus: 'DEACTIVATING', desiredStatus: 'STOPPED', version: 5 } },
    ],
    ['fleet-spot-warning', { kind: 'interruption', instance: 'i-0123456789abcdef0' }],
    ['fleet-drain', { kind: 'command', command: { type: 'drain', fleet: 'local', worker: 'gpu-1' } }],
  ])('the sample event %s.json is parsed', (name, expected) => {
    expect(parseFleetEvent(readSample(name))).toMatchObject(expected);
  });

  it.each([
    [{}],
    [null],
    ['drain'],
    [{ type: 'explode', fleet: 'gpu' }],
    [{ type: 'drain', fleet: 'gpu' }],
    [{ type: 'drain', fleet: 'gpu', worker: 'gpu-1', force: true }],
    [{ source: 'aws.ecs', 'detail-type': 'ECS Task State Change', detail: {} }],
    [{ source: 'theirs', 'detail-type': 'Scheduled Event' }],
  ])('the event %o is rejected', (event) => {
    expect(() => parseFleetEvent(event)).toThrow(/The event is invalid/);
  });
});
