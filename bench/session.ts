import { computeMedian, computeQuantile, interleave } from '../test/measure/statistics.ts';
import { type Chart, formatNumber, type Report } from './report/report.ts';
import { type JobCloud, SERVICES, type Service, startJobCloud } from './targets/job-cloud.ts';
import { createResponseBody, post } from './targets/producers.ts';

export interface SessionOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Calls per measurement, one after another. */
  readonly calls: number;
}

interface Target {
  readonly label: string;
  /** Creates the state that the calls of one measurement share. Returns a function that makes one call. */
  prepare(): Promise<() => Promise<unknown>>;
  /** Waits for the call's asynchronous work, which would slow down the next call. The wait is not measured. */
  settle?(): Promise<unknown>;
}

interface Round {
  readonly p50: number;
  readonly p99: number;
  /** Requests per call, by service. */
  readonly requests: Readonly<Record<Service, number>>;
}

interface Result extends Round {
  readonly target: string;
  /** Milliseconds above the stateless call in the same round, the median of all rounds. */
  readonly addedP50: number;
}

const STATELESS = 'stateless response';
const TIMEOUT_MS = 60_000;

/** Measures the time that state and the queue add to a call. */
export async function benchSession({ rounds, calls }: SessionOptions): Promise<Report> {
  await using jobCloud = await startJobCloud({ tokens: 16, intervalMs: 0 });
  const targets = createTargets(jobCloud);
  for (const target of targets) await measure(jobCloud, target, Math.min(calls, 20));
  const measured = await interleave(targets, rounds, (target) => measure(jobCloud, target, calls));
  return toReport(compare(measured), { rounds, calls });
}

function createTargets(jobCloud: JobCloud): Target[] {
  const { url } = jobCloud.cloud;
  const respond = (more: object) => post(url, '/responses', createResponseBody(more));
  let accepted: string[] = [];
  return [
    { label: STATELESS, prepare: async () => () => respond({ store: false }) },
    { label: 'stored response', prepare: async () => () => respond({}) },
    {
      label: 'turn after a stored response',
      async prepare() {
        const { id } = await respond({});
        return () => respond({ previous_response_id: id });
      },
    },
    {
      label: 'turn of a conversation',
      async prepare() {
        const conversation = (await post(url, '/conversations', {})).id;
        return () => respond({ conversation });
      },
    },
    {
      label: 'background response, accepted',
      async prepare() {
        return async () => {
          accepted = [(await respond({ background: true })).id];
        };
      },
      settle: () => jobCloud.waitForEnds(accepted, TIMEOUT_MS),
    },
    {
      label: 'background response, ended',
      prepare: async () => async () => jobCloud.waitForEnds([(await respond({ background: true })).id], TIMEOUT_MS),
    },
  ];
}

async function measure(jobCloud: JobCloud, target: Target, calls: number): Promise<Round> {
  const call = await target.prepare();
  jobCloud.reset();
  const ms: number[] = [];
  for (let index = 0; index < calls; index++) {
    const startedAt = performance.now();
    await call();
    ms.push(performance.now() - startedAt);
    await target.settle?.();
  }
  const counted = jobCloud.requests();
  const countPerCall = (service: Service) =>
    [...counted[service].values()].reduce((sum, { requests }) => sum + requests, 0) / calls;
  return {
    p50: computeQuantile(ms, 0.5),
    p99: computeQuantile(ms, 0.99),
    requests: {
      DynamoDB: countPerCall('DynamoDB'),
      SQS: countPerCall('SQS'),
      KMS: countPerCall('KMS'),
      S3: countPerCall('S3'),
    },
  };
}

function compare(measured: Map<Target, Round[]>): Result[] {
  const stateless = [...measured].find(([{ label }]) => label === STATELESS)?.[1] ?? [];
  return [...measured].map(([{ label }, rounds]) => {
    const computeMiddle = (value: (round: Round, index: number) => number) => computeMedian(rounds.map(value));
    const findPerCall = (service: Service) => computeMiddle(({ requests }) => requests[service]);
    return {
      target: label,
      p50: computeMiddle(({ p50 }) => p50),
      p99: computeMiddle(({ p99 }) => p99),
      addedP50: computeMiddle(({ p50 }, index) => p50 - (stateless[index]?.p50 ?? Number.NaN)),
      requests: {
        DynamoDB: findPerCall('DynamoDB'),
        SQS: findPerCall('SQS'),
        KMS: findPerCall('KMS'),
        S3: findPerCall('S3'),
      },
    };
  });
}

function toReport(results: readonly Result[], { rounds, calls }: SessionOptions): Report {
  const chart: Chart = {
    title: 'Time per call, p50',
    unit: 'ms',
    groups: [{ label: '', bars: results.map(({ target, p50 }) => ({ label: target, value: p50 })) }],
  };
  return {
    name: 'session',
    title: 'State and the queue: the time they add to a call',
    method: [
      'One client calls the whole local cloud, one call after another, with an upstream that responds at once: a stateless response, and the same with each kind of state. All calls of a conversation use the same conversation, which starts empty and grows by two items per call: the median call uses a conversation of half the final length.',
      '“Background response, accepted” is the time until the job is durable and its id known. “Ended” is the time until the worker that committed the job logs its end: the delay that the queue adds. In both cases the next call starts when the job has ended. Requests are the functions’ requests per call, whichever function sends them and whether or not the caller waits. The requests of the queue’s event source mapping are not counted. The authorizer’s result is cached.',
    ],
    tables: [
      {
        caption: `Milliseconds and requests, median of ${rounds} interleaved rounds of ${calls} calls`,
        columns: ['call', 'p50', 'p99', 'added p50', ...SERVICES],
        rows: results.map(({ target, p50, p99, addedP50, requests }) => [
          target,
          formatNumber(p50),
          formatNumber(p99),
          target === STATELESS ? '' : formatNumber(addedP50),
          ...SERVICES.map((service) => formatNumber(requests[service])),
        ]),
      },
    ],
    budgets: [],
    charts: [chart],
    data: results,
  };
}
