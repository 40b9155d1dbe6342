import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { createFleetObserver } from '../../shared/gpu/upkeep/observe.ts';
import { recordTelemetry } from '../shared/core/recorded-telemetry.ts';
import { evaluate, type Series } from './metric-math.ts';
import { type Found, objectsIn, ofType, packaged, packagedWithGpus } from './packaged.ts';

let off: Template;
let on: Template;
let hours: Template;
beforeAll(async () => {
  [off, on, hours] = await Promise.all([
    packaged(),
    packagedWithGpus(),
    packagedWithGpus('gpuWorkingMin=2', 'gpuTimezone=Europe/Berlin'),
  ]);
});

const properties = (id: string) => Object(on.Resources[id]?.Properties);
const expressionOf = (id: string): string =>
  properties(id).Metrics.find(({ Expression }: { Expression?: string }) => Expression !== undefined).Expression;

/** How many workers the policy would add in this situation; 0 when its alarm is silent. */
function added(gap: Series): number {
  const { EvaluationPeriods, Threshold } = properties('GpuScaleOutAlarm');
  const newest = gap.slice(-EvaluationPeriods);
  if (!newest.every((value) => value !== undefined && value >= Threshold)) return 0;
  return adjustment('GpuScaleOut', (newest.at(-1) ?? 0) - Threshold);
}

/** Above the threshold a step begins with its lower bound, below it ends with its upper one. */
function adjustment(policy: string, distance: number): number {
  const { StepAdjustments } = properties(policy).StepScalingPolicyConfiguration;
  const step = StepAdjustments.find(
    ({ MetricIntervalLowerBound: lower = -Infinity, MetricIntervalUpperBound: upper = Infinity }) =>
      upper <= 0 ? distance > lower && distance <= upper : distance >= lower && distance < upper,
  );
  return step?.ScalingAdjustment ?? 0;
}

describe('the scaling of a fleet', () => {
  const gap = (needed: Series, ready: Series, starting: Series) =>
    evaluate(expressionOf('GpuScaleOutAlarm'), { needed, ready, starting });

  test('finds what is missing where there is no worker at all', () => {
    expect(gap([2, 2], [0, 0], [0, 0])).toEqual([2, 2]);
    expect(added(gap([2, 2], [0, 0], [0, 0]))).toBe(2);
  });

  test('wants nothing where nothing is needed and nothing is there', () => {
    expect(gap([0, 0], [0, 0], [0, 0])).toEqual([0, 0]);
    expect(added([0, 0])).toBe(0);
  });

  test('counts what is on its way', () => {
    expect(added(gap([3, 3], [1, 1], [2, 2]))).toBe(0);
  });

  test('goes by the last minute that is known when the newest comes late', () => {
    expect(gap([3, undefined], [1, undefined], [0, undefined])).toEqual([2, 2]);
  });

  test('does nothing while nobody tells what is needed', () => {
    const nothing = [undefined, undefined];
    expect(added(gap(nothing, nothing, nothing))).toBe(0);
    for (const id of ['GpuScaleOutAlarm', 'GpuScaleInAlarm'])
      expect(properties(id).TreatMissingData, id).toBe('notBreaching');
  });

  test('adds at least half of what is missing at once, and never more than that', () => {
    for (let missing = 1; missing <= 9; missing += 1) {
      const count = added([missing, missing]);
      expect(count, `${missing}`).toBeGreaterThanOrEqual(missing / 2);
      expect(count, `${missing}`).toBeLessThanOrEqual(missing);
    }
    expect(added([1, 0, 1])).toBe(0);
  });

  test('takes one worker away after a quarter of an hour without need, down to none', () => {
    expect(expressionOf('GpuScaleInAlarm')).toBe(expressionOf('GpuScaleOutAlarm'));
    expect(properties('GpuScaleInAlarm')).toMatchObject({
      EvaluationPeriods: 15,
      DatapointsToAlarm: 15,
      ComparisonOperator: 'LessThanOrEqualToThreshold',
      Threshold: -1,
    });
    for (const gapOfAlarm of [-1, -2, -6]) expect(adjustment('GpuScaleIn', gapOfAlarm - -1)).toBe(-1);
    expect(properties('GpuScalableTarget').MinCapacity).toBe(0);
  });

  test('watches what fleet publishes, under the very same dimensions', () => {
    const telemetry = recordTelemetry();
    const observer = createFleetObserver(telemetry);
    const nothing = { readyWorkers: 0, suspectWorkers: 0, drainingWorkers: 0, slots: 0, freeSlots: 0, waiting: 0 };
    observer.onNeed(
      { fleet: 'qwen', members: [], view: { workers: [], waiters: [], unmet: [] }, starting: 0 },
      { ...nothing, backlogTokens: 0, neededWorkers: 0 },
    );
    const published = telemetry.lines.flatMap((line) =>
      Object(line)._aws.CloudWatchMetrics.flatMap((directive: Record<string, never>) =>
        Object(directive)['Metrics'].map(({ Name }: { Name: string }) => ({
          Namespace: directive['Namespace'],
          MetricName: Name,
          Dimensions: Object(directive)['Dimensions'][0],
        })),
      ),
    );
    const watched = [...objectsIn(on.Resources['GpuScaleOutAlarm'])].filter(
      ({ MetricName }) => MetricName !== undefined,
    );
    expect(watched).toHaveLength(3);
    for (const { Namespace, MetricName, Dimensions } of watched) {
      const names = [Dimensions].flat().map((dimension) => Object(dimension).Name);
      expect(published).toContainEqual({ Namespace, MetricName, Dimensions: names });
      expect(Dimensions).toEqual([
        { Name: 'FunctionName', Value: { Ref: 'FleetLambdaFunction' } },
        { Name: 'Fleet', Value: 'qwen' },
      ]);
    }
  });

  test('keeps a minimum in working hours by setting only', () => {
    expect(properties('GpuScalableTarget')).not.toHaveProperty('ScheduledActions');
    expect(hours.Resources['GpuScalableTarget']?.Properties?.['ScheduledActions']).toMatchObject([
      { Schedule: 'cron(0 8 ? * MON-FRI *)', Timezone: 'Europe/Berlin', ScalableTargetAction: { MinCapacity: '2' } },
      { Schedule: 'cron(0 18 ? * MON-FRI *)', Timezone: 'Europe/Berlin', ScalableTargetAction: { MinCapacity: 0 } },
    ]);
  });
});

describe('metric math', () => {
  test('divides by nothing without a result, which is why the scaling has no division', () => {
    expect(evaluate('needed / ready', { needed: [2, 2], ready: [0, 1] })).toEqual([undefined, 2]);
  });

  test('of every alarm can be read, and names metrics that are beside it', () => {
    const alarms = [...ofType(on, 'AWS::CloudWatch::Alarm'), ...ofType(off, 'AWS::CloudWatch::Alarm')];
    const withMath = alarms.filter(({ properties: { Metrics } }) => Metrics !== undefined);
    expect(withMath.length).toBeGreaterThan(5);
    for (const {
      id,
      properties: { Metrics },
    } of withMath) {
      const parts = [Metrics].flat().map((part) => Object(part));
      const metrics = Object.fromEntries(parts.filter(({ MetricStat }) => MetricStat).map(({ Id }) => [Id, [10, 10]]));
      const [{ Expression }] = parts.filter((part) => part.Expression);
      expect(evaluate(Expression, metrics), id).toEqual([expect.any(Number), expect.any(Number)]);
    }
  });

  test('tells memory and disk in percent', () => {
    expect(evaluate(expressionOf('GpuMemoryAlarm'), { used: [23_000], total: [46_000] })).toEqual([50]);
    expect(evaluate(expressionOf('GpuDiskAlarm'), { used: [95] })).toEqual([5]);
    expect(properties('GpuDiskAlarm')).toMatchObject({ ComparisonOperator: 'LessThanThreshold', Threshold: 10 });
  });
});

describe('alarms of a fleet', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/gpu-aws.md'), 'utf8');
  const shortName = ({ properties: { AlarmName } }: Found) => String(AlarmName).replace(/^lambent-\w+-/, '');
  const added = () => {
    const before = ofType(off, 'AWS::CloudWatch::Alarm').map(shortName);
    return ofType(on, 'AWS::CloudWatch::Alarm').filter((alarm) => !before.includes(shortName(alarm)));
  };

  test('are of its slots, its workers, its memory and its disks, beside the two that scale', () => {
    expect(added().map(shortName).sort()).toEqual(
      [
        ...['gpu-slot-wait', 'gpu-slots-refused', 'gpu-suspected', 'gpu-memory', 'gpu-disk'],
        ...['gpu-scale-out', 'gpu-scale-in'],
      ].sort(),
    );
    expect(ofType(on, 'AWS::CloudWatch::Alarm').map(shortName)).toEqual(
      expect.arrayContaining(['fleet-stranded', 'workers-suspect']),
    );
  });

  test('tell the topic, but for those that scale, and have a line in docs/gpu-aws.md that they name', () => {
    for (const alarm of added()) {
      const name = shortName(alarm);
      const scales = name.startsWith('gpu-scale-');
      expect(alarm.properties['AlarmActions'], name).toEqual([
        { Ref: scales ? (name === 'gpu-scale-out' ? 'GpuScaleOut' : 'GpuScaleIn') : 'AlarmTopic' },
      ]);
      if (scales) continue;
      expect(alarm.properties['AlarmDescription']).toMatch(new RegExp(`See docs/gpu-aws.md, ${name}\\.$`));
      expect(docs).toMatch(new RegExp(`^\\| \`${name}\` \\| .+ \\| .+ \\|$`, 'm'));
    }
  });
});
