import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Template } from '../../infra/template.ts';
import { NAMESPACE } from '../../shared/core/metrics.ts';
import { EVERYTHING, type Found, ofType, packaged } from './packaged.ts';

const ROOT = join(import.meta.dirname, '../..');
const operations = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8');

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packaged(), packaged(...EVERYTHING)]);
});

const alarmsOf = (template: Template) => ofType(template, 'AWS::CloudWatch::Alarm');
const shortName = ({ properties }: Found) => String(properties['AlarmName']).replace(/^lambent-\w+-/, '');

describe('alarms', () => {
  test('are those of the functions, the gateway, the queue and the sweep', () => {
    expect(alarmsOf(minimal).map(shortName).sort()).toEqual(
      [
        ...['authorize-errors', 'chat-errors', 'warmup-errors', 'authorize-throttles', 'chat-throttles'],
        ...['authorize-latency', 'chat-latency', 'chat-first-token', 'gateway-5xx'],
        ...['authorize-cold-starts', 'chat-cold-starts'],
        ...['sessions-errors', 'responses-errors', 'generate-errors', 'dispatch-errors', 'sweep-errors'],
        ...['sessions-throttles', 'responses-throttles'],
        ...['gpu-queue-age', 'gpu-dlq'],
        ...['generation-queue-age', 'generation-dlq', 'jobs-overdue', 'sweep-stopped', 'kms-errors'],
        ...['fleet-errors', 'fleet-stranded', 'workers-suspect', 'fleet-stopped'],
      ].sort(),
    );
  });

  test('of spill-over are there where there is provisioned concurrency', () => {
    const added = alarmsOf(everything)
      .map(shortName)
      .filter((name) => !alarmsOf(minimal).map(shortName).includes(name));
    expect(added).toEqual(['authorize-spillover', 'chat-spillover']);
    expect(everything.Resources['ChatSpilloverAlarm']?.Properties?.['Dimensions']).toContainEqual({
      Name: 'Resource',
      Value: 'lambent-prod-chat:provisioned',
    });
  });

  test('all tell the topic, stay silent without data but for those that silence means, and have a line in docs/operations.md that they name', () => {
    for (const alarm of alarmsOf(everything)) {
      const name = shortName(alarm);
      expect(alarm.properties, name).toMatchObject({
        AlarmActions: [{ Ref: 'AlarmTopic' }],
        TreatMissingData: ['sweep-stopped', 'fleet-stopped'].includes(name) ? 'breaching' : 'notBreaching',
      });
      expect(alarm.properties['AlarmDescription']).toMatch(new RegExp(`See docs/operations.md, ${name}\\.$`));
      expect(operations).toMatch(new RegExp(`^\\| \`${name}\` \\| .+ \\| .+ \\|$`, 'm'));
    }
  });

  test('that are documented all exist', () => {
    const section = operations.slice(operations.indexOf('\n## Alarms'), operations.indexOf('\n## Concurrency'));
    const documented = [...section.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name);
    expect(documented.sort()).toEqual(alarmsOf(everything).map(shortName).sort());
  });

  test('on our own metrics watch the names that the functions publish under', () => {
    const own = alarmsOf(minimal).filter(({ properties }) => properties['Namespace'] === NAMESPACE);
    const watched = own.map(({ properties }) => [
      properties['MetricName'],
      ...[properties['Dimensions']].flat().map((dimension) => Object(dimension).Name),
    ]);
    expect(watched.toSorted()).toEqual(
      [
        ['FirstTokenMs', 'FunctionName'],
        ['ColdStartRate', 'FunctionName', 'Target'],
        ['ColdStartRate', 'FunctionName', 'Target'],
        ['JobsOverdue', 'FunctionName'],
        ['FleetStranded', 'FunctionName'],
        ['SuspectWorkers', 'FunctionName'],
      ].toSorted(),
    );
  });
});

test('the topic mails by setting only, is encrypted, and takes messages from alarms of this account over TLS', () => {
  expect(ofType(minimal, 'AWS::SNS::Subscription')).toEqual([]);
  expect(ofType(everything, 'AWS::SNS::Subscription')[0]?.properties).toMatchObject({
    Protocol: 'email',
    Endpoint: 'ops@example.com',
  });
  expect(minimal.Resources['AlarmTopic']?.Properties).toMatchObject({ KmsMasterKeyId: { Ref: 'DataKey' } });
});

describe('settings', () => {
  const { params } = parse(readFileSync(join(ROOT, 'serverless.yml'), 'utf8'), { logLevel: 'error' });
  const gpus = readFileSync(join(ROOT, 'docs/gpu-aws.md'), 'utf8');
  const documented = new Map(
    [...`${operations}${gpus}`.matchAll(/^\| `(\w+)` \| (?:`(.*?)`|(empty)) \| .+ \|$/gm)].map(([, name, value]) => [
      name,
      value ?? '',
    ]),
  );

  test('are all documented, with their defaults', () => {
    expect([...documented]).toEqual(Object.entries(params.default).map(([name, value]) => [name, String(value)]));
  });

  test('of a stage are settings that exist', () => {
    for (const [stage, settings] of Object.entries(params)) {
      expect(Object.keys(params.default), stage).toEqual(expect.arrayContaining(Object.keys(Object(settings))));
    }
  });
});
