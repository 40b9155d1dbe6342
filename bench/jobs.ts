import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { computeMedian, interleave } from '../test/measure/statistics.ts';
import { type Budget, formatNumber, type Report, type Table } from './report/report.ts';
import { type JobCloud, SERVICES, startJobCloud } from './targets/job-cloud.ts';
import {
  BATCH_SIZE,
  createGenerateMessage,
  createResponseBody,
  createSqsClient,
  mapConcurrently,
  PRODUCERS,
  post,
  sendAll,
  sendJobs,
} from './targets/producers.ts';

export interface JobsOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Jobs per measurement. */
  readonly jobs: number;
}

interface Target {
  readonly label: string;
  /** Returns jobs or messages per second. */
  run(count: number, name: string): Promise<number>;
}

/** Requests per job of one operation, as the average of all counted jobs. */
interface JobRequest {
  readonly service: string;
  readonly operation: string;
  readonly perJob: number;
  /** Capacity units per job, for DynamoDB only. */
  readonly units: number;
}

interface Result {
  readonly target: string;
  readonly perSecond: number;
  /** The rate divided by that of the local SQS in the same round. */
  readonly ofSqs: number;
  readonly requestsPerJob: readonly JobRequest[];
}

const SQS = 'local SQS: send, receive, delete';
const MESSAGES = 'jobs of a program’s messages';
const BACKGROUND = 'background responses through the API';

/** DynamoDB requests per job, as listed and explained in docs/jobs.md. */
const DOCUMENTED = new Map([
  [MESSAGES, 5],
  [BACKGROUND, 6],
]);
/** Margin for requests that each environment repeats every few minutes, spread over all jobs. */
const REQUEST_MARGIN = 1.1;

/** Maximum wait for the end of all jobs, long enough for a busy machine. */
const TIMEOUT_MS = 180_000;

/** Measures the rate of queued jobs and the AWS requests per job. */
export async function benchJobs({ rounds, jobs }: JobsOptions): Promise<Report> {
  await using jobCloud = await startJobCloud({ tokens: 16, intervalMs: 0 });
  const client = createSqsClient(jobCloud.cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '');
  try {
    const targets = await prepareTargets(jobCloud, client);
    // Warm-up: environments start, code is compiled, and the tenant's key is created.
    for (const { run } of targets) await run(Math.min(jobs, 200), 'warm-up');
    const requestsPerJob = new Map<Target, JobRequest[]>();
    const rates = await interleave(targets, rounds, async (target, round) => {
      jobCloud.reset();
      const rate = await target.run(jobs, `round-${round}`);
      requestsPerJob.set(target, countRequestsPerJob(jobCloud, jobs));
      return rate;
    });
    const floor = [...rates].find(([{ label }]) => label === SQS)?.[1] ?? [];
    const results = [...rates].map(([target, measured]) => ({
      target: target.label,
      perSecond: computeMedian(measured),
      ofSqs: computeMedian(measured.map((rate, round) => rate / (floor[round] ?? Number.NaN))),
      requestsPerJob: target.label === SQS ? [] : (requestsPerJob.get(target) ?? []),
    }));
    return toReport(results, { rounds, jobs });
  } finally {
    client.destroy();
  }
}

async function prepareTargets(jobCloud: JobCloud, client: SQSClient): Promise<Target[]> {
  const { url, resources } = jobCloud.cloud;
  const queueUrl = resources['GENERATION_QUEUE_URL'] ?? '';
  const { QueueUrl: idle = '' } = await client.send(new CreateQueueCommand({ QueueName: 'bench-idle' }));
  return [
    { label: SQS, run: (count) => measureRate(count, () => sendReceiveDelete(client, idle, count)) },
    {
      label: MESSAGES,
      run: (count, name) =>
        measureRate(count, async () =>
          jobCloud.waitForEnds(await sendJobs(client, queueUrl, `${name}-queue`, count), TIMEOUT_MS),
        ),
    },
    {
      label: BACKGROUND,
      run: (count) =>
        measureRate(count, async () => {
          const body = createResponseBody({ background: true });
          const ids = await mapConcurrently(PRODUCERS, Array.from({ length: count }), () =>
            post(url, '/responses', body),
          );
          await jobCloud.waitForEnds(
            ids.map(({ id }) => id),
            TIMEOUT_MS,
          );
        }),
    },
  ];
}

async function measureRate(count: number, work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (count * 1000) / (performance.now() - startedAt);
}

/** Sends, receives and deletes messages of the same size in the same batches: the minimum for any consumer. */
async function sendReceiveDelete(client: SQSClient, QueueUrl: string, count: number): Promise<void> {
  await sendAll(
    client,
    QueueUrl,
    Array.from({ length: count }, (_, index) => createGenerateMessage(`idle-${index}`)),
  );
  let left = count;
  const consume = async () => {
    while (left > 0) {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: BATCH_SIZE }),
      );
      if (Messages.length === 0) continue;
      left -= Messages.length;
      const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle }));
      await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    }
  };
  await Promise.all(Array.from({ length: PRODUCERS }, consume));
}

/**
 * Returns the requests per job of the functions and of the event source mapping, which sends one receive and one delete
 * per batch.
 */
export function countRequestsPerJob(jobCloud: JobCloud, jobs: number): JobRequest[] {
  const requests = jobCloud.requests();
  const byFunctions = SERVICES.flatMap((service) =>
    [...requests[service]].map(([operation, { requests: count, units }]) => ({
      service,
      operation,
      perJob: count / jobs,
      units: units / jobs,
    })),
  );
  const batches = jobCloud.batches().length / jobs;
  const byMapping = ['ReceiveMessage', 'DeleteMessageBatch'].map((operation) => ({
    service: 'SQS',
    operation: `${operation} (the mapping’s)`,
    perJob: batches,
    units: 0,
  }));
  return [...byFunctions, ...byMapping];
}

function toReport(results: readonly Result[], { rounds, jobs }: JobsOptions): Report {
  return {
    name: 'jobs',
    title: 'Queued jobs: rate, and AWS requests per job',
    method: [
      `The whole local cloud runs with an upstream that responds at once. ${jobs} jobs are sent to the generation queue as a program sends them, ten messages per request, or posted as background responses. The clock runs until the last job’s end is logged. The floor is the same local SQS in the same process without a consumer function: ${jobs} messages of the same size are sent, received and deleted ten at a time, with ${PRODUCERS} concurrent requests.`,
      'The stand-ins for DynamoDB and SQS, the gateway and the event source mapping share one process, and all functions share the same few cores: the rate is that of a laptop. A proxy between the functions and the stand-ins counts the requests of a job, which are the same on any machine. Of the mapping’s requests, one receive and one delete per batch are counted; empty receives are not, because they depend on how idle the queue is.',
    ],
    tables: [
      {
        caption: `Rate: median of ${rounds} interleaved rounds of ${jobs}`,
        columns: ['target', 'per second', '× local SQS'],
        rows: results.map(({ target, perSecond, ofSqs }) => [target, formatNumber(perSecond), formatNumber(ofSqs)]),
      },
      ...results.filter(({ requestsPerJob }) => requestsPerJob.length > 0).map(toRequestTable),
    ],
    budgets: results.flatMap(toBudgets),
    charts: [
      {
        title: 'Jobs per second, end to end',
        unit: '/s',
        groups: [{ label: '', bars: results.map(({ target, perSecond }) => ({ label: target, value: perSecond })) }],
      },
    ],
    limits: [
      `**The rate.** In this run a program’s jobs completed at ${formatRate(results, MESSAGES)} of the rate at which the same SQS delivers and deletes messages without a consumer function, and background responses at ${formatRate(results, BACKGROUND)}. The floor sends 0.3 requests per message, to one stand-in. A job adds ${DOCUMENTED.get(MESSAGES)} or ${DOCUMENTED.get(BACKGROUND)} requests to another, sealing, a model’s response and, for background responses, a request through the gateway and the authorizer.`,
      '**The requests.** [Jobs](../jobs.md#requests) gives the reason for each. Reads of keys and senders, and KMS’s `Decrypt`, happen once per environment every few minutes, not per job. Longer jobs add an `UpdateItem` and a `ChangeMessageVisibility` every 15 s. Batch sizes decide the SQS requests: a program’s messages arrive ten at a time, pointers one at a time, and a mapping with spare pollers takes them as they arrive.',
    ],
    data: results,
  };
}

const formatRate = (results: readonly Result[], label: string) =>
  formatNumber(results.find(({ target }) => target === label)?.ofSqs ?? Number.NaN);

function toBudgets({ target, requestsPerJob }: Result): Budget[] {
  const documented = DOCUMENTED.get(target);
  if (documented === undefined) return [];
  const measured = requestsPerJob
    .filter(({ service }) => service === 'DynamoDB')
    .reduce((sum, { perJob }) => sum + perJob, 0);
  return [
    {
      metric: `${target}, requests to DynamoDB`,
      measured: { label: 'measured', value: measured, unit: 'per job' },
      against: { label: 'documented', value: documented, unit: 'per job' },
      limit: REQUEST_MARGIN,
    },
  ];
}

function toRequestTable({ target, requestsPerJob }: Result): Table {
  return {
    caption: `Requests per job: ${target}`,
    columns: ['request', 'per job', 'capacity units per job'],
    rows: requestsPerJob.map(({ service, operation, perJob, units }) => [
      `${service} ${operation}`,
      formatNumber(perJob),
      service === 'DynamoDB' ? formatNumber(units) : '',
    ]),
  };
}
