import { CloudWatchClient, GetMetricDataCommand } from '@aws-sdk/client-cloudwatch';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { createError, createWarning } from '../preflight/finding.ts';
import { type DoctorCheck, type DoctorInput, findForEach, listPhysicalIds } from './check.ts';

/** The default of `alarmQueueAgeSeconds`. */
const LONGEST_AGE_SECONDS = 900;
const HOUR_MS = 3_600_000;

/** Checks that the dead-letter queues are empty. */
export const deadLetterCheck: DoctorCheck = {
  name: 'dead-letter queues',
  async find(input) {
    const { region, clientConfig } = input;
    const client = new SQSClient({ ...clientConfig, region });
    const urls = listPhysicalIds(input, 'AWS::SQS::Queue').filter((url) => url.endsWith('-dlq'));
    return findForEach(urls, async (QueueUrl) => {
      const { Attributes } = await client.send(
        new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['ApproximateNumberOfMessages'] }),
      );
      const count = Number(Attributes?.['ApproximateNumberOfMessages'] ?? 0);
      if (count === 0) return [];
      const name = QueueUrl.split('/').at(-1) ?? '';
      const runbook = name.replace(/^.*-(\w+-dlq)$/, 'docs/alarms.md#$1');
      return [createError(`${name} holds ${count} ${count === 1 ? 'message' : 'messages'}.`, `See ${runbook}`)];
    });
  },
};

/** Checks that no message waits for long. */
export const queueAgeCheck: DoctorCheck = {
  name: 'queue ages',
  async find(input) {
    const queues = listPhysicalIds(input, 'AWS::SQS::Queue')
      .map((url) => url.split('/').at(-1) ?? '')
      .filter((name) => !name.endsWith('-dlq'));
    return findForEach(queues, async (name) => {
      const ages = await readMetric(input, {
        ...{ namespace: 'AWS/SQS', metric: 'ApproximateAgeOfOldestMessage', statistic: 'Maximum', minutes: 15 },
        dimension: { Name: 'QueueName', Value: name },
      });
      const age = ages[0] ?? 0;
      if (age <= LONGEST_AGE_SECONDS) return [];
      const runbook = `docs/alarms.md#${name.split('-').at(-1)}-queue-age`;
      return [createError(`The oldest message of ${name} is ${Math.round(age / 60)} minutes old.`, `See ${runbook}`)];
    });
  },
};

/** Checks that warmup ran in the last hour without a failure. */
export const warmupCheck: DoctorCheck = {
  name: 'warm-up',
  async find(input) {
    const [name] = listPhysicalIds(input, 'AWS::Lambda::Function').filter((each) => each.endsWith('-warmup'));
    if (name === undefined) return [];
    const read = async (metric: string) => {
      const values = await readMetric(input, {
        ...{ namespace: 'AWS/Lambda', metric, statistic: 'Sum', minutes: 60 },
        dimension: { Name: 'FunctionName', Value: name },
      });
      return values.reduce((sum, value) => sum + value, 0);
    };
    const [runs, errors] = await Promise.all([read('Invocations'), read('Errors')]);
    if (errors > 0)
      return [
        createError(
          `${errors} of ${runs} runs of ${name} failed in the last hour.`,
          'See docs/alarms.md#environments-are-cold',
        ),
      ];
    if (runs > 0) return [];
    return [
      createWarning(
        `${name} did not run in the last hour: more requests meet a cold start.`,
        'Expected after a first deployment, if warmEnabled is false, and if warmSchedule is longer. Otherwise deploy again.',
      ),
    ];
  },
};

interface Metric {
  readonly namespace: string;
  readonly metric: string;
  readonly statistic: 'Maximum' | 'Sum';
  readonly dimension: { readonly Name: string; readonly Value: string };
  /** Length of a value's period. */
  readonly minutes: number;
}

/** Returns the values of a metric in the last hour, the newest first. */
async function readMetric({ region, clientConfig, now }: DoctorInput, metric: Metric): Promise<readonly number[]> {
  const client = new CloudWatchClient({ ...clientConfig, region });
  const { MetricDataResults = [] } = await client.send(
    new GetMetricDataCommand({
      StartTime: new Date(now - HOUR_MS),
      EndTime: new Date(now),
      ScanBy: 'TimestampDescending',
      MetricDataQueries: [
        {
          Id: 'value',
          MetricStat: {
            Metric: { Namespace: metric.namespace, MetricName: metric.metric, Dimensions: [metric.dimension] },
            Period: metric.minutes * 60,
            Stat: metric.statistic,
          },
        },
      ],
    }),
  );
  return MetricDataResults[0]?.Values ?? [];
}
