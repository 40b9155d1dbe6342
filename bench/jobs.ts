import { join } from 'node:path';
import { CreateQueueCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { computeMedian, interleave } from '../test/measure/statistics.ts';
import { startServer } from './processes.ts';
import { type Budget, formatNumber, type Report, type Table } from './report/report.ts';
import type { BareRun } from './targets/bare-requests.ts';
import { readCpuMs } from './targets/cpu-time.ts';
import { type JobCloud, SERVICES, startJobCloud } from './targets/job-cloud.ts';
import type { LambdaMode } from './targets/lambent.ts';
import {
  createResponseBody,
  createSqsClient,
  mapConcurrently,
  PRODUCERS,
  post,
  sendJobs,
} from './targets/producers.ts';

export interface JobsOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Jobs per measurement. */
  readonly jobs: number;
  /** How all functions run: `managed` with many requests to a process, or `standard`. */
  readonly mode: LambdaMode;
}

/** A measurement of some jobs. */
interface Run {
  readonly perSecond: number;
  /** Processor time per job of the functions, or of the bare loop, in milliseconds. */
  readonly functionsMs: number;
  /** The same of the local cloud's own process: the stand-ins, the gateway and the event source mappings. */
  readonly standInsMs: number;
}

interface Target {
  readonly label: string;
  run(count: number, name: string): Promise<Run>;
}

/** Requests per job of one operation, as the average of all counted jobs. */
interface JobRequest {
  readonly service: string;
  readonly operation: string;
  readonly perJob: number;
  /** Capacity units per job, for DynamoDB only. */
  readonly units: number;
}

interface Result extends Run {
  readonly target: string;
  /** The rate divided by that of the bare requests in the same round. */
  readonly ofBare: number;
  /** The processor time divided by that of the bare requests in the same round. */
  readonly cpuOfBare: number;
  readonly requestsPerJob: readonly JobRequest[];
}

const BARE = 'the requests alone';
const MESSAGES = 'jobs of a program’s messages';
const BACKGROUND = 'background responses through the API';

/** DynamoDB requests per job, as listed and explained in docs/jobs.md. */
const DOCUMENTED = new Map([
  [MESSAGES, 8],
  [BACKGROUND, 8],
]);
/** Margin for requests that each environment repeats every few minutes, spread over all jobs. */
const REQUEST_MARGIN = 1.1;
/** Processor time of a job against that of its requests alone. */
const CPU_LIMIT = 2.5;

/** Jobs whose requests are counted, in a cloud of their own because counting slows it. */
const COUNTED_JOBS = 200;
/** Maximum wait for the end of all jobs, long enough for a busy machine. */
const TIMEOUT_MS = 180_000;

/** Measures the rate of queued jobs, their processor time, and the AWS requests per job. */
export async function benchJobs({ rounds, jobs, mode }: JobsOptions): Promise<Report> {
  const requestsPerJob = await countRequests(Math.min(jobs, COUNTED_JOBS), mode);
  await using jobCloud = await startCloud(mode, false);
  const client = createSqsClient(jobCloud.cloud);
  try {
    await using bare = await startBareRequests(jobCloud, client);
    const targets = [createBareTarget(bare.url), ...createTargets(jobCloud, client)];
    // Warm-up: environments start, code is compiled, and the tenant's key is created.
    for (const { run } of targets) await run(Math.min(jobs, 200), 'warm-up');
    const runs = await interleave(targets, rounds, ({ run }, round) => run(jobs, `round-${round}`));
    const floor = [...runs].find(([{ label }]) => label === BARE)?.[1] ?? [];
    const results = [...runs].map(([{ label }, measured]) => ({
      target: label,
      perSecond: computeMedian(measured.map(({ perSecond }) => perSecond)),
      functionsMs: computeMedian(measured.map(({ functionsMs }) => functionsMs)),
      standInsMs: computeMedian(measured.map(({ standInsMs }) => standInsMs)),
      ofBare: computeMedian(
        measured.map(({ perSecond }, round) => perSecond / (floor[round]?.perSecond ?? Number.NaN)),
      ),
      cpuOfBare: computeMedian(measured.map((run, round) => sumCpu(run) / sumCpu(floor[round]))),
      requestsPerJob: requestsPerJob.get(label) ?? [],
    }));
    return toReport(results, { rounds, jobs, mode });
  } finally {
    client.destroy();
  }
}

const sumCpu = ({ functionsMs, standInsMs }: Pick<Run, 'functionsMs' | 'standInsMs'> = NO_RUN) =>
  functionsMs + standInsMs;
const NO_RUN = { functionsMs: Number.NaN, standInsMs: Number.NaN };

function startCloud(mode: LambdaMode, counted: boolean): Promise<JobCloud> {
  return startJobCloud({ tokens: 16, intervalMs: 0 }, { counted, managed: mode === 'managed' ? 'all' : [] });
}

/** Returns the AWS requests per job of each target, by its label. */
async function countRequests(jobs: number, mode: LambdaMode): Promise<ReadonlyMap<string, JobRequest[]>> {
  await using jobCloud = await startCloud(mode, true);
  const client = createSqsClient(jobCloud.cloud);
  try {
    const counts = new Map<string, JobRequest[]>();
    for (const { label, run } of createTargets(jobCloud, client)) {
      await run(jobs, 'warm-up');
      jobCloud.reset();
      await run(jobs, 'counted');
      counts.set(label, countRequestsPerJob(jobCloud, jobs));
    }
    return counts;
  } finally {
    client.destroy();
  }
}

function createTargets(jobCloud: JobCloud, client: SQSClient): Target[] {
  const { url, resources } = jobCloud.cloud;
  const queueUrl = resources['GENERATION_QUEUE_URL'] ?? '';
  return [
    {
      label: MESSAGES,
      run: (count, name) =>
        measureRun(jobCloud, count, async () =>
          jobCloud.waitForEnds(await sendJobs(client, queueUrl, `${name}-queue`, count), TIMEOUT_MS),
        ),
    },
    {
      label: BACKGROUND,
      run: (count) =>
        measureRun(jobCloud, count, async () => {
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

async function startBareRequests({ cloud }: JobCloud, client: SQSClient) {
  const { QueueUrl = '' } = await client.send(new CreateQueueCommand({ QueueName: 'bench-bare' }));
  const { endpoints, credentials, resources } = cloud;
  const args = [JSON.stringify({ endpoints, credentials }), resources['JOBS_TABLE'] ?? '', QueueUrl];
  return startServer(join(import.meta.dirname, 'targets', 'bare-requests.ts'), args);
}

function createBareTarget(url: string): Target {
  return {
    label: BARE,
    async run(count, name) {
      const before = process.cpuUsage();
      const response = await fetch(`${url}/${count}/${name}`, { method: 'POST' });
      if (!response.ok) throw new Error(`The requests alone failed with status ${response.status}`);
      const { ms, cpuMs } = (await response.json()) as BareRun;
      return {
        perSecond: (count * 1000) / ms,
        functionsMs: cpuMs / count,
        standInsMs: getOwnCpuMs(before) / count,
      };
    },
  };
}

async function measureRun({ cloud }: JobCloud, count: number, work: () => Promise<unknown>): Promise<Run> {
  const cpuBefore = new Map(cloud.processes().map(({ pid }) => [pid, readCpuMs(pid)]));
  const before = process.cpuUsage();
  const startedAt = performance.now();
  await work();
  const ms = performance.now() - startedAt;
  const cpuMs = cloud.processes().reduce((sum, { pid }) => sum + readCpuMs(pid) - (cpuBefore.get(pid) ?? 0), 0);
  return {
    perSecond: (count * 1000) / ms,
    functionsMs: cpuMs / count,
    standInsMs: getOwnCpuMs(before) / count,
  };
}

function getOwnCpuMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/**
 * Returns the requests per job of the functions and of the event source mappings, which send one receive and one delete per
 * batch.
 */
function countRequestsPerJob(jobCloud: JobCloud, jobs: number): JobRequest[] {
  const requests = jobCloud.requests();
  const byFunctions = SERVICES.flatMap((service) =>
    [...requests[service]].map(([operation, { requests: count, units }]) => ({
      service,
      operation,
      perJob: count / jobs,
      units: units / jobs,
    })),
  );
  const batches = jobCloud.queueInvocations() / jobs;
  const byMappings = ['ReceiveMessage', 'DeleteMessageBatch'].map((operation) => ({
    service: 'SQS',
    operation: `${operation} (the mappings’)`,
    perJob: batches,
    units: 0,
  }));
  return [...byFunctions, ...byMappings];
}

function toReport(results: readonly Result[], { rounds, jobs, mode }: JobsOptions): Report {
  return {
    name: 'jobs',
    title: 'Queued jobs: rate, processor time, and AWS requests per job',
    method: [
      `The whole local cloud runs with an upstream that responds at once${mode === 'managed' ? ', and one process of a function serves many requests' : ''}. ${jobs} jobs are sent to the generation queue as a program sends them, ten messages per request, or posted as background responses. The clock runs until the last job’s end is logged. The floor is a loop in one process that makes the requests of a program’s messages to the same stand-ins: ${DOCUMENTED.get(MESSAGES)} to DynamoDB per job, and six to SQS per ten jobs. It seals nothing and calls no model and no function.`,
      `The stand-ins for DynamoDB and SQS, the gateway, the event source mappings and the bench share one process. Its processor time and that of the functions are measured apart; the model’s is left out. The requests of a job are counted in another run of ${Math.min(jobs, COUNTED_JOBS)}, by a proxy between the functions and the stand-ins. They are the same on any machine. Of the mappings’ requests, one receive and one delete per batch are counted; empty receives are not, because they depend on how idle the queue is.`,
    ],
    tables: [
      {
        caption: `Median of ${rounds} interleaved rounds of ${jobs}`,
        columns: ['target', 'per second', '× requests alone', 'functions, CPU ms per job', 'stand-ins, CPU ms per job'],
        rows: results.map(({ target, perSecond, ofBare, functionsMs, standInsMs }) => [
          target,
          ...[perSecond, ofBare, functionsMs, standInsMs].map(formatNumber),
        ]),
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
      `**The rate.** In this run a program’s jobs completed at ${formatRate(results, MESSAGES)} of the rate of their requests alone, and background responses at ${formatRate(results, BACKGROUND)}. A job adds sealing, a model’s response, the Lambda runtime and, for background responses, a request through the gateway and the authorizer. On a machine that does nothing else, no engine with these requests can be faster than they are alone. On a busy one, the loop gets less of the processors than the functions, which are several processes; then compare the processor times.`,
      '**The requests.** Reads of keys and senders, and KMS’s `Decrypt`, happen once per environment every few minutes, not per job. Longer jobs add an `UpdateItem` every 15 s and a `ChangeMessageVisibility` every 20 s. Batch sizes decide the SQS requests: a program’s messages arrive ten at a time, tickets as their jobs are created, and a mapping with spare pollers takes them as they arrive.',
    ],
    data: results,
  };
}

const formatRate = (results: readonly Result[], label: string) =>
  formatNumber(results.find(({ target }) => target === label)?.ofBare ?? Number.NaN);

function toBudgets({ target, requestsPerJob, cpuOfBare }: Result): Budget[] {
  const documented = DOCUMENTED.get(target);
  if (documented === undefined) return [];
  const measured = requestsPerJob
    .filter(({ service }) => service === 'DynamoDB')
    .reduce((sum, { perJob }) => sum + perJob, 0);
  const requests = {
    metric: `${target}, requests to DynamoDB`,
    measured: { label: 'measured', value: measured, unit: 'per job' },
    against: { label: 'documented', value: documented, unit: 'per job' },
    limit: REQUEST_MARGIN,
  };
  const cpu = {
    metric: `${target}, processor time`,
    measured: { label: 'measured', value: cpuOfBare, unit: '×' },
    against: { label: BARE, value: 1, unit: '×' },
    limit: CPU_LIMIT,
  };
  // Processor time is known only on Linux.
  return Number.isFinite(cpuOfBare) ? [requests, cpu] : [requests];
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
