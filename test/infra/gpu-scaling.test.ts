import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { createFleetObserver } from '../../shared/gpu/upkeep/observe.ts';
import { recordTelemetry } from '../shared/core/recorded-telemetry.ts';
import { evaluate, type Series } from './metric-math.ts';
import {
  type FoundResource,
  findByType,
  GPU_MODELS,
  packageStage,
  packageWithGpus,
  packageWithModels,
  walkObjects,
} from './packaged.ts';

let off: Template;
/** A stage with a fleet that it doesn't run itself. */
let listed: Template;
let on: Template;
let hours: Template;
beforeAll(async () => {
  [off, listed, on, hours] = await Promise.all([
    packageStage(),
    packageWithModels(GPU_MODELS),
    packageWithGpus(),
    packageWithGpus('gpuWorkingMin=2', 'gpuTimezone=Europe/Berlin'),
  ]);
});

const getProperties = (id: string) => Object(on.Resources[id]?.Properties);
const findExpression = (id: string): string =>
  getProperties(id).Metrics.find(({ Expression }: { Expression?: string }) => Expression !== undefined).Expression;

/** Returns the number of workers that the scale-out policy adds; 0 if its alarm does not go off. */
function countAddedWorkers(gap: Series): number {
  const { EvaluationPeriods, Threshold } = getProperties('GpuScaleOutAlarm');
  const newest = gap.slice(-EvaluationPeriods);
  if (!newest.every((value) => value !== undefined && value >= Threshold)) return 0;
  return findAdjustment('GpuScaleOut', (newest.at(-1) ?? 0) - Threshold);
}

/**
 * Returns a policy's adjustment. Steps above the threshold include their lower bound, steps below it their upper bound.
 */
function findAdjustment(policy: string, distance: number): number {
  const { StepAdjustments } = getProperties(policy).StepScalingPolicyConfiguration;
  const step = StepAdjustments.find(
    ({ MetricIntervalLowerBound: lower = -Infinity, MetricIntervalUpperBound: upper = Infinity }) =>
      upper <= 0 ? distance > lower && distance <= upper : distance >= lower && distance < upper,
  );
  return step?.ScalingAdjustment ?? 0;
}

describe('the scaling of a GPU fleet', () => {
  const evaluateGap = (needed: Series, ready: Series, starting: Series) =>
    evaluate(findExpression('GpuScaleOutAlarm'), { needed, ready, starting });

  it('missing workers are added to a fleet without workers', () => {
    expect(evaluateGap([2, 2], [0, 0], [0, 0])).toEqual([2, 2]);
    expect(countAddedWorkers(evaluateGap([2, 2], [0, 0], [0, 0]))).toBe(2);
  });

  it('no worker is added if none is needed and none exists', () => {
    expect(evaluateGap([0, 0], [0, 0], [0, 0])).toEqual([0, 0]);
    expect(countAddedWorkers([0, 0])).toBe(0);
  });

  it('starting workers count as existing', () => {
    expect(countAddedWorkers(evaluateGap([3, 3], [1, 1], [2, 2]))).toBe(0);
  });

  it('the previous minute’s metrics are used if the latest are late', () => {
    expect(evaluateGap([3, undefined], [1, undefined], [0, undefined])).toEqual([2, 2]);
  });

  it('nothing is scaled without metrics', () => {
    const noData = [undefined, undefined];
    expect(countAddedWorkers(evaluateGap(noData, noData, noData))).toBe(0);
    for (const id of ['GpuScaleOutAlarm', 'GpuScaleInAlarm'])
      expect(getProperties(id).TreatMissingData, id).toBe('notBreaching');
  });

  it('at least half of the missing workers are added at once, and never more than are missing', () => {
    for (let missing = 1; missing <= 9; missing += 1) {
      const count = countAddedWorkers([missing, missing]);
      expect(count, `${missing}`).toBeGreaterThanOrEqual(missing / 2);
      expect(count, `${missing}`).toBeLessThanOrEqual(missing);
    }
    expect(countAddedWorkers([1, 0, 1])).toBe(0);
  });

  it('one worker is removed after 15 minutes in which it was not needed, down to zero', () => {
    expect(findExpression('GpuScaleInAlarm')).toBe(findExpression('GpuScaleOutAlarm'));
    expect(getProperties('GpuScaleInAlarm')).toMatchObject({
      EvaluationPeriods: 15,
      DatapointsToAlarm: 15,
      ComparisonOperator: 'LessThanOrEqualToThreshold',
      Threshold: -1,
    });
    for (const gapOfAlarm of [-1, -2, -6]) expect(findAdjustment('GpuScaleIn', gapOfAlarm - -1)).toBe(-1);
    expect(getProperties('GpuScalableTarget').MinCapacity).toBe(0);
  });

  it('the alarms watch the metrics that fleet publishes, with the same dimensions', () => {
    const telemetry = recordTelemetry();
    const observer = createFleetObserver(telemetry);
    const noCapacity = { readyWorkers: 0, suspectWorkers: 0, drainingWorkers: 0, slots: 0, freeSlots: 0, waiting: 0 };
    observer.onNeed(
      { fleet: 'qwen', members: [], view: { workers: [], waiters: [], unmet: [] }, starting: 0 },
      { ...noCapacity, backlogTokens: 0, neededWorkers: 0 },
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
    const watched = [...walkObjects(on.Resources['GpuScaleOutAlarm'])].filter(
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

  it('a minimum in working hours is scheduled only if it is set', () => {
    expect(getProperties('GpuScalableTarget')).not.toHaveProperty('ScheduledActions');
    expect(hours.Resources['GpuScalableTarget']?.Properties?.['ScheduledActions']).toMatchObject([
      { Schedule: 'cron(0 8 ? * MON-FRI *)', Timezone: 'Europe/Berlin', ScalableTargetAction: { MinCapacity: '2' } },
      { Schedule: 'cron(0 18 ? * MON-FRI *)', Timezone: 'Europe/Berlin', ScalableTargetAction: { MinCapacity: 0 } },
    ]);
  });
});

describe('metric math', () => {
  it('a division by zero has no result, so the scaling uses a difference', () => {
    expect(evaluate('needed / ready', { needed: [2, 2], ready: [0, 1] })).toEqual([undefined, 2]);
  });

  it('the expression of every alarm can be evaluated from its metrics', () => {
    const alarms = [...findByType(on, 'AWS::CloudWatch::Alarm'), ...findByType(off, 'AWS::CloudWatch::Alarm')];
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

  it('the expressions of memory and disk give percentages', () => {
    expect(evaluate(findExpression('GpuMemoryAlarm'), { used: [23_000], total: [46_000] })).toEqual([50]);
    expect(evaluate(findExpression('GpuDiskAlarm'), { used: [95] })).toEqual([5]);
    expect(getProperties('GpuDiskAlarm')).toMatchObject({ ComparisonOperator: 'LessThanThreshold', Threshold: 10 });
  });
});

describe('the alarms of a GPU fleet', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/gpu-aws.md'), 'utf8');
  const getShortName = ({ properties: { AlarmName } }: FoundResource) => String(AlarmName).replace(/^lambent-\w+-/, '');
  const listGpuAlarms = () => {
    const before = findByType(listed, 'AWS::CloudWatch::Alarm').map(getShortName);
    return findByType(on, 'AWS::CloudWatch::Alarm').filter((alarm) => !before.includes(getShortName(alarm)));
  };

  it('a GPU fleet has alarms for slots, workers, memory, disks and scaling', () => {
    expect(listGpuAlarms().map(getShortName).sort()).toEqual(
      [
        ...['gpu-slot-wait', 'gpu-slots-refused', 'gpu-suspected', 'gpu-memory', 'gpu-disk'],
        ...['gpu-scale-out', 'gpu-scale-in'],
      ].sort(),
    );
    expect(findByType(on, 'AWS::CloudWatch::Alarm').map(getShortName)).toEqual(
      expect.arrayContaining(['fleet-stranded', 'workers-suspect']),
    );
  });

  it('each alarm notifies the topic and has a runbook in docs/gpu-aws.md, except those that scale', () => {
    for (const alarm of listGpuAlarms()) {
      const name = getShortName(alarm);
      const scales = name.startsWith('gpu-scale-');
      expect(alarm.properties['AlarmActions'], name).toEqual([
        { Ref: scales ? (name === 'gpu-scale-out' ? 'GpuScaleOut' : 'GpuScaleIn') : 'AlarmTopic' },
      ]);
      if (scales) continue;
      expect(alarm.properties['AlarmDescription']).toMatch(new RegExp(`\\. Runbook: docs/gpu-aws\\.md#${name}$`));
      expect(docs).toMatch(new RegExp(`^### \`${name}\`$`, 'm'));
    }
  });
});
