/**
 * Checks the job engine by walking all interleavings of its own code on a store in memory, within these bounds: one job, one
 * index shard, at most two tickets per queue, and the processes, events and steps of the clock of each scenario's budget. The
 * check takes for granted:
 * - DynamoDB is linearizable for one item. A contract suite holds the two stores to the same answers.
 * - A sweep reads all partitions of the index at one moment, exact or one write late. Two sweeps read it at two moments.
 * - Visibility is not extended, so a slow worker's ticket is delivered again after 60 s.
 * - Calls in `AT_ONCE` commute with the steps of other processes.
 * - One clock. If clocks disagree, leases end early or late: wasted work, but never a second commit.
 */

import { purposeOf } from '../../../shared/jobs/index-entry.ts';
import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import { type Answer, explore, Histories, type Program, type Step } from './explorer.ts';
import { checkState, checkStep } from './job-invariants.ts';
import { createPrograms, type ProgramOptions, TROUBLES } from './job-programs.ts';
import {
  advance,
  changeJob,
  EMPTY_WORLD,
  isDeleted,
  isSettled,
  jobIn,
  laggingIndex,
  type Mutation,
  perform,
  placeIn,
  purge,
  receiveTicket,
  type World,
} from './job-world.ts';

/** How often each thing may happen on one way through. */
export interface Budget {
  /** Tickets that are received. */
  readonly workers: number;
  /** Receives of a ticket that stays visible. */
  readonly duplicates: number;
  readonly sweeps: number;
  /** Tickets that the sweep sends because SQS seems to have lost one. */
  readonly replacements: number;
  readonly purges: number;
  readonly submissions: number;
  readonly cancels: number;
  readonly deletes: number;
  /** Answers of the model that fail, before or after the first token. */
  readonly troubles: number;
  /** Writes that are made and whose response is lost. */
  readonly losses: number;
  /** Requests to the table that are refused. */
  readonly refusals: number;
  /** Requests to the queue, the bodies, the event log or a reply queue that are refused. */
  readonly faults: number;
  /** Reads of the index that don't show the last write. */
  readonly lags: number;
  readonly shutdowns: number;
}

/** A situation to check. */
export interface Scenario extends Omit<ProgramOptions, 'shutdowns'> {
  readonly budget: Partial<Budget>;
  /** Steps of the clock, in milliseconds, in this order. */
  readonly ticks?: readonly number[];
  /** Fields that the job has otherwise after its submission. With submissions in the budget there is no job yet. */
  readonly start?: Partial<Job>;
}

const NOTHING: Budget = {
  workers: 0,
  duplicates: 0,
  sweeps: 0,
  replacements: 0,
  purges: 0,
  submissions: 0,
  cancels: 0,
  deletes: 0,
  troubles: 0,
  losses: 0,
  refusals: 0,
  faults: 0,
  lags: 0,
  shutdowns: 0,
};

interface State {
  readonly world: World;
  /** Living processes, by history. */
  readonly processes: readonly number[];
  readonly left: Budget;
  /** Steps of the clock that were taken. */
  readonly ticked: number;
}

/** A pending call of a process. */
type Pending = Awaited<ReturnType<Histories['standing']>>['pending'][number];

/** Further answers that a call may get: its method, what it draws on, and the answer. `isMade`: the call takes effect. */
interface Alternative {
  readonly label: string;
  readonly kind: keyof Budget;
  readonly answer: Partial<Answer>;
  readonly isMade: boolean;
}

const WRITES = /^(jobs\.(create|update|delete|settle|postpone)|tickets\.send|bodies\.(write|writeNew|remove|sweep))$/;
const OUTSIDE_TABLE = /^(bodies\..*|tickets\..*|append|reply)$/;

function alternativesTo({ method }: Pending, world: World, left: Budget): readonly Alternative[] {
  const found: Alternative[] = [];
  const add = (label: string, kind: keyof Budget, answer: Partial<Answer>, isMade = true): void => {
    if (left[kind] > 0) found.push({ label, kind, answer, isMade });
  };
  if (method === 'generate') for (const trouble of TROUBLES) add(trouble, 'troubles', { value: trouble });
  if (WRITES.test(method)) add('response lost', 'losses', { error: 'response lost' });
  if (method.startsWith('jobs.')) add('refused', 'refusals', { error: 'refused' }, false);
  if (OUTSIDE_TABLE.test(method)) add('refused', 'faults', { error: 'refused' }, false);
  const lagging = method === 'index' ? laggingIndex(world) : undefined;
  if (lagging !== undefined) add('one write late', 'lags', { value: lagging });
  return found;
}

/**
 * Calls that are answered as soon as they are made. They commute with the steps of other processes: a body belongs to one
 * attempt, a ticket that is sent, hidden or deleted later is received later, a process that wakes late is slow in the call
 * that follows, and a sweep that reads the index late begins late.
 */
const AT_ONCE = /^(sleep|index|tickets\..*|reply|append|begins|bodies\..*)$/;

function isAnsweredAtOnce({ method }: Pending, name: string, hasSubmissions: boolean): boolean {
  // The inputs of two submissions and of a deletion are the same body.
  const isShared = hasSubmissions && method.startsWith('bodies.') && /^(submit|delete)/.test(name);
  return AT_ONCE.test(method) && !isShared;
}

/**
 * Walks all interleavings that a budget allows and checks at each step what must be true of a job. A crash is not a step: a
 * process that is never answered again has crashed, wherever it is, and each state is also checked for what becomes of the job
 * if all processes have.
 * @returns how much was walked
 * @throws if something isn't true, with the steps that led to it
 */
export async function checkJobs({ budget, ticks = [], start, ...options }: Scenario) {
  const { mutation = {} } = options;
  const shutdowns = (budget.shutdowns ?? 0) > 0;
  const hasSubmissions = (budget.submissions ?? 0) > 0;
  const programs = createPrograms({ ...options, shutdowns });
  const histories = new Histories(programs);
  const recovery = new Recovery(createPrograms(options), mutation);
  const isHeld = async (processes: readonly number[], id: number) =>
    processes.some((process) => histories.nameOf(process).endsWith(` with ${id}`));

  async function steps(state: State): Promise<readonly Step<State>[]> {
    const { world, processes, left, ticked } = state;
    const found: Step<State>[] = [];
    const spent = (...kinds: (keyof Budget)[]): Budget => {
      const rest: Record<keyof Budget, number> = { ...left };
      for (const kind of kinds) rest[kind] -= 1;
      return rest;
    };
    const add = (label: string, change: () => Partial<State>): void => {
      found.push({ label, take: async () => ({ ...state, ...change() }) });
    };
    const withNew = (name: string): readonly number[] => sorted([...processes, histories.begin(name, world.now)]);

    for (const [index, process] of processes.entries()) {
      const name = histories.nameOf(process);
      const others = processes.toSpliced(index, 1);
      const { pending } = await histories.standing(process);
      const ready = pending.filter(
        ({ method, args, madeAt }) => method !== 'sleep' || world.now >= madeAt + Number(args[0]),
      );
      const stepsOf = (call: Pending): readonly Step<State>[] => {
        const { id, method, args, madeAt } = call;
        const take = async ({ kind, answer, isMade }: Partial<Alternative>): Promise<State> => {
          const performed = isMade === false ? { world } : await perform(world, call, mutation);
          const { value } = { value: performed.value, ...answer };
          const given: Answer = { call: id, now: world.now, ...(answer?.error === undefined ? { value } : answer) };
          const history = await histories.after(process, given);
          const standing = await histories.standing(history);
          if (standing.failure !== undefined) throw new Error(`${name} failed: ${standing.failure}`);
          let after = performed.world;
          if (method === 'tickets.delete' && (await isHeld(others, Number(args[0])))) {
            after = { ...after, mayLackTicket: true };
          }
          const rest = kind === undefined ? left : spent(kind);
          if (rest.lags === 0) after = { ...after, formerPlace: undefined };
          checkStep({ before: world, after, by: name, method, args, madeAt });
          return {
            ...state,
            world: after,
            processes: standing.pending.length === 0 ? others : sorted([...others, history]),
            left: rest,
          };
        };
        return [
          { label: `${name}: ${method}`, take: () => take({}) },
          ...alternativesTo(call, world, left).map((alternative) => ({
            label: `${name}: ${method}, ${alternative.label}`,
            take: () => take(alternative),
          })),
        ];
      };
      const first = ready.find((call) => isAnsweredAtOnce(call, name, hasSubmissions));
      if (first !== undefined) return stepsOf(first);
      for (const call of ready) {
        if (call.method !== 'shutdown') found.push(...stepsOf(call));
        else if (left.shutdowns > 0) {
          found.push({
            label: `${name}: shutdown`,
            take: async () => {
              const history = await histories.after(process, { call: call.id, now: world.now });
              return { ...state, processes: sorted([...others, history]), left: spent('shutdowns') };
            },
          });
        }
      }
    }

    const offered = new Set<string>();
    for (const ticket of world.tickets) {
      if (ticket.visibleAt > 0 || left.workers === 0) continue;
      const key = `${ticket.queue}, ${await isHeld(processes, ticket.id)}`;
      if (offered.has(key)) continue;
      offered.add(key);
      const name = `${ticket.queue === 'gpu' ? 'dispatch' : 'generate'} ${left.workers} with ${ticket.id}`;
      add(`${name} receives`, () => ({
        world: receiveTicket(world, ticket),
        processes: withNew(name),
        left: spent('workers'),
      }));
      if (left.duplicates === 0) continue;
      add(`${name} receives a duplicate`, () => ({ processes: withNew(name), left: spent('workers', 'duplicates') }));
    }
    const names = { sweeps: 'sweep', replacements: 'replace' } as const;
    for (const kind of ['sweeps', 'replacements'] as const) {
      if (left[kind] === 0) continue;
      const name = `${names[kind]} ${left[kind]}`;
      add(`${name} begins`, () => ({ processes: withNew(name), left: spent(kind) }));
    }
    if (left.purges > 0 && world.tickets.length > 0) {
      add('the queues are purged', () => ({ world: purge(world), left: spent('purges') }));
    }
    const tick = ticks[ticked];
    if (tick !== undefined) add(`${tick} ms pass`, () => ({ world: advance(world, tick), ticked: ticked + 1 }));
    return found;
  }

  const submitted = hasSubmissions ? EMPTY_WORLD : await recovery.runToEnd('submit 0', EMPTY_WORLD);
  const world = start === undefined ? submitted : changeJob(submitted, start);
  // Callers are there from the beginning: one that is never answered never came.
  const callers = (['submissions', 'cancels', 'deletes'] as const).flatMap((kind) =>
    Array.from({ length: budget[kind] ?? 0 }, (_, index) =>
      histories.begin(`${CALLERS[kind]} ${index + 1}`, world.now),
    ),
  );
  const result = await explore<State>({
    start: { world, processes: sorted(callers), left: { ...NOTHING, ...budget }, ticked: 0 },
    key: (state) =>
      `${writeWorld(state.world)}|${state.processes.join()}|${Object.values(state.left).join()}|${state.ticked}`,
    steps,
    async check({ world: reached }) {
      checkState(reached);
      await recovery.check(reached);
    },
  });
  return { ...result, histories: histories.size, recoveries: recovery.size };
}

/**
 * Lets each worker of a job crash after its claim, until the job has ended.
 * @param rounds how often the sweep and then a worker run at most
 * @returns the job, ended or not
 */
export async function crashEachWorker(
  { start, ...options }: ProgramOptions & { start?: Partial<Job> },
  rounds: number,
) {
  const recovery = new Recovery(createPrograms(options), options.mutation ?? {});
  let world = await recovery.runToEnd('submit 0', EMPTY_WORLD);
  if (start !== undefined) world = changeJob(world, start);
  for (let round = 0; round < rounds; round += 1) {
    world = await recovery.runToEnd(`sweep ${round}`, advance(world, ROUND_MS));
    for (const ticket of world.tickets.filter(({ visibleAt }) => visibleAt === 0)) {
      const isClaim = (step: { readonly before: World; readonly after: World }) =>
        jobIn(step.after)?.epoch !== jobIn(step.before)?.epoch;
      world = await recovery.runToEnd(`generate ${round} with ${ticket.id}`, receiveTicket(world, ticket), isClaim);
    }
  }
  return jobIn(world);
}

const CALLERS = { submissions: 'submit', cancels: 'cancel', deletes: 'delete' } as const;

function sorted(histories: readonly number[]): readonly number[] {
  return [...histories].sort((a, b) => a - b);
}

const written = new WeakMap<World, string>();

function writeWorld(world: World): string {
  const { now, entries, formerPlace, bodies, tickets, replied, begun, mayLackTicket } = world;
  const text =
    written.get(world) ??
    JSON.stringify([now, [...entries], formerPlace, [...bodies.keys()].sort(), tickets, replied, begun, mayLackTicket]);
  written.set(world, text);
  return text;
}

/** Above each pause that a job may make, and each time for which a ticket may be hidden. */
const ROUND_MS = 16 * 60_000;
const ROUNDS = 8;

/** Finds out what becomes of a job if all processes have crashed. */
class Recovery {
  readonly #programs: (name: string) => Program;
  readonly #mutation: Mutation;
  readonly #known = new Map<string, Promise<void>>();

  constructor(programs: (name: string) => Program, mutation: Mutation) {
    this.#programs = programs;
    this.#mutation = mutation;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Checks that sweeps and the tickets that are left bring the job to its end in a bounded number of rounds. */
  check(world: World): Promise<void> {
    const tickets = world.tickets.map((ticket) => ({ ...ticket, visibleAt: 0 }));
    const from = { ...world, tickets, formerPlace: undefined, begun: [] };
    const key = JSON.stringify([writeWorld(from)]);
    const known = this.#known.get(key) ?? this.#recover(from);
    this.#known.set(key, known);
    return known;
  }

  async #recover(from: World): Promise<void> {
    let world = from;
    for (let round = 0; round < ROUNDS && !isSettled(world); round += 1) {
      world = await this.runToEnd(`sweep r${round}`, advance(world, ROUND_MS));
      world = await this.#replaceLostTicket(world, round);
      for (const ticket of world.tickets.filter(({ visibleAt }) => visibleAt === 0)) {
        const kind = ticket.queue === 'gpu' ? 'dispatch' : 'generate';
        world = await this.runToEnd(`${kind} r${round} with ${ticket.id}`, receiveTicket(world, ticket));
      }
    }
    const job = jobIn(world);
    if (!isSettled(world)) throw new Error(`The job was lost: it stays ${job?.status ?? 'deleted'}`);
    if (isDeleted(world) && placeIn(from).duePartition !== undefined && world.bodies.size > 0) {
      throw new Error('Bodies of a deleted job were left');
    }
    if (job?.replyTo !== undefined && !world.replied) throw new Error('The reply was lost');
  }

  /** The sweep compares the jobs that have tickets with the messages of the queue. */
  async #replaceLostTicket(world: World, round: number): Promise<World> {
    const job = jobIn(world);
    const isMissing = job !== undefined && !isTerminal(job.status) && purposeOf(job) === 'wait';
    return isMissing && world.mayLackTicket && world.tickets.length === 0
      ? this.runToEnd(`replace r${round}`, world)
      : world;
  }

  /**
   * Runs one process from its beginning to its end, or until it crashes.
   * @param crashesAfter the call that is the last to be answered
   */
  async runToEnd(
    name: string,
    from: World,
    crashesAfter: (step: { readonly before: World; readonly after: World }) => boolean = () => false,
  ): Promise<World> {
    let world = from;
    let isCrashed = false;
    const crash = Promise.withResolvers<void>();
    const { now } = world;
    const answer = async (method: string, args: readonly unknown[]): Promise<unknown> => {
      if (isCrashed) return NEVER;
      const before = world;
      const performed = await perform(before, { method, args }, this.#mutation);
      world = performed.world;
      checkStep({ before, after: world, by: name, method, args, madeAt: now });
      if (crashesAfter({ before, after: world })) {
        isCrashed = true;
        crash.resolve();
      }
      return isCrashed ? NEVER : performed.value;
    };
    let last: Promise<unknown> = Promise.resolve();
    const call = (method: string, args: readonly unknown[]): Promise<unknown> => {
      const answered = last.then(() => answer(method, args));
      last = answered.catch(() => {});
      return answered;
    };
    const running = this.#programs(name)({
      name,
      now: () => now,
      call: (method, args, signal) => {
        if (method === 'sleep' || method === 'shutdown') return whenAborted(signal);
        return call(method, args);
      },
    });
    await Promise.race([running, crash.promise]);
    checkState(world);
    return world;
  }
}

const NEVER = new Promise<never>(() => {});

function whenAborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => signal?.addEventListener('abort', () => resolve()));
}
