import { createSeededRandom } from '../../../local/faults/random.ts';
import { getTicketBytes, receiveTicket } from '../../../shared/api/receive-ticket.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createBacklogWatch, createMemorySamples } from '../../../shared/jobs/backlog-watch.ts';
import { watchOutages } from '../../../shared/jobs/outage-watch.ts';
import { createPace } from '../../../shared/jobs/pace.ts';
import type { PaceTable } from '../../../shared/jobs/pace-table.ts';
import type { Bodies, JobStore } from '../../../shared/jobs/ports.ts';
import { sendTickets, submit } from '../../../shared/jobs/submit.ts';
import { sweepRepeatedly } from '../../../shared/jobs/sweep-run.ts';
import { createTicketCount, createTicketQueue } from '../../../shared/jobs/ticket-queue.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { ticketAction } from '../../../shared/jobs/worker.ts';
import type { WorkerPorts } from '../../../shared/jobs/worker-ports.ts';
import { MessagePool } from '../../../shared/lambda/message-pool.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import { VISIBILITY_SECONDS } from '../../../shared/lambda/queue-pipeline.ts';
import { makeRequest } from '../../shared/inference/requests.ts';
import { aJob, anInput } from '../../shared/jobs/jobs.ts';
import { createVirtualTime, type VirtualTime } from '../virtual-time.ts';
import type { EnvironmentModel } from './environment-model.ts';
import { startEventSourceModel } from './event-source-model.ts';
import type { JobRun } from './ideal-queue.ts';
import { createIndexModel, createOutageError, MAX_LAG_MS } from './index-model.ts';
import { createSqsClientModel } from './sqs-client-model.ts';
import { SqsModel } from './sqs-model.ts';
import type { SimulatedJob } from './workload.ts';

/** A time in which requests of a service fail. */
export interface ServiceOutage {
  readonly service: 'sqs' | 'dynamodb';
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface EngineRunOptions {
  readonly jobs: readonly SimulatedJob[];
  /** Concurrent invocations, each with `placesPerInvocation` places. */
  readonly invocations: number;
  readonly placesPerInvocation: number;
  /** Each received message is chosen among this many of the oldest. Default: 1. */
  readonly mixedMessages?: number;
  readonly outages?: readonly ServiceOutage[];
  /** The shared state of throttled models. Default: no call is paced. */
  readonly paceTable?: PaceTable;
  /** Called for each call to a model. Resolves when it begins to answer; throws if it refuses the call. */
  readonly callModel?: (model: string, time: VirtualTime, tenant: string) => Promise<void>;
  readonly seed: number;
  /** When the run is given up. */
  readonly untilMs: number;
}

/** A sample of the gauge, and what it should have shown. */
export interface GaugeSample {
  readonly shown: number;
  /** Jobs that waited at that moment. */
  readonly actual: number;
  /** The fewest and the most jobs that waited, second by second, while the index may have been as it was read. */
  readonly fewest: number;
  readonly most: number;
}

export interface EngineRun {
  /** Each job's last attempt, in the order of ends. Unfinished jobs are missing. */
  readonly runs: readonly JobRun[];
  /** Tickets sent. */
  readonly tickets: number;
  /** Attempts that began. */
  readonly attempts: number;
  readonly claims: number;
  /** Claims that workers tried, refused ones included. */
  readonly claimTries: number;
  readonly gauge: readonly GaugeSample[];
  /** Errors that were reported, by kind. */
  readonly errors: ReadonlyMap<string, number>;
  /** Jobs that didn't complete. */
  readonly unfinished: number;
}

const TIMEOUT_MS = 900_000;
const SHUTDOWN_MARGIN_MS = 8_000;
const JOBS_URL = 'https://sqs.invalid/jobs';
const GPU_URL = 'https://sqs.invalid/gpu';
const SHARDS = 2;
/** A program repeats a submission that fails. */
const RESUBMIT_MS = 2_000;
const DAY_MS = 86_400_000;
/** The default of a model's `timeoutMs`. */
const LONGEST_ANSWER_MS = 300_000;

/** Runs jobs on the engine's own code (submission, pool, worker, sweep) in a simulated world, on virtual time. */
export async function runEngine(options: EngineRunOptions): Promise<EngineRun> {
  const {
    jobs,
    invocations,
    placesPerInvocation,
    mixedMessages = 1,
    outages = [],
    seed,
    untilMs,
    paceTable,
    callModel,
  } = options;
  const time = createVirtualTime();
  const random = createSeededRandom(seed);
  const queue = new SqsModel(time, { name: 'jobs', visibilitySeconds: TIMEOUT_MS / 1000, mixedMessages, random });
  const gpuQueue = new SqsModel(time, { name: 'gpu', visibilitySeconds: TIMEOUT_MS / 1000 });
  const sqs = await createSqsClientModel(
    new Map([
      [JOBS_URL, queue],
      [GPU_URL, gpuQueue],
    ]),
  );
  const table = createIndexModel(time, { random, shards: SHARDS });
  const urls = { JOBS_QUEUE_URL: JOBS_URL, GPU_QUEUE_URL: GPU_URL };
  const tickets = createTicketQueue(sqs, urls);
  const durations = new Map(jobs.map(({ id, durationMs }) => [idOf(id), durationMs]));
  const errors = new Map<string, number>();
  const onError = (what: string) => void errors.set(what, (errors.get(what) ?? 0) + 1);
  const bodies = createBodiesModel(() => table.isAvailable());
  let attempts = 0;
  let claimTries = 0;
  let ids = 0;

  const shared = {
    timings: JOB_TIMINGS,
    now: time.now,
    steps: {},
    onStepFailed: async () => {},
    onError,
  };

  function countClaimTries(store: JobStore): JobStore {
    return {
      ...store,
      update(tenant, id, guard, change) {
        if (change.set?.status === 'in_progress') claimTries += 1;
        return store.update(tenant, id, guard, change);
      },
    };
  }

  const pools = new WeakMap<EnvironmentModel, MessagePool>();
  function poolOf(environment: EnvironmentModel): MessagePool {
    const known = pools.get(environment);
    if (known !== undefined) return known;
    const clock = environment.guard({ sleep: time.sleep });
    const { store, lastOutageAt } = watchOutages(countClaimTries(environment.guard(table.store)), time.now);
    const ports: WorkerPorts = {
      ...shared,
      jobs: store,
      lastOutageAt,
      bodies: environment.guard(bodies),
      queue: environment.guard(tickets),
      events: { append: async () => {}, read: async () => [] },
      sleep: (ms, signal) => clock.sleep(ms, signal),
      longestAnswerMs: () => LONGEST_ANSWER_MS,
      ids: () => `owner-${ids++}`,
      random,
      ...(paceTable && {
        pace: createPace({ table: environment.guard(paceTable), now: time.now, random, onError }),
      }),
      answerJob: async (job, _input, { signal, onBegin }) => {
        attempts += 1;
        await callModel?.(job.model, time, job.tenant);
        onBegin();
        await clock.sleep(durations.get(job.id) ?? 0, signal);
        signal.throwIfAborted();
        return { status: 'completed', output: { answer: {} }, usage: undefined };
      },
    };
    const control = createQueueControl(sqs, { queueUrl: JOBS_URL, deadLetterUrl: GPU_URL });
    const pool = new MessagePool({
      queue: environment.guard(control),
      places: placesPerInvocation,
      maxBytes: 25_000_000,
      bytesOf: getTicketBytes,
      visibilitySeconds: VISIBILITY_SECONDS,
      now: time.now,
      sleep: (ms, signal) => clock.sleep(ms, signal),
      onError,
      process: async (record, processing, invocation) => {
        try {
          const call = { ...processing, ...invocation, telemetry: undefined as never };
          return ticketAction(await receiveTicket(record, ports, call), time.now());
        } catch {
          onError('ticket failed');
          return {
            kind: 'hide',
            ms: Math.min(5_000 * 2 ** (Number(record.attributes.ApproximateReceiveCount) - 1), 900_000),
          };
        }
      },
    });
    pools.set(environment, pool);
    return pool;
  }

  async function submitJob(job: SimulatedJob): Promise<void> {
    const { tenant, model = 'default', tier = 'default' } = job;
    const { input: _input, model: _model, ...rest } = aJob({ tenant, id: idOf(job.id), tier });
    const admitted = {
      ...rest,
      deadline: job.arrivesAtMs + DAY_MS,
      expiresAt: untilMs / 1000 + 30 * 86_400,
      input: anInput({ generation: makeRequest({ model }) }),
    };
    const ports = { ...shared, jobs: table.store, bodies, queue: tickets };
    for (;;) {
      try {
        const submitted = await submit(admitted, ports);
        if (submitted.kind === 'created')
          await sendTickets([submitted.job], ports).catch(() => onError('ticket not sent'));
        return;
      } catch {
        await time.sleep(RESUBMIT_MS);
      }
    }
  }

  const gauge: GaugeSample[] = [];
  /** Jobs that waited in each of the last seconds. */
  const recent: number[] = [];
  const watch = createBacklogWatch(createTicketCount(sqs, urls), JOB_TIMINGS, createMemorySamples());
  let isDone = false;
  const sweepStore = watchOutages(table.store, time.now);
  async function countEverySecond(): Promise<void> {
    while (!isDone) {
      recent.push(countWaiting(table.entries));
      if (recent.length > MAX_LAG_MS / 1_000) recent.shift();
      await time.sleep(1_000);
    }
  }

  async function sweepEveryMinute(): Promise<void> {
    while (!isDone) {
      const startedAt = time.now();
      const ports = {
        ...shared,
        jobs: sweepStore.store,
        lastOutageAt: sweepStore.lastOutageAt,
        bodies,
        queue: tickets,
        shards: SHARDS,
        sleep: (ms: number) => time.sleep(ms),
      };
      await sweepRepeatedly(ports, watch, {
        until: startedAt + 50_000,
        onPass: (purpose, { failed, ticketsSent }) => {
          if (failed > 0) onError(`sweep ${purpose} failed`);
          if (ticketsSent > 0) errors.set('tickets by sweep', (errors.get('tickets by sweep') ?? 0) + ticketsSent);
        },
        onBacklog: (name, { waiting }) => {
          if (name !== 'jobs') return;
          const actual = countWaiting(table.entries);
          const counts = [...recent, actual];
          gauge.push({ shown: waiting, actual, fewest: Math.min(...counts), most: Math.max(...counts) });
        },
      });
      await time.sleep(startedAt + 60_000 - time.now());
    }
  }

  time.at(0, () => {
    const source = startEventSourceModel(time, {
      queue,
      batchSize: Math.min(placesPerInvocation, 10),
      timeoutMs: TIMEOUT_MS,
      maximumConcurrency: invocations,
      handler: async (records, { environment, remainingMs }) => {
        const controller = new AbortController();
        const deadlineAt = time.now() + remainingMs() - SHUTDOWN_MARGIN_MS;
        const cancel = time.at(deadlineAt, () => {
          controller.abort(new LambentError('deadline_exceeded', 'The function is about to time out'));
          time.settled();
        });
        try {
          const invocation = { requestId: '', signal: controller.signal, deadlineAt };
          const kept = await poolOf(environment).serve(records, invocation);
          return { batchItemFailures: kept.map((itemIdentifier) => ({ itemIdentifier })) };
        } finally {
          cancel();
        }
      },
    });
    void sweepEveryMinute();
    void countEverySecond();
    time.settled();
    watchEnd(
      time,
      untilMs,
      () => isAllDone(jobs.length, table.entries),
      () => {
        isDone = true;
        source.close();
      },
    );
  });
  for (const job of jobs) time.at(job.arrivesAtMs, () => submitJob(job));
  for (const { service, fromMs, untilMs: toMs } of outages) {
    const set = (available: boolean) => (service === 'sqs' ? queue : table).setAvailable(available);
    time.at(fromMs, () => set(false));
    time.at(toMs, () => set(true));
  }
  await time.run();

  const found = new Map(
    [...table.entries.values()].flatMap((entry) => ('job' in entry ? [[entry.job.id, entry.job]] : [])),
  );
  const runs = jobs.flatMap(({ id, tenant, arrivesAtMs }): JobRun[] => {
    const job = found.get(idOf(id));
    if (job?.status !== 'completed') return [];
    return [{ id, tenant, arrivesAtMs, startsAtMs: job.startedAt ?? 0, endsAtMs: job.completedAt ?? 0 }];
  });
  const claims = [...found.values()].reduce((sum, { epoch }) => sum + epoch, 0);
  return {
    runs: runs.sort((a, b) => a.endsAtMs - b.endsAtMs),
    tickets: queue.sentCount,
    attempts,
    claims,
    claimTries,
    gauge,
    errors,
    unfinished: jobs.length - runs.length,
  };
}

function idOf(id: string): string {
  return `resp_${id.replace(/[^A-Za-z0-9]/g, '')}`;
}

const CHECK_END_MS = 5_000;

function watchEnd(time: VirtualTime, untilMs: number, isOver: () => boolean, end: () => void): void {
  time.at(time.now() + CHECK_END_MS, () => {
    if (time.now() >= untilMs || isOver()) end();
    else watchEnd(time, untilMs, isOver, end);
  });
}

type Entries = ReturnType<typeof createIndexModel>['entries'];

function isAllDone(expected: number, entries: Entries): boolean {
  if (entries.size < expected) return false;
  for (const entry of entries.values()) if ('job' in entry && entry.job.completedAt === undefined) return false;
  return true;
}

function countWaiting(entries: Entries): number {
  let waiting = 0;
  for (const entry of entries.values()) if ('job' in entry && entry.job.status === 'queued') waiting += 1;
  return waiting;
}

/** Bodies of jobs. Results are in a bucket, which is always available, and the others in the table. */
function createBodiesModel(isTableAvailable: () => boolean): Bodies {
  const results = new Map<string, unknown>();
  const requireTable = () => {
    if (!isTableAvailable()) throw createOutageError();
  };
  const refOf = (epoch: number) => ({ place: 'table', epoch, sizeBytes: 1_000 }) as const;
  return {
    async write({ epoch }) {
      requireTable();
      return refOf(epoch);
    },
    async writeNew({ epoch }) {
      requireTable();
      return { ref: refOf(epoch), isNew: true };
    },
    prepare: async ({ id, kind, epoch }) => {
      return async (body) => {
        if (kind !== 'result') {
          requireTable();
          return refOf(epoch);
        }
        results.set(id, body);
        return { ...refOf(epoch), place: 's3' };
      };
    },
    async read() {
      requireTable();
      return anInput();
    },
    find: async ({ id }) => results.get(id),
    async remove() {
      requireTable();
    },
    async sweep(_tenant, id) {
      requireTable();
      results.delete(id);
    },
  };
}
