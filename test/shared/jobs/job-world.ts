import { createHash } from 'node:crypto';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { cancelJob, deleteJob } from '../../../shared/jobs/control.ts';
import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore, type Entry } from '../../../shared/jobs/memory-store.ts';
import type { Bodies, BodyName, Guard, JobStore } from '../../../shared/jobs/ports.ts';
import { sweepDue } from '../../../shared/jobs/sweep.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { runJob, type WorkerPorts } from '../../../shared/jobs/worker.ts';
import { answerWith } from '../api/answer-with.ts';
import { makeAnswer } from '../inference/requests.ts';
import type { Program, Reach } from './explorer.ts';
import { aJob, anInput, START } from './jobs.ts';

/** Everything that outlives a process: the table, the bodies, the messages, the clock. */
export interface World {
  readonly now: number;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly bodies: ReadonlyMap<string, string>;
  /** Messages on the queue; which one is delivered makes no difference, nor how many there are beyond two. */
  readonly messages: number;
  /** Whether somebody was told of the job's end. */
  readonly told: boolean;
}

/** Changes the guards of the table, to show that the check would find it. */
export type Mutation = (guard: Guard) => Guard;

const JOB_KEY = 'acme#resp_1';

/** A world in which one job waits, and its message too. */
export function aWorld(job: Partial<Job> = {}): World {
  return {
    now: START,
    entries: new Map([[JOB_KEY, { job: aJob(job) }]]),
    bodies: new Map([['input#0', JSON.stringify(anInput())]]),
    messages: 1,
    told: false,
  };
}

/** The job as it lies in the table; undefined when it has been deleted. */
export function jobIn({ entries }: World): Job | undefined {
  return jobAt(entries);
}

function jobAt(entries: World['entries']): Job | undefined {
  const entry = entries.get(JOB_KEY);
  return entry !== undefined && 'job' in entry ? entry.job : undefined;
}

/** Whether nobody need look at the job any more. */
export function isSettled({ entries }: World): boolean {
  const entry = entries.get(JOB_KEY);
  if (entry === undefined) return true;
  return 'job' in entry ? isTerminal(entry.job.status) && entry.job.dueAt === undefined : entry.dueAt === undefined;
}

/** The programs, by the first word of a process's name: the code that runs in the functions, with the world as ports. */
export function programOf(name: string): Program {
  switch (name.split(' ')[0]) {
    case 'worker':
      return (reach) => runJob({ tenant: 'acme', id: 'resp_1' }, workerPorts(reach), workerCall(reach));
    case 'sweep':
      return (reach) => sweepDue(sweepPorts(reach), { until: Number.POSITIVE_INFINITY, perPartition: 10 });
    case 'cancel':
      return (reach) => cancelJob({ jobs: jobsOf(reach), timings: JOB_TIMINGS, now: reach.now }, 'acme', 'resp_1');
    case 'delete':
      return (reach) => deleteJob({ jobs: jobsOf(reach), bodies: bodiesOf(reach) }, 'acme', 'resp_1');
    default:
      throw new Error(`No program for ${name}`);
  }
}

function workerCall(reach: Reach) {
  return {
    shutdown: new AbortController().signal,
    deadlineAt: reach.now() + 900_000,
    extendVisibility: async () => {},
  };
}

function sweepPorts(reach: Reach) {
  return {
    jobs: jobsOf(reach),
    bodies: bodiesOf(reach),
    queue: { send: async () => void (await reach.call('send', [])) },
    listeners: { reply: async () => void (await reach.call('tell', [])) },
    timings: JOB_TIMINGS,
    now: reach.now,
    onError: () => {},
  };
}

/** What sets workers apart, as it sets generate and dispatch apart. Those that a check begins later come first in number. */
const WAYS: Readonly<Record<string, Pick<WorkerPorts, 'otherLane' | 'movesOnAfter'>>> = {
  'worker 2': { movesOnAfter: new Set(['upstream_cut']) },
  'worker 3': { otherLane: () => 'gpu' },
};

function workerPorts(reach: Reach) {
  let ids = 0;
  return {
    ...sweepPorts(reach),
    events: { append: async () => {}, read: async () => [] },
    answerJob: answerWith(
      async (_request, { signal }) => ({ events: answerNamed(await reach.call('generate', [], signal)) }),
      reach.now,
    ),
    ids: () => `${reach.name}/${ids++}`,
    random: () => 0.5,
    sleep: async (ms: number, signal: AbortSignal) => void (await reach.call('sleep', [ms], signal)),
    ...WAYS[reach.name],
  };
}

async function* answerNamed(outcome: unknown): AsyncGenerator<GenerationEvent> {
  if (outcome === 'throttled') throw new UpstreamError('rate_limit_exceeded', 'throttled', { recovery: 'retry' });
  if (outcome === 'cut') throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
  yield* makeAnswer('Hi');
}

/** What the world answers to a call is what its own implementation answered there: `perform` below. */
function jobsOf(reach: Reach): JobStore {
  const call = <T>(method: keyof JobStore, args: readonly unknown[]) =>
    reach.call(`jobs.${method}`, args) as Promise<T>;
  return {
    create: (job) => call('create', [job]),
    read: (...args) => call('read', args),
    update: (...args) => call('update', args),
    delete: (...args) => call('delete', args),
    wasDeleted: (...args) => call('wasDeleted', args),
    settle: (...args) => call('settle', args),
    // The job lies in one partition: the others are empty, whenever they are read.
    due: async (partition, ...args) => (partition === PARTITION ? call('due', [partition, ...args]) : []),
  };
}

const PARTITION = (createHash('sha256').update(JOB_KEY).digest()[0] ?? 0) % 16;

function bodiesOf(reach: Reach): Bodies {
  const call = <T>(method: keyof Bodies, args: readonly unknown[]) =>
    reach.call(`bodies.${method}`, args) as Promise<T>;
  return {
    write: (...args) => call('write', args),
    writeNew: (...args) => call('writeNew', args),
    read: (...args) => call('read', args),
    find: (...args) => call('find', args),
    remove: (...args) => call('remove', args),
    sweep: (...args) => call('sweep', args),
  };
}

/** Answers a call, as the world does. */
export async function perform(
  world: World,
  method: string,
  args: readonly unknown[],
  mutation: Mutation,
): Promise<{ readonly world: World; readonly value?: unknown }> {
  if (method.startsWith('jobs.')) return performOnTable(world, method.slice(5), args, mutation);
  if (method.startsWith('bodies.')) return performOnBodies(world, method.slice(7), args);
  switch (method) {
    case 'send':
      return { world: { ...world, messages: Math.min(world.messages + 1, 2) } };
    case 'tell':
      return { world: { ...world, told: true } };
    case 'generate':
    case 'sleep':
      return { world };
    default:
      throw new Error(`No such call: ${method}`);
  }
}

async function performOnTable(world: World, method: string, args: readonly unknown[], mutation: Mutation) {
  const entries = new Map(world.entries);
  const store = createMemoryStore(() => world.now, entries);
  const operation: unknown = Reflect.get(store, method);
  if (typeof operation !== 'function') throw new Error(`No such call: ${method}`);
  const [tenant, id, guard, change] = args;
  const mutated = method === 'update' ? [tenant, id, mutation(guard as Guard), change] : args;
  const value: unknown = await Reflect.apply(operation, store, mutated);
  for (const [key, entry] of entries) if ('job' in entry) entries.set(key, { job: withoutTimes(entry.job) });
  return { world: { ...world, entries }, value: method === 'update' && value !== undefined ? jobAt(entries) : value };
}

/** Nobody decides anything by these, and states that differ in nothing else are one. */
function withoutTimes({ startedAt: _startedAt, completedAt: _completedAt, ...job }: Job): Job {
  return job;
}

/** Bodies by kind and attempt, without their seals, which have tests of their own. */
function performOnBodies(world: World, method: string, args: readonly unknown[]) {
  const bodies = new Map(world.bodies);
  const changed = { ...world, bodies };
  if (method === 'sweep') {
    const keepEpoch = args[2];
    for (const key of bodies.keys()) {
      if (keepEpoch === undefined || (key.startsWith('output') && key !== `output#${keepEpoch}`)) bodies.delete(key);
    }
    return { world: changed };
  }
  const { kind, epoch } = args[0] as BodyName;
  const key = `${kind}#${epoch}`;
  if (method === 'read') return { world, value: JSON.parse(bodies.get(key) ?? 'null') };
  bodies.set(key, JSON.stringify(args[1]));
  return { world: changed, value: { place: 'table', epoch, sizeBytes: 1 } };
}
