import { isAwsError } from '../../../shared/aws/outage.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { cancelJob, deleteJob } from '../../../shared/jobs/control.ts';
import { queueOf } from '../../../shared/jobs/index-entry.ts';
import type { Bodies, JobStore, TicketQueue } from '../../../shared/jobs/ports.ts';
import { type Admitted, sendTickets, submit } from '../../../shared/jobs/submit.ts';
import { replaceTickets, type SweepPorts } from '../../../shared/jobs/sweep.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { runJob, ticketAction } from '../../../shared/jobs/worker.ts';
import type { Outcome, WorkerCall, WorkerPorts } from '../../../shared/jobs/worker-ports.ts';
import { answerWith } from '../api/answer-with.ts';
import { makeAnswer } from '../inference/requests.ts';
import type { Program, Reach } from './explorer.ts';
import { type IndexedEntry, JOB_ID, type Mutation, TENANT } from './job-world.ts';
import { anInput, HOUR_MS, START } from './jobs.ts';
import { sweepOnce } from './sweep-once.ts';

/** How a program differs from the plain one. */
export interface ProgramOptions {
  /** Fields of the submitted job. */
  readonly job?: Partial<Admitted> | undefined;
  /** True if the job's model is on GPU workers: `generate` forwards its jobs to `dispatch`. */
  readonly onGpus?: boolean | undefined;
  /** True if a fallback of the job's model is on GPU workers. */
  readonly fallsBack?: boolean | undefined;
  /** Workers, by number, that may not hide tickets. */
  readonly replacing?: readonly number[] | undefined;
  /** Workers, by number, that put the job off because other work waits. */
  readonly yielding?: readonly number[] | undefined;
  /** Workers, by number, that have no whole invocation left. */
  readonly late?: readonly number[] | undefined;
  /** True if invocations may end while jobs run. */
  readonly shutdowns?: boolean | undefined;
  readonly mutation?: Mutation | undefined;
}

/** A ticket whose job could not be looked at is delivered again after this time, in milliseconds. */
const RETRY_MS = 5_000;

/**
 * Returns a program by the first word of a process's name: the functions' own code with the world as its ports. A worker's
 * name is `generate <number> with <ticket>`; `dispatch` for the lane of GPU workers.
 */
export function createPrograms(options: ProgramOptions): (name: string) => Program {
  return (name) => async (reach) => {
    try {
      await run(name, reach, options);
    } catch (thrown) {
      // The caller sees the error, and repeats its request or doesn't.
      if (!isAwsError(thrown)) throw thrown;
    }
  };
}

function run(name: string, reach: Reach, options: ProgramOptions): Promise<unknown> {
  const [kind, number, , ticket] = name.split(' ');
  const ports = sweepPorts(reach, options);
  switch (kind) {
    case 'submit':
      return submitJob(reach, options);
    case 'generate':
    case 'dispatch':
      return work(kind, Number(number), Number(ticket), reach, options);
    case 'sweep':
      return sweepOnce(ports);
    case 'replace':
      return replaceTickets(options.onGpus ? 'gpu' : 'jobs', 1, ports, Number.POSITIVE_INFINITY);
    case 'cancel':
      return cancelJob(ports, TENANT, JOB_ID);
    case 'delete':
      return deleteJob(ports, TENANT, JOB_ID);
    default:
      throw new Error(`No program for ${name}`);
  }
}

/** As a background response is submitted: the job, then its ticket. */
async function submitJob(reach: Reach, options: ProgramOptions): Promise<void> {
  const { job, mutation } = options;
  const ports = { ...sweepPorts(reach, options), ...(mutation?.program === JOB_FIRST ? createsJobFirst(reach) : {}) };
  const submitted = await submit({ ...ADMITTED, ...job }, ports);
  if (submitted.kind === 'created') await sendTickets([submitted.job], ports);
}

const ADMITTED: Admitted = {
  tenant: TENANT,
  id: JOB_ID,
  endpoint: '/v1/responses',
  tier: 'default',
  deadline: START + 24 * HOUR_MS,
  background: true,
  streamed: false,
  stored: true,
  expiresAt: (START + 48 * HOUR_MS) / 1000,
  input: anInput(),
};

const JOB_FIRST = 'creates the job before its input';

/** The ports of a submission that writes the input after the job. */
function createsJobFirst(reach: Reach): { readonly bodies: Bodies; readonly jobs: JobStore } {
  const [bodies, jobs] = [bodiesOf(reach), jobsOf(reach)];
  let delayed: Parameters<Bodies['writeNew']> | undefined;
  return {
    bodies: {
      ...bodies,
      async writeNew(...args) {
        delayed = args;
        return { ref: { place: 'table', epoch: 0, sizeBytes: 1 }, isNew: true };
      },
    },
    jobs: {
      ...jobs,
      async create(...args) {
        const created = await jobs.create(...args);
        if (delayed !== undefined) await bodies.writeNew(...delayed);
        return created;
      },
    },
  };
}

/** As the queue's pipeline works on a ticket: the job, then the ticket. */
async function work(
  kind: 'generate' | 'dispatch',
  number: number,
  ticket: number,
  reach: Reach,
  options: ProgramOptions,
): Promise<void> {
  const shutdown = new AbortController();
  const ended = new AbortController();
  if (options.shutdowns) {
    reach.call('shutdown', [], ended.signal).then(
      () => shutdown.abort(),
      () => {},
    );
  }
  const call: WorkerCall = {
    shutdown: shutdown.signal,
    deadlineAt: START + 24 * HOUR_MS,
    isWhole: () => options.late?.includes(number) !== true,
    runAlone: (runJobAlone) => runJobAlone(),
    mayHide: () => options.replacing?.includes(number) !== true,
  };
  const action = await runJob({ tenant: TENANT, id: JOB_ID }, workerPorts(kind, number, reach, options), call)
    .then((outcome) => mutateAction(outcome, reach.now(), options.mutation))
    .catch((thrown: unknown) => {
      if (!isAwsError(thrown)) throw thrown;
      return { kind: 'hide', ms: RETRY_MS } as const;
    });
  ended.abort('ended');
  await (action.kind === 'delete'
    ? reach.call('tickets.delete', [ticket])
    : reach.call('tickets.hide', [ticket, action.ms]));
}

function mutateAction(outcome: Outcome, now: number, mutation: Mutation | undefined) {
  const isDeleted =
    (mutation?.program === 'deletes deferred tickets' && outcome.kind === 'deferred') ||
    (mutation?.program === 'deletes the ticket of a release' && outcome.kind === 'released');
  return isDeleted ? ({ kind: 'delete' } as const) : ticketAction(outcome, now);
}

function workerPorts(
  kind: 'generate' | 'dispatch',
  number: number,
  reach: Reach,
  options: ProgramOptions,
): WorkerPorts {
  const { onGpus, fallsBack, yielding } = options;
  let ids = 0;
  return {
    ...sweepPorts(reach, options),
    events: { append: async ({ epoch }) => void (await reach.call('append', [epoch])), read: async () => [] },
    answerJob: (job, ...rest) =>
      answerWith(
        async (_request, { signal }) => ({
          events: answer(await reach.call('generate', [], signal), () => reach.call('begins', [job.epoch])),
        }),
        reach.now,
      )(job, ...rest),
    ids: () => `${reach.name}/${ids++}`,
    random: () => 0.5,
    sleep: async (ms, signal) => void (await reach.call('sleep', [ms], signal)),
    ...(kind === 'dispatch'
      ? { lane: 'gpu' as const, movesOnAfter: new Set(['upstream_cut'] as const) }
      : {
          ...(onGpus ? { otherLane: () => 'gpu' as const } : {}),
          ...(fallsBack ? { fallbackLane: (_model, thrown) => (isRetryable(thrown) ? 'gpu' : undefined) } : {}),
        }),
    ...(yielding?.includes(number) ? { yielding: { recordWait() {}, shouldDefer: () => true } } : {}),
  };
}

function isRetryable(thrown: unknown): boolean {
  return thrown instanceof UpstreamError && thrown.code === 'rate_limit_exceeded';
}

/** How a model's answer fails. Those that begin have a first token before. */
export const TROUBLES = ['throttled', 'cut', 'begins, throttled', 'begins, cut'] as const;

/** Yields the model's answer: whole, or with trouble. */
async function* answer(outcome: unknown, begins: () => Promise<unknown>): AsyncGenerator<GenerationEvent> {
  const isBegun = outcome !== 'throttled' && outcome !== 'cut';
  if (isBegun) await begins();
  const [first, ...rest] = makeAnswer('Hi');
  if (isBegun && first !== undefined) yield first;
  if (String(outcome).endsWith('throttled')) {
    throw new UpstreamError('rate_limit_exceeded', 'throttled', { recovery: 'retry' });
  }
  if (String(outcome).endsWith('cut')) throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
  yield* rest;
}

function sweepPorts(reach: Reach, { mutation }: ProgramOptions): SweepPorts {
  return {
    jobs: jobsOf(reach),
    bodies: bodiesOf(reach),
    queue: queueFor(reach),
    steps: { reply: async () => void (await reach.call('reply', [])) },
    onStepFailed: async () => {},
    timings: { ...JOB_TIMINGS, ...mutation?.timings },
    shards: 1,
    now: reach.now,
    onError: () => {},
  };
}

function queueFor(reach: Reach): TicketQueue {
  return {
    async send(tickets) {
      await reach.call('tickets.send', [tickets.map(queueOf)]);
      return tickets.map(() => true);
    },
  };
}

/** The table's answers are what its own implementation returns in the world. */
function jobsOf(reach: Reach): JobStore {
  const call = <T>(method: keyof JobStore, args: readonly unknown[]) =>
    reach.call(`jobs.${method}`, args) as Promise<T>;
  // A process sees all partitions of the index as they are at one moment. Two processes see them at two.
  let index: Promise<unknown> | undefined;
  return {
    create: (...args) => call('create', args),
    read: (...args) => call('read', args),
    readMany: (keys) => (keys.length === 0 ? Promise.resolve([]) : call('readMany', [keys])),
    update: (...args) => call('update', args),
    delete: (...args) => call('delete', args),
    wasDeleted: (...args) => call('wasDeleted', args),
    settle: (...args) => call('settle', args),
    async list(partition, until) {
      index ??= reach.call('index', []);
      const entries = (await index) as readonly IndexedEntry[];
      return { entries: entries.filter((entry) => entry.partition === partition && entry.dueAt <= until) };
    },
    count: (...args) => call('count', args),
    postpone: (...args) => call('postpone', args),
  };
}

function bodiesOf(reach: Reach): Bodies {
  const call = <T>(method: keyof Bodies, args: readonly unknown[]) =>
    reach.call(`bodies.${method}`, args) as Promise<T>;
  return {
    write: (...args) => call('write', args),
    writeNew: (...args) => call('writeNew', args),
    prepare: async (name) => (body) => call('write', [name, body]),
    read: (...args) => call('read', args),
    find: (...args) => call('find', args),
    remove: (...args) => call('remove', args),
    sweep: (...args) => call('sweep', args),
  };
}
