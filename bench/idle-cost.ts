import * as v from 'valibot';
import type { Template } from '../infra/template.ts';
import { warmTargetsSchema } from '../shared/lambda/warm-functions.ts';
import {
  ALARM_METRIC_PER_MONTH,
  CUSTOM_METRIC_PER_MONTH,
  FREE_PER_MONTH,
  KMS_KEY_PER_MONTH,
  KMS_PER_MILLION,
  LAMBDA_PER_GB_SECOND,
  LAMBDA_PER_MILLION,
  LOGS_KEPT_PER_GB,
  LOGS_WRITTEN_PER_GB,
  SECRET_PER_MONTH,
  SQS_PER_MILLION,
} from './prices.ts';
import { computeSweepMonths, IDLE_RUN_SECONDS } from './sweep-cost.ts';

/** A part of an idle stage's bill. */
export interface IdleItem {
  readonly label: string;
  /** How many units are billed in a month. */
  readonly amount: number;
  /** US dollars a month at list prices, and what is left of them in an account that uses the free tier for nothing else. */
  readonly dollars: number;
  readonly afterFreeTier: number;
}

/** What was measured of a stage without requests. */
export interface IdleMeasures {
  /** Custom metrics that the functions publish. */
  readonly customMetrics: number;
  /** Bytes of the log lines of a run of the sweep, and of warmup. */
  readonly logBytes: Readonly<Record<string, number>>;
}

const MINUTES_PER_MONTH = 30 * 24 * 60;
const GB = 1e9;
const MILLION = 1e6;

/**
 * Lambda's receives of an empty queue: five at a time, each of which waits for 20 s.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html for the five;
 * https://aws.amazon.com/blogs/compute/estimating-cost-for-amazon-sqs-message-processing-using-aws-lambda/
 */
const RECEIVES_PER_MINUTE = 5 * 3;
/** Milliseconds of a warm event besides its hold, and seconds of a run of fleet without work. */
const WARM_OVERHEAD_MS = 20;
const FLEET_RUN_SECONDS = 0.3;
/** Lines that Lambda writes for an invocation: INIT_START at times, START, END and REPORT. */
const PLATFORM_LOG_BYTES = 350;
/** DynamoDB asks KMS again for a table's key after five minutes. The sweep reads one table. */
const KEY_MINUTES = 5;

interface Run {
  readonly name: string;
  readonly perMonth: number;
  readonly gbSeconds: number;
}

/** Returns the monthly bill of a packaged stage without requests, jobs, stored data and provisioned concurrency. */
export function computeIdleCost(template: Template, { customMetrics, logBytes }: IdleMeasures): readonly IdleItem[] {
  const resources = Object.values(template.Resources);
  const findAll = (type: string) => resources.filter(({ Type }) => Type === `AWS::${type}`);
  const item = (label: string, amount: number, price: number, free: number): IdleItem => ({
    ...{ label, amount },
    dollars: amount * price,
    afterFreeTier: Math.max(0, amount - free) * price,
  });
  const runs = listRuns(template);
  const invocations = runs.reduce((sum, { perMonth }) => sum + perMonth, 0);
  const gbSeconds = runs.reduce((sum, run) => sum + run.perMonth * run.gbSeconds, 0);
  const mappings = findAll('Lambda::EventSourceMapping').filter(({ Properties }) => Properties?.['Enabled'] !== false);
  const logGb =
    runs.reduce((sum, { name, perMonth }) => sum + perMonth * (PLATFORM_LOG_BYTES + (logBytes[name] ?? 0)), 0) / GB;
  const sweep = computeSweepMonths().idle;
  return [
    item('KMS keys, before their first rotation', findAll('KMS::Key').length, KMS_KEY_PER_MONTH, 0),
    item('metrics of alarms', countAlarmMetrics(template), ALARM_METRIC_PER_MONTH, FREE_PER_MONTH.alarmMetrics),
    item('custom metrics', customMetrics, CUSTOM_METRIC_PER_MONTH, FREE_PER_MONTH.customMetrics),
    item('secrets', findAll('SecretsManager::Secret').length, SECRET_PER_MONTH, 0),
    item(
      'receives of empty queues',
      mappings.length * RECEIVES_PER_MINUTE * MINUTES_PER_MONTH,
      SQS_PER_MILLION / MILLION,
      FREE_PER_MONTH.sqsRequests,
    ),
    item(
      'invocations of sweep, warmup and the functions that it warms',
      invocations,
      LAMBDA_PER_MILLION / MILLION,
      FREE_PER_MONTH.lambdaRequests,
    ),
    item('their GB-seconds', gbSeconds, LAMBDA_PER_GB_SECOND, FREE_PER_MONTH.lambdaGbSeconds),
    item('queries of an empty index by the sweep', sweep.queries, sweep.DynamoDB / sweep.queries, 0),
    item(
      'requests of DynamoDB to KMS',
      MINUTES_PER_MONTH / KEY_MINUTES,
      KMS_PER_MILLION / MILLION,
      FREE_PER_MONTH.kmsRequests,
    ),
    item('gigabytes of logs', logGb, LOGS_WRITTEN_PER_GB + LOGS_KEPT_PER_GB, FREE_PER_MONTH.logGb),
    item('point-in-time recovery of empty tables', findAll('DynamoDB::Table').length, 0, 0),
  ];
}

/** Returns the sums of the items. */
export function sumIdleCost(items: readonly IdleItem[]): Pick<IdleItem, 'dollars' | 'afterFreeTier'> {
  return {
    dollars: items.reduce((sum, { dollars }) => sum + dollars, 0),
    afterFreeTier: items.reduce((sum, { afterFreeTier }) => sum + afterFreeTier, 0),
  };
}

/** Returns the metrics that the template's alarms watch, each of which is billed. */
function countAlarmMetrics({ Resources }: Template): number {
  return Object.values(Resources)
    .filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm')
    .map(({ Properties }) => [Properties?.['Metrics'] ?? { MetricStat: {} }].flat())
    .reduce((sum, metrics) => sum + metrics.filter((metric) => Object(metric).MetricStat !== undefined).length, 0);
}

/** Returns the scheduled invocations of a month, and those by which warmup warms functions. */
function listRuns({ Resources }: Template): readonly Run[] {
  const functions = Object.entries(Resources)
    .filter(([, { Type }]) => Type === 'AWS::Lambda::Function')
    .map(([id, { Properties = {} }]) => ({ id, name: String(Properties['FunctionName']), properties: Properties }));
  const rules = Object.values(Resources).filter(
    ({ Type, Properties }) =>
      Type === 'AWS::Events::Rule' &&
      Properties?.['ScheduleExpression'] !== undefined &&
      Properties['State'] !== 'DISABLED',
  );
  return rules.flatMap(({ Properties = {} }) => {
    const [target] = [Properties['Targets']].flat().map((each) => Object(each).Arn?.['Fn::GetAtt']?.[0]);
    const scheduled = functions.find(({ id }) => id === target);
    if (scheduled === undefined) return [];
    const perMonth = MINUTES_PER_MONTH / parseMinutes(String(Properties['ScheduleExpression']));
    const run = (name: string, memoryMb: unknown, seconds: number, times = 1): Run => ({
      ...{ name, perMonth: perMonth * times },
      gbSeconds: (Number(memoryMb) / 1024) * seconds,
    });
    const name = scheduled.name.slice(scheduled.name.lastIndexOf('-') + 1);
    const memory = scheduled.properties['MemorySize'];
    if (name !== 'warmup') return [run(name, memory, name === 'sweep' ? IDLE_RUN_SECONDS : FLEET_RUN_SECONDS)];
    const { WARM_TARGETS, WARM_HOLD_MS } = Object(scheduled.properties['Environment']).Variables;
    const targets = v.parse(v.pipe(v.string(), v.parseJson(), warmTargetsSchema), WARM_TARGETS);
    const seconds = (Number(WARM_HOLD_MS) + WARM_OVERHEAD_MS) / 1_000;
    const warmed = targets.map(({ functionName, concurrency }) =>
      run(
        'warmed',
        functions.find((each) => each.name === functionName)?.properties['MemorySize'],
        seconds,
        concurrency,
      ),
    );
    return [run(name, memory, seconds * targets.length), ...warmed];
  });
}

/** Returns the minutes between the runs of a rate. */
function parseMinutes(expression: string): number {
  const [, count, unit = ''] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  const minutes = { minute: 1, hour: 60, day: 24 * 60 }[unit];
  if (count === undefined || minutes === undefined) throw new Error(`${expression} is no rate`);
  return Number(count) * minutes;
}
