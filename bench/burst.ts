import { LOCAL_API_KEY } from '../local/seed.ts';
import { computeQuantile } from '../test/measure/statistics.ts';
import { type PostResult, runPosts } from './load/posts.ts';
import { type Budget, formatNumber, type LineChart, type Report, type Series } from './report/report.ts';
import { type JobCloud, startJobCloud } from './targets/job-cloud.ts';
import type { LambdaMode } from './targets/lambent.ts';
import { createResponseBody, post } from './targets/producers.ts';

export interface BurstOptions {
  /**
   * Background responses per second. The loads run one after another, each on a new cloud; the budget applies to the
   * last.
   */
  readonly perSecond: readonly number[];
  readonly seconds: number;
  readonly mode: LambdaMode;
}

type Points = Series['points'];

/** The measurements of a burst. */
interface Measured {
  readonly perSecond: number;
  readonly posted: number;
  readonly accepted: number;
  /** Acceptances per second, from the first request's scheduled time to the last acceptance. */
  readonly reachedPerSecond: number;
  readonly acceptMs: readonly number[];
  /** Number of requests that were not accepted, by status and error code, such as `503 vault_unavailable`. */
  readonly refusals: Readonly<Record<string, number>>;
  /** Number of accepted jobs by their final status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Jobs that were accepted and had not ended after `TIMEOUT_MS`. */
  readonly lost: number;
  readonly endedTwice: number;
  /** Seconds from the last acceptance to the end of the last job. */
  readonly drainSeconds: number;
  /** Ready environments of the function, without those that are starting. */
  readonly environments: Points;
  readonly pollers: Points;
  /** Jobs that are accepted and have not ended. */
  readonly waiting: Points;
}

/** A slow model, 2 s per response, so that a burst needs many environments. */
const PACE = { tokens: 20, intervalMs: 100 };
const FUNCTION = 'generate';
const SAMPLE_MS = 250;
/** Budget: a burst must start this many environments within `SCALE_SECONDS`. */
const ENVIRONMENTS = 20;
const SCALE_SECONDS = 45;
/** Jobs that have not ended by then count as lost. Longer than a sweep needs to find a stalled job. */
const TIMEOUT_MS = 240_000;

/** Measures acceptance, scaling and completion of a burst of background jobs. */
export async function benchBurst(options: BurstOptions): Promise<Report> {
  const { perSecond, seconds, mode } = options;
  const measured: Measured[] = [];
  for (const each of perSecond) {
    await using jobCloud = await startJobCloud(PACE, {
      counted: false,
      managed: mode === 'managed' ? 'interactive' : [],
    });
    // Starts one environment of each function, as a single job in a quiet hour would.
    const { id } = await post(jobCloud.cloud.url, '/responses', createResponseBody({ background: true }));
    await jobCloud.waitForEnds([id], TIMEOUT_MS);
    measured.push(await runBurst(jobCloud, each, seconds));
  }
  return toReport(measured, options);
}

async function runBurst(jobCloud: JobCloud, perSecond: number, seconds: number): Promise<Measured> {
  const samples: { readonly at: number; readonly environments: number; readonly pollers: number }[] = [];
  const started = new Set<number>();
  const sample = () => {
    const processes = jobCloud.cloud.processes().filter((process) => process.function === FUNCTION);
    // A process that is busy without an invocation is starting, or has just answered and was counted before.
    for (const { pid, busy, requestIds } of processes) if (!busy || requestIds.length > 0) started.add(pid);
    const environments = processes.filter(({ pid }) => started.has(pid)).length;
    samples.push({ at: toEpochMs(performance.now()), environments, pollers: jobCloud.cloud.pollers(FUNCTION) });
  };
  sample();
  const sampling = setInterval(sample, SAMPLE_MS);
  try {
    const posted = await runPosts({
      url: `${jobCloud.cloud.url}/responses`,
      headers: { authorization: `Bearer ${LOCAL_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(createResponseBody({ background: true })),
      perSecond,
      seconds,
    });
    const accepted = posted.flatMap((each) => (each.id === undefined ? [] : { ...each, id: each.id }));
    const ids = accepted.map(({ id }) => id);
    // Unfinished jobs are counted as lost below.
    await jobCloud.waitForEnds(ids, TIMEOUT_MS).catch(() => undefined);
    sample();
    const startedAt = Math.min(...posted.map(({ dueAt }) => dueAt));
    const lastAcceptedAt = Math.max(startedAt, ...accepted.map(({ answeredAt }) => answeredAt));
    const findEndMs = (id: string) => toEpochMs(jobCloud.ended.get(id)?.at ?? Number.POSITIVE_INFINITY);
    const lastEndedAt = Math.max(lastAcceptedAt, ...ids.map(findEndMs));
    const toPoints = (value: (sample: (typeof samples)[number]) => number): Points =>
      samples
        .filter(({ at }) => at >= startedAt)
        .map((each) => ({ x: (each.at - startedAt) / 1000, value: value(each) }));
    const countUnderWay = (at: number) =>
      accepted.filter(({ id, answeredAt }) => answeredAt <= at && at < findEndMs(id)).length;
    return {
      perSecond,
      posted: posted.length,
      accepted: ids.length,
      reachedPerSecond: (ids.length * 1000) / Math.max(seconds * 1000, lastAcceptedAt - startedAt),
      acceptMs: accepted.map(({ dueAt, answeredAt }) => answeredAt - dueAt),
      refusals: countByName(posted.flatMap(({ refusal }: PostResult) => refusal ?? [])),
      statuses: countByName(ids.flatMap((id) => jobCloud.ended.get(id)?.status ?? [])),
      lost: ids.filter((id) => !jobCloud.ended.has(id)).length,
      endedTwice: jobCloud.endedTwice.size,
      drainSeconds: (lastEndedAt - lastAcceptedAt) / 1000,
      environments: toPoints(({ environments }) => environments),
      pollers: toPoints(({ pollers }) => pollers),
      waiting: toPoints(({ at }) => countUnderWay(at)),
    };
  } finally {
    clearInterval(sampling);
  }
}

const toEpochMs = (at: number) => performance.timeOrigin + at;

function countByName(things: readonly string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(things, (thing) => thing)].map(([thing, all]) => [thing, all.length]));
}

/** Returns the seconds until `ENVIRONMENTS` environments were ready. */
function findReadySeconds({ environments }: Measured): number {
  return environments.find(({ value }) => value >= ENVIRONMENTS)?.x ?? Number.POSITIVE_INFINITY;
}

function toReport(measured: readonly Measured[], { seconds, mode }: BurstOptions): Report {
  const last = measured.slice(-1);
  const budgets: Budget[] = last.flatMap((each) => [
    {
      metric: 'responses posted ÷ responses accepted',
      measured: { label: `posted at ${each.perSecond} per second`, value: each.posted, unit: '' },
      against: { label: 'accepted', value: each.accepted, unit: '' },
      limit: 1,
    },
    {
      metric: `time from 1 to ${ENVIRONMENTS} environments`,
      measured: { label: `at ${each.perSecond} per second`, value: findReadySeconds(each), unit: 's' },
      against: { label: 'the time allowed', value: SCALE_SECONDS, unit: 's' },
      limit: 1,
    },
  ]);
  return {
    name: 'burst',
    title: 'A burst of background work',
    method: [
      `A client in its own process posts background responses to the whole local cloud for ${seconds} s, each at its scheduled time, whether or not earlier requests have been answered. The time to accept a request counts from its scheduled time; a refused request is not repeated. The model takes ${(PACE.tokens * PACE.intervalMs) / 1000} s per response. Each load runs on a new cloud that has run one job, so that one environment of each function is up. ${mode === 'managed' ? 'As with `npm start`, one process of each HTTP function serves many requests at once' : 'Each concurrent request has its own process of the function'}; each batch of jobs has its own environment of \`generate\`.`,
      'The event source mapping scales as [AWS documents](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html): it starts with five pollers when there are messages and adds five per second (300 per minute) while all are busy, each with a batch of up to ten, up to the maximum in `serverless.yml` (50 on a laptop). An environment counts once it is ready, not while it starts.',
    ],
    tables: [
      {
        caption: 'Outcome',
        columns: ['', ...measured.map(({ perSecond }) => `${perSecond} per second`)],
        rows: toRows(measured),
      },
    ],
    budgets,
    charts: [
      ...measured.map(toScalingChart),
      {
        title: 'Jobs accepted and not ended',
        unit: '',
        series: measured.map(({ perSecond, waiting }) => ({ label: `${perSecond} per second`, points: waiting })),
      },
    ],
    limits: [
      '**The processors.** In AWS every environment has its own processor time, and so do API Gateway, SQS and DynamoDB. Here the client, the gateway, all stand-ins (in one process) and every environment share a few cores, and starting an environment takes a core for about 0.1 s. The local runner therefore starts few environments of a function at once and gives functions a lower priority than the stand-ins: at a rate beyond the cores’ capacity, requests are accepted late or refused, and no accepted job is abandoned. The lower load suits two cores; the budget applies to the higher load.',
      '**Refusals.** `500 AuthorizerFailureException`: the authorizer took longer than its 5 s. `500 InternalServerErrorException`: the function was at its maximum concurrency, or a process could not start within 10 s. `503 vault_unavailable` and `500 internal`: the stand-in for DynamoDB or KMS exceeded the function’s timeout (1 and 2 s) three times. A client normally retries all of these; this client doesn’t. A request that was refused because its response was late may still have created a job, and is not counted as accepted.',
    ],
    data: measured,
  };
}

function toRows(measured: readonly Measured[]): string[][] {
  const toRow = (label: string, value: (each: Measured) => number) => [
    label,
    ...measured.map((each) => formatNumber(value(each))),
  ];
  const toRowsByName = (label: string, counts: (each: Measured) => Readonly<Record<string, number>>) =>
    [...new Set(measured.flatMap((each) => Object.keys(counts(each))))].map((key) =>
      toRow(`${label} ${key}`, (each) => counts(each)[key] ?? 0),
    );
  const computeAcceptMs = (p: number) => (each: Measured) =>
    each.acceptMs.length === 0 ? Number.NaN : computeQuantile(each.acceptMs, p);
  return [
    toRow('posted', ({ posted }) => posted),
    toRow('accepted', ({ accepted }) => accepted),
    toRow('accepted per second', ({ reachedPerSecond }) => reachedPerSecond),
    ...toRowsByName('refused:', ({ refusals }) => refusals),
    toRow('time to accept, p50, ms', computeAcceptMs(0.5)),
    toRow('time to accept, p99, ms', computeAcceptMs(0.99)),
    ...toRowsByName('ended as', ({ statuses }) => statuses),
    toRow('accepted jobs lost', ({ lost }) => lost),
    toRow('ended twice', ({ endedTwice }) => endedTwice),
    toRow('last acceptance to last end, s', ({ drainSeconds }) => drainSeconds),
    toRow('environments of generate, maximum', ({ environments }) =>
      Math.max(...environments.map(({ value }) => value)),
    ),
    toRow(`${ENVIRONMENTS} environments ready after, s`, findReadySeconds),
  ];
}

function toScalingChart({ perSecond, environments, pollers }: Measured): LineChart {
  return {
    title: `Scaling up at ${perSecond} per second`,
    unit: '',
    series: [
      { label: 'ready environments of generate', points: environments },
      { label: 'pollers of its mapping', points: pollers },
    ],
  };
}
