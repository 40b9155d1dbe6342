import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import { type Answer, explore, Histories, type Step } from './explorer.ts';
import { aWorld, isSettled, jobIn, type Mutation, perform, programOf, type World } from './job-world.ts';

/** How often each thing may happen on one way through. */
export interface Budget {
  /** Workers that a message is given to, one after the other or side by side. */
  readonly workers: number;
  /** Deliveries of a message that then comes again. */
  readonly duplicates: number;
  readonly sweeps: number;
  readonly cancels: number;
  readonly deletes: number;
  /** Steps of the clock. */
  readonly ticks: number;
  /** Answers of the model that are throttled, or cut off. */
  readonly troubles: number;
  /** Writes that happen and whose answer is lost. */
  readonly losses: number;
}

export interface Check {
  readonly budget: Partial<Budget>;
  /** Fields that the job has otherwise at the start. */
  readonly job?: Partial<Job>;
  readonly mutation?: Mutation;
  /** Milliseconds of a step of the clock: 23,000 call for a heartbeat, and two of them outlive a lease. */
  readonly tickMs?: number;
}

const NOTHING: Budget = {
  workers: 0,
  duplicates: 0,
  sweeps: 0,
  cancels: 0,
  deletes: 0,
  ticks: 0,
  troubles: 0,
  losses: 0,
};

interface State {
  readonly world: World;
  /** Living processes, by history. */
  readonly processes: readonly number[];
  readonly left: Budget;
  /** Times that the job has come to an end. */
  readonly ends: number;
}

/**
 * Walks all interleavings that a budget allows and checks at each step what must be true of a job. A crash is no step of
 * its own: a process that is never given another answer has crashed, wherever it stands, and every state is also
 * checked for what becomes of it if all processes do.
 * @returns what was walked
 * @throws when something isn't true, with the steps that led to it
 */
export async function checkJobs({ budget, job, mutation = (guard) => guard, tickMs = 23_000 }: Check) {
  const histories = new Histories(programOf);
  const recovered = new Map<string, Promise<void>>();

  async function steps({ world, processes, left, ends }: State): Promise<Step<State>[]> {
    const found: Step<State>[] = [];
    const next = (change: Partial<State>): State => ({ world, processes, left, ends, ...change });
    const spent = (kind: keyof Budget): Budget => ({ ...left, [kind]: left[kind] - 1 });
    const add = (label: string, state: () => State | Promise<State>): void => {
      found.push({ label, take: async () => state() });
    };
    const begin = (name: string, change: Partial<State>): State =>
      next({ processes: [...processes, histories.begin(name, world.now)].sort((a, b) => a - b), ...change });

    for (const [index, process] of processes.entries()) {
      const name = histories.nameOf(process);
      const replaced = (history: number | undefined) =>
        [...processes.toSpliced(index, 1), ...(history === undefined ? [] : [history])].sort((a, b) => a - b);
      const { pending } = await histories.standing(process);
      for (const { id, method, args, madeAt } of pending) {
        if (method === 'sleep' && world.now < madeAt + Number(args[0])) continue;
        const answered = async (answer: Partial<Answer>, kind?: keyof Budget): Promise<State> => {
          const performed = await perform(world, method, args, mutation);
          const value = 'value' in answer ? answer.value : performed.value;
          const told: Answer = { call: id, now: world.now, ...('error' in answer ? answer : { value }) };
          const history = await histories.after(process, told);
          const standing = await histories.standing(history);
          if (standing.failure !== undefined && told.error === undefined) throw new Error(standing.failure);
          return next({
            world: performed.world,
            processes: replaced(standing.pending.length === 0 ? undefined : history),
            ...(kind === undefined ? {} : { left: spent(kind) }),
            ends: ends + (isEnd(world, performed.world) ? 1 : 0),
          });
        };
        if (AT_ONCE.test(method)) return [{ label: `${name}: ${method}`, take: () => answered({}) }];
        add(`${name}: ${method}`, () => answered({}));
        if (method === 'generate' && left.troubles > 0) {
          add(`${name}: ${method}, throttled`, () => answered({ value: 'throttled' }, 'troubles'));
          add(`${name}: ${method}, cut`, () => answered({ value: 'cut' }, 'troubles'));
        }
        if (/^jobs\.(update|delete)$/.test(method) && left.losses > 0) {
          add(`${name}: ${method}, its answer lost`, () => answered({ error: 'lost' }, 'losses'));
        }
      }
    }

    if (world.messages > 0 && left.workers > 0) {
      const name = `worker ${left.workers}`;
      const taken = { ...world, messages: world.messages - 1 };
      add(`${name} receives`, () => begin(name, { world: taken, left: spent('workers') }));
      if (left.duplicates > 0) {
        const both = { ...left, workers: left.workers - 1, duplicates: left.duplicates - 1 };
        add(`${name} receives a duplicate`, () => begin(name, { left: both }));
      }
    }
    if (left.sweeps > 0) add('sweep begins', () => begin(`sweep ${left.sweeps}`, { left: spent('sweeps') }));
    if (left.ticks > 0) {
      add('time passes', () => next({ world: { ...world, now: world.now + tickMs }, left: spent('ticks') }));
    }
    return found;
  }

  const world = aWorld(job);
  // From the beginning: what they do first is to read, and when they never do, they never came.
  const callers = [
    ...Array.from({ length: budget.cancels ?? 0 }, (_, index) => `cancel ${index}`),
    ...Array.from({ length: budget.deletes ?? 0 }, (_, index) => `delete ${index}`),
  ].map((name) => histories.begin(name, world.now));
  const result = await explore<State>({
    start: { world, processes: callers, left: { ...NOTHING, ...budget }, ends: 0 },
    key: ({ world, processes, left, ends }) =>
      `${worldKey(world)}|${processes.join()}|${Object.values(left).join()}|${ends}`,
    steps,
    async check(state, before) {
      if (state.ends > 1) throw new Error('The job ended twice');
      if (before !== undefined) checkStep(before.world, state.world);
      checkOutput(state.world);
      const key = worldKey({ ...state.world, messages: 0 });
      const recovery = recovered.get(key) ?? recover(state.world, mutation);
      recovered.set(key, recovery);
      await recovery;
    },
  });
  return { ...result, histories: histories.size, recoveries: recovered.size };
}

/**
 * Calls that are answered as soon as they are made. They commute with what other processes do: a body belongs to one
 * attempt, a message sent later is a message that waits, and whoever wakes late is slow in the call that follows.
 */
const AT_ONCE = /^(sleep|send|tell|bodies\..*)$/;

const worldKeys = new WeakMap<World, string>();

function worldKey(world: World): string {
  const known = worldKeys.get(world) ?? writtenOut(world);
  worldKeys.set(world, known);
  return known;
}

function writtenOut({ now, entries, bodies, messages, told }: World): string {
  return JSON.stringify([now, [...entries], [...bodies.keys()].sort(), messages, told]);
}

function isEnd(before: World, after: World): boolean {
  const job = jobIn(after);
  return job !== undefined && isTerminal(job.status) && !isTerminal(jobIn(before)?.status ?? 'queued');
}

/** What one step may not do. */
function checkStep(before: World, after: World): void {
  const was = jobIn(before);
  const is = jobIn(after);
  if (was === undefined && is !== undefined) throw new Error('A deleted job came back');
  if (was === undefined || is === undefined) return;
  if (isTerminal(was.status)) {
    if (is.status !== was.status) throw new Error(`A job that was ${was.status} became ${is.status}`);
    if (is.epoch !== was.epoch) throw new Error(`A job that was ${was.status} was claimed`);
    if (is.output?.epoch !== was.output?.epoch) throw new Error('A committed answer was exchanged');
  }
  if (was.cancelRequested && isTerminal(is.status) && is.status !== 'cancelled') {
    throw new Error(`A cancelled job became ${is.status}`);
  }
  if (is.epoch > was.epoch && was.cancelRequested) throw new Error('A job was claimed after its cancel');
  if (is.epoch > was.epoch && (was.leaseExpiresAt ?? 0) > after.now) throw new Error('A held job was claimed');
  if (is.attempts > 3) throw new Error('A job was tried more than three times');
}

/** A committed answer is there to be read, and is that of the attempt that committed it. */
function checkOutput(world: World): void {
  const job = jobIn(world);
  if (job?.status !== 'completed') return;
  if (job.output === undefined || job.output.epoch !== job.epoch) throw new Error('A committed answer is not its own');
  if (!world.bodies.has(`output#${job.output.epoch}`)) throw new Error('A committed answer is gone');
}

/** Everybody crashes, every message is lost: sweeps and one worker must still bring the job to its end. */
async function recover(from: World, mutation: Mutation): Promise<void> {
  let world: World = { ...from, messages: 0 };
  for (let round = 0; round < RECOVERY_ROUNDS && !isSettled(world); round += 1) {
    world = { ...world, now: world.now + LONG_MS };
    world = await alone(`sweep r${round}`, world, mutation);
    for (; world.messages > 0; world = { ...world, messages: world.messages - 1 }) {
      world = await alone(`worker r${round}`, world, mutation);
    }
  }
  if (!isSettled(world)) throw new Error(`The job was lost: it stays ${jobIn(world)?.status ?? 'deleted'}`);
  if ((jobIn(world)?.replyTo ?? '') !== '' && !world.told) throw new Error('Nobody was told');
}

/** Above every pause that a job may make. */
const LONG_MS = 16 * 60_000;
const RECOVERY_ROUNDS = 6;

/** Runs one process from its beginning to its end. */
async function alone(name: string, from: World, mutation: Mutation): Promise<World> {
  const histories = new Histories(programOf);
  let world = from;
  let history = histories.begin(name, world.now);
  for (;;) {
    const { pending } = await histories.standing(history);
    const call = pending.find(({ method }) => method !== 'sleep');
    if (call === undefined) return world;
    const performed = await perform(world, call.method, call.args, mutation);
    history = await histories.after(history, { call: call.id, value: performed.value, now: world.now });
    world = performed.world;
  }
}
