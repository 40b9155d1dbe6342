import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { NAMESPACE } from '../../shared/core/metrics.ts';
import { EVERYTHING, type FoundResource, findByType, packageStage } from './packaged.ts';

const ROOT = join(import.meta.dirname, '../..');
const runbooks = readFileSync(join(ROOT, 'docs/alarms.md'), 'utf8');

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packageStage(), packageStage(...EVERYTHING)]);
});

const listAlarms = (template: Template) => findByType(template, 'AWS::CloudWatch::Alarm');
const getShortName = ({ properties }: FoundResource) => String(properties['AlarmName']).replace(/^lambent-\w+-/, '');

describe('the alarms of a stage', () => {
  it('the alarms cover the functions, the gateway, the queues, the sweep, GPU workers and KMS', () => {
    expect(listAlarms(minimal).map(getShortName).sort()).toEqual(
      [
        ...['authorize-errors', 'chat-errors', 'warmup-errors', 'authorize-throttles', 'chat-throttles'],
        ...['authorize-latency', 'chat-latency', 'chat-first-token', 'gateway-5xx'],
        ...['authorize-cold-starts', 'chat-cold-starts'],
        ...[
          'sessions-errors',
          'responses-errors',
          'intake-errors',
          'generate-errors',
          'dispatch-errors',
          'sweep-errors',
        ],
        ...['sessions-throttles', 'responses-throttles'],
        ...['gpu-queue-age', 'gpu-dlq'],
        ...[
          'generation-queue-age',
          'intake-failures',
          'generation-dlq',
          'sweep-failures',
          'sweep-stopped',
          'kms-errors',
          'store-errors',
          'targets-unusable',
        ],
        ...['jobs-queue-age', 'jobs-waiting', 'jobs-dlq'],
        ...['fleet-errors', 'fleet-stranded', 'workers-suspect', 'fleet-stopped'],
      ].sort(),
    );
  });

  it('the alarms include spillover alarms only with provisioned concurrency', () => {
    const added = listAlarms(everything)
      .map(getShortName)
      .filter((name) => !listAlarms(minimal).map(getShortName).includes(name));
    expect(added).toEqual(['authorize-spillover', 'chat-spillover']);
    expect(everything.Resources['ChatSpilloverAlarm']?.Properties?.['Dimensions']).toContainEqual({
      Name: 'Resource',
      Value: 'lambent-prod-chat:provisioned',
    });
  });

  it('the alarms publish to the topic, and treat missing data as healthy unless it means that a schedule stopped', () => {
    for (const alarm of listAlarms(everything)) {
      const name = getShortName(alarm);
      expect(alarm.properties, name).toMatchObject({
        AlarmActions: [{ Ref: 'AlarmTopic' }],
        TreatMissingData: ['sweep-stopped', 'fleet-stopped'].includes(name) ? 'breaching' : 'notBreaching',
      });
    }
  });

  it('each alarm links to its runbook in docs/alarms.md, which has no other runbooks', () => {
    for (const alarm of listAlarms(everything)) {
      const name = getShortName(alarm);
      expect(alarm.properties['AlarmDescription']).toMatch(
        new RegExp(`^[A-Z].+\\. .+\\. Runbook: docs/alarms\\.md#${name}$`),
      );
    }
    const headings = [...runbooks.matchAll(/^### `([\w-]+)`$/gm)].map(([, name]) => name);
    expect(headings.sort()).toEqual(listAlarms(everything).map(getShortName).sort());
  });

  it('the runbooks quote only log messages that exist in the sources', () => {
    const sources = globSync('{functions,shared}/**/*.ts', { cwd: ROOT })
      .map((file) => readFileSync(join(ROOT, file), 'utf8'))
      .join('\n');
    const quoted = [...runbooks.matchAll(/`"(\w[^"`]*)"`/g)].map(([, message]) => message);
    expect(quoted).toContain('invocation failed');
    for (const message of quoted) expect(sources).toContain(`'${message}'`);
  });

  it('the alarms watch our own metrics under the names and dimensions that the functions publish', () => {
    const own = listAlarms(minimal).filter(({ properties }) => properties['Namespace'] === NAMESPACE);
    const watched = own.map(({ properties }) => [
      properties['MetricName'],
      ...[properties['Dimensions']].flat().map((dimension) => Object(dimension).Name),
    ]);
    expect(watched.toSorted()).toEqual(
      [
        ['FirstTokenMs', 'FunctionName'],
        ['ColdStartRate', 'FunctionName', 'Target'],
        ['ColdStartRate', 'FunctionName', 'Target'],
        ['MessagesFailed', 'FunctionName'],
        ['FleetStranded', 'FunctionName'],
        ['SuspectWorkers', 'FunctionName'],
      ].toSorted(),
    );
  });
});

describe('the alarm topic', () => {
  it('the alarm topic is encrypted with the data key', () => {
    expect(minimal.Resources['AlarmTopic']?.Properties).toMatchObject({ KmsMasterKeyId: { Ref: 'DataKey' } });
  });

  it('the alarm topic sends mail only if alarmEmail is set', () => {
    expect(findByType(minimal, 'AWS::SNS::Subscription')).toEqual([]);
    expect(findByType(everything, 'AWS::SNS::Subscription')[0]?.properties).toMatchObject({
      Protocol: 'email',
      Endpoint: 'ops@example.com',
    });
  });
});
