import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { NAMESPACE } from '../../shared/core/metrics.ts';
import { evaluate } from './metric-math.ts';
import { EVERYTHING, type FoundResource, findByType, GPU_MODELS, packageOnce, packageStage } from './packaged.ts';

const ROOT = join(import.meta.dirname, '../..');
const runbooks = readFileSync(join(ROOT, 'docs/alarms.md'), 'utf8');

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packageStage(), packageOnce(EVERYTHING, GPU_MODELS)]);
});

const listAlarms = (template: Template) => findByType(template, 'AWS::CloudWatch::Alarm');
const getShortName = ({ properties }: FoundResource) => String(properties['AlarmName']).replace(/^lambent-\w+-/, '');

/** Metrics that an alarm watches. CloudWatch bills each of them. */
function listMetrics({ properties }: FoundResource): Readonly<Record<string, unknown>>[] {
  const parts = [properties['Metrics'] ?? []].flat().map((part) => Object(part).MetricStat?.Metric);
  return parts.length === 0 ? [properties] : parts.filter((metric) => metric !== undefined);
}

describe('the alarms of a stage', () => {
  it('the alarms cover the API, the queues, the sweep, KMS, the tables, the models, the keys, the content and the audit log', () => {
    expect(listAlarms(minimal).map(getShortName).sort()).toEqual(
      [
        ...['gateway-5xx', 'chat-errors', 'generate-errors'],
        ...['authorize-latency', 'chat-first-token', 'sessions-latency', 'responses-latency'],
        ...['generation-queue-age', 'intake-failures', 'generation-dlq'],
        ...['jobs-queue-age', 'jobs-waiting', 'jobs-dlq'],
        ...['sweep-failures', 'sweep-stopped', 'kms-errors', 'store-errors', 'targets-unusable', 'record-dlq'],
        ...[
          'guardrail-failures',
          'content-refused',
          'keys-refused',
          'keys-expiring',
          'spend-alerts',
          'abuse-suspected',
        ],
      ].sort(),
    );
  });

  it('the alarms include those of GPU workers only with fleets, and spillover alarms only with provisioned concurrency', () => {
    const added = listAlarms(everything)
      .map(getShortName)
      .filter((name) => !listAlarms(minimal).map(getShortName).includes(name));
    expect(added.sort()).toEqual(
      [
        ...['authorize-spillover', 'chat-spillover', 'sessions-spillover', 'responses-spillover'],
        ...['dispatch-errors', 'gpu-queue-age', 'gpu-dlq', 'gpu-jobs-waiting'],
        ...['fleet-stopped', 'fleet-stranded', 'workers-suspect'],
      ].sort(),
    );
    expect(everything.Resources['ChatSpilloverAlarm']?.Properties?.['Dimensions']).toContainEqual({
      Name: 'Resource',
      Value: 'lambent-prod-chat:provisioned',
    });
  });

  it('the alarms of a stage without fleets watch 26 metrics, of which each costs the same', () => {
    expect(listAlarms(minimal).flatMap(listMetrics)).toHaveLength(26);
  });

  it('the alarms publish to the topic, and count missing data as healthy unless it means that a schedule stopped', () => {
    for (const alarm of listAlarms(everything)) {
      const name = getShortName(alarm);
      const isStopped = ['sweep-stopped', 'fleet-stopped'].includes(name);
      expect(alarm.properties, name).toMatchObject({
        AlarmActions: [{ Ref: 'AlarmTopic' }],
        TreatMissingData: isStopped ? 'missing' : 'notBreaching',
      });
      expect(alarm.properties['InsufficientDataActions'], name).toEqual(
        isStopped ? [{ Ref: 'AlarmTopic' }] : undefined,
      );
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
    const own = listAlarms(everything)
      .flatMap(listMetrics)
      .filter(({ Namespace }) => Namespace === NAMESPACE);
    const watched = own.map(({ MetricName, Dimensions }) =>
      [MetricName, ...[Dimensions].flat().map((dimension) => Object(dimension).Name)].join(' by '),
    );
    expect(watched.toSorted()).toEqual([
      'AbuseSuspected by Stage',
      'ContentRefused by Stage',
      'FirstByteMs by FunctionName',
      'FirstByteMs by FunctionName',
      'FirstTokenMs by FunctionName',
      'FleetStranded by FunctionName',
      'GuardrailFailures by Stage',
      'JobsWaiting by FunctionName by Queue',
      'JobsWaiting by FunctionName by Queue',
      'KeysExpiring by Stage',
      'KeysRefused by Stage',
      'KmsErrors by Stage',
      'MessagesFailed by FunctionName',
      'SpendAlerts by Stage',
      'StoreErrors by Stage',
      'SuspectWorkers by FunctionName',
      'SweepFailures by FunctionName',
      'TargetsUnusable by Stage',
    ]);
    const stages = own.flatMap(({ Dimensions }) => [Dimensions].flat()).filter((each) => Object(each).Name === 'Stage');
    expect(new Set(stages.map((each) => Object(each).Value))).toEqual(new Set(['lambent-prod']));
  });
});

describe('the alarms on schedules that stopped', () => {
  const runs = (counts: readonly (number | undefined)[], failed: readonly (number | undefined)[] = []) => {
    const { properties } = listAlarms(minimal).find((alarm) => getShortName(alarm) === 'sweep-stopped') ?? {};
    return listNotifications(properties ?? {}, counts, failed);
  };

  it('a new stage whose sweep has not run yet raises no alarm, nor when it then runs', () => {
    expect(runs([undefined, undefined, undefined, 5, 5, 5])).toEqual([]);
  });

  it('an alarm is raised once when the runs of the sweep cease, and once when all fail', () => {
    expect(runs([5, 5, undefined, undefined, undefined])).toEqual(['INSUFFICIENT_DATA']);
    expect(runs([5, 5, 5, 5], [0, 5, 5, 5])).toEqual(['ALARM']);
    expect(runs([5, 5, 5, 5], [0, 4, 4, 4])).toEqual([]);
  });
});

/**
 * Returns the states to which an alarm changes with an action, if its metrics have these values in successive periods. As
 * in CloudWatch, an alarm begins in INSUFFICIENT_DATA, and acts only when its state changes.
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
 */
function listNotifications(
  properties: FoundResource['properties'],
  runCounts: readonly (number | undefined)[],
  failed: readonly (number | undefined)[],
): string[] {
  const [{ Expression }] = [properties['Metrics']].flat().map(Object);
  const values = evaluate(Expression, { runs: runCounts, failed: runCounts.map((_, index) => failed[index]) });
  const periods = Number(properties['EvaluationPeriods']);
  const acted: string[] = [];
  let state = 'INSUFFICIENT_DATA';
  for (let end = 1; end <= values.length; end += 1) {
    const last = values.slice(Math.max(0, end - periods), end);
    const present = last.filter((value) => value !== undefined);
    const next = evaluateState(properties, present, present.length === periods);
    if (next === state) continue;
    state = next;
    const actions = { ALARM: 'AlarmActions', INSUFFICIENT_DATA: 'InsufficientDataActions', OK: 'OKActions' }[next];
    if (properties[actions] !== undefined) acted.push(next);
  }
  return acted;
}

function evaluateState(
  properties: FoundResource['properties'],
  present: readonly number[],
  isComplete: boolean,
): 'ALARM' | 'INSUFFICIENT_DATA' | 'OK' {
  const missing = String(properties['TreatMissingData']);
  if (present.length === 0)
    return missing === 'breaching' ? 'ALARM' : missing === 'missing' ? 'INSUFFICIENT_DATA' : 'OK';
  const isBreaching = present.every((value) => value < Number(properties['Threshold']));
  return isBreaching && (isComplete || missing === 'breaching') ? 'ALARM' : 'OK';
}

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
