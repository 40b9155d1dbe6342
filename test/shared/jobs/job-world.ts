import type { QueueName } from '../../../shared/jobs/index-entry.ts';
import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore, type Entry } from '../../../shared/jobs/memory-store.ts';
import type { BodyName, Guard, JobChange, ListedEntry } from '../../../shared/jobs/ports.ts';
import type { JobTimings } from '../../../shared/jobs/timings.ts';
import { START } from './jobs.ts';

/** Everything that outlives a process: the table and its index, the bodies, the tickets, the clock. */
export interface World {
  readonly now: number;
  readonly entries: ReadonlyMap<string, Entry>;
  /** The job's index entry before its last change, which a lagging index still shows. */
  readonly formerPlace?: Place | undefined;
  /** Bodies by kind and attempt. */
  readonly bodies: ReadonlyMap<string, string>;
  readonly tickets: readonly HeldTicket[];
  /** Whether the completion step of the reply has run. */
  readonly replied: boolean;
  /** Attempts whose model began to answer. */
  readonly begun: readonly number[];
  /**
   * True after the only two events that may leave a job without a ticket: a purge, and the replacement of a ticket that
   * another worker had received too.
   */
  readonly mayLackTicket: boolean;
}

/** A message of a ticket queue. */
export interface HeldTicket {
  readonly id: number;
  readonly queue: QueueName;
  /** Epoch milliseconds from which it may be received; 0 if that has passed. */
  readonly visibleAt: number;
}

/** An entry of the index. */
export interface Place {
  readonly partition: string;
  readonly dueAt: number;
}

/** A call of a process, with the process's own time. */
export interface PerformedCall {
  readonly method: string;
  readonly args: readonly unknown[];
}

/** A change of the machine that the check must find. */
export interface Mutation {
  readonly guard?: (guard: Guard, change: JobChange) => Guard;
  readonly change?: (change: JobChange, guard: Guard) => JobChange;
  /** Writes new jobs, or tombstones, without an index entry. */
  readonly unindexed?: 'create' | 'delete';
  /** Postpones entries that have moved to another partition, if the time is the same. */
  readonly postponesMoved?: boolean;
  readonly timings?: Partial<JobTimings>;
  /** A line of a program that does something else. */
  readonly program?:
    | 'creates the job before its input'
    | 'deletes deferred tickets'
    | 'deletes the ticket of a release';
}

export const TENANT = 'acme';
export const JOB_ID = 'resp_1';
const JOB_KEY = `${TENANT}#${JOB_ID}`;
/** After this time a ticket that was received is delivered again, in milliseconds. */
const VISIBILITY_MS = 60_000;
/** Further tickets change nothing. */
const MAX_TICKETS_PER_QUEUE = 2;

/** A world in which nothing was submitted yet. */
export const EMPTY_WORLD: World = {
  now: START,
  entries: new Map(),
  bodies: new Map(),
  tickets: [],
  replied: false,
  begun: [],
  mayLackTicket: false,
};

/** Returns the job as it lies in the table; undefined if it doesn't exist or was deleted. */
export function jobIn({ entries }: World): Job | undefined {
  const entry = entries.get(JOB_KEY);
  return entry !== undefined && 'job' in entry ? entry.job : undefined;
}

/** Whether the job was deleted. */
export function isDeleted({ entries }: World): boolean {
  const entry = entries.get(JOB_KEY);
  return entry !== undefined && !('job' in entry);
}

/** Returns the attributes that place the job, or its tombstone, in the index. */
export function placeIn({ entries }: World): { readonly duePartition?: string; readonly dueAt?: number } {
  const entry = entries.get(JOB_KEY);
  return entry === undefined ? {} : 'job' in entry ? entry.job : entry;
}

/** Whether nothing remains to be done for the job. */
export function isSettled(world: World): boolean {
  const job = jobIn(world);
  return (job === undefined || isTerminal(job.status)) && placeIn(world).duePartition === undefined;
}

/** Returns a world whose job has other fields. */
export function changeJob(world: World, changes: Partial<Job>): World {
  const job = jobIn(world);
  if (job === undefined) throw new Error('The world has no job to change');
  return { ...world, entries: new Map([[JOB_KEY, { job: { ...job, ...changes } }]]) };
}

/** Returns the world after a step of the clock. */
export function advance(world: World, ms: number): World {
  const now = world.now + ms;
  return { ...world, now, tickets: withVisibility(world.tickets, now) };
}

/** Returns the world after a ticket was received. */
export function receiveTicket(world: World, ticket: HeldTicket): World {
  return hide(world, ticket.id, VISIBILITY_MS);
}

/** Returns the world after a purge of all ticket queues. */
export function purge(world: World): World {
  return { ...world, tickets: [], mayLackTicket: true };
}

/** Answers a call as the world does. */
export async function perform(
  world: World,
  { method, args }: PerformedCall,
  mutation: Mutation,
): Promise<{ readonly world: World; readonly value?: unknown }> {
  if (method.startsWith('jobs.')) return performOnTable(world, method.slice(5), args, mutation);
  if (method.startsWith('bodies.')) return performOnBodies(world, method.slice(7), args);
  switch (method) {
    case 'index':
      return { world, value: listed(currentPlace(world)) };
    case 'tickets.send':
      return { world: send(world, args[0] as readonly QueueName[]) };
    case 'tickets.delete':
      return { world: { ...world, tickets: world.tickets.filter(({ id }) => id !== args[0]) } };
    case 'tickets.hide':
      return { world: hide(world, Number(args[0]), Number(args[1])) };
    case 'reply':
      return { world: { ...world, replied: true } };
    case 'begins':
      return { world: { ...world, begun: [...world.begun, Number(args[0])] } };
    case 'generate':
    case 'append':
    case 'sleep':
    case 'shutdown':
      return { world };
    default:
      throw new Error(`No such call: ${method}`);
  }
}

/** What a lagging index shows; undefined if it shows the same as an exact one. */
export function laggingIndex(world: World): unknown {
  const before = listed(world.formerPlace);
  return JSON.stringify(before) === JSON.stringify(listed(currentPlace(world))) ? undefined : before;
}

/** An entry of the index as a program sees it. */
export interface IndexedEntry {
  readonly partition: string;
  readonly tenant: string;
  readonly id: string;
  readonly dueAt: number;
}

function listed(place: Place | undefined): readonly IndexedEntry[] {
  return place === undefined ? [] : [{ ...place, tenant: TENANT, id: JOB_ID }];
}

function currentPlace(world: World): Place | undefined {
  const { duePartition, dueAt } = placeIn(world);
  return duePartition === undefined || dueAt === undefined ? undefined : { partition: duePartition, dueAt };
}

async function performOnTable(world: World, method: string, args: readonly unknown[], mutation: Mutation) {
  const entries = new Map(world.entries);
  const store = createMemoryStore(() => world.now, entries);
  const operation: unknown = Reflect.get(store, method);
  if (typeof operation !== 'function') throw new Error(`No such call: ${method}`);
  const value: unknown = await Reflect.apply(operation, store, mutateArguments(world, method, args, mutation));
  if (method === 'delete' && mutation.unindexed === 'delete') await store.settle(TENANT, JOB_ID);
  for (const [key, entry] of entries) if ('job' in entry) entries.set(key, { job: withoutUnreadTimes(entry.job) });
  const after: World = { ...world, entries };
  const [was, is] = [currentPlace(world), currentPlace(after)];
  const hasMoved = was?.partition !== is?.partition || was?.dueAt !== is?.dueAt;
  return {
    world: hasMoved ? { ...after, formerPlace: was } : after,
    value: method === 'update' && value !== undefined ? jobIn(after) : value,
  };
}

function mutateArguments(
  world: World,
  method: string,
  args: readonly unknown[],
  mutation: Mutation,
): readonly unknown[] {
  if (method === 'create' && mutation.unindexed === 'create') return args.slice(0, 1);
  if (method === 'postpone' && mutation.postponesMoved) {
    const entry = args[0] as ListedEntry;
    return [{ ...entry, partition: currentPlace(world)?.partition ?? entry.partition }, args[1]];
  }
  if (method !== 'update') return args;
  const [tenant, id] = args;
  const guard = args[2] as Guard;
  const change = args[3] as JobChange;
  return [tenant, id, mutation.guard?.(guard, change) ?? guard, mutation.change?.(change, guard) ?? change];
}

/** Leaves out times that nothing reads any more, so that states that differ in nothing else are one. */
function withoutUnreadTimes({ startedAt, completedAt, ...job }: Job): Job {
  return {
    ...job,
    ...(job.status === 'in_progress' && startedAt !== undefined ? { startedAt } : {}),
    ...(job.fanIn !== undefined && completedAt !== undefined ? { completedAt } : {}),
  };
}

/** Bodies without their seals, which have tests of their own. */
function performOnBodies(world: World, method: string, args: readonly unknown[]) {
  const bodies = new Map(world.bodies);
  const changed = { ...world, bodies };
  if (method === 'sweep') {
    const keepEpoch = args[2];
    for (const key of bodies.keys()) {
      const isOfOtherAttempt =
        /^(result|compaction)/.test(key) || (key.startsWith('output') && key !== `output#${keepEpoch}`);
      if (keepEpoch === undefined || isOfOtherAttempt) bodies.delete(key);
    }
    return { world: changed };
  }
  const { kind, epoch } = args[0] as BodyName;
  const key = `${kind}#${epoch}`;
  const found = bodies.get(key);
  switch (method) {
    case 'find':
      return { world, value: found === undefined ? undefined : JSON.parse(found) };
    case 'read':
      return { world, value: JSON.parse(found ?? 'null') };
    case 'remove':
      bodies.delete(key);
      return { world: changed };
    case 'writeNew':
      if (found !== undefined) return { world, value: { ref: { place: 'table', epoch, sizeBytes: 1 }, isNew: false } };
  }
  bodies.set(key, JSON.stringify(args[1]));
  const ref = { place: 'table', epoch, sizeBytes: 1 };
  return { world: changed, value: method === 'writeNew' ? { ref, isNew: true } : ref };
}

function send(world: World, queues: readonly QueueName[]): World {
  let { tickets } = world;
  for (const queue of queues) {
    if (tickets.filter((ticket) => ticket.queue === queue).length >= MAX_TICKETS_PER_QUEUE) continue;
    const id = [1, 2, 3, 4].find((free) => tickets.every((ticket) => ticket.id !== free)) ?? 0;
    tickets = [...tickets, { id, queue, visibleAt: 0 }].sort((a, b) => a.id - b.id);
  }
  return { ...world, tickets };
}

function hide(world: World, id: number, ms: number): World {
  const tickets = world.tickets.map((ticket) => (ticket.id === id ? { ...ticket, visibleAt: world.now + ms } : ticket));
  return { ...world, tickets: withVisibility(tickets, world.now) };
}

function withVisibility(tickets: readonly HeldTicket[], now: number): readonly HeldTicket[] {
  return tickets.map((ticket) => (ticket.visibleAt <= now ? { ...ticket, visibleAt: 0 } : ticket));
}
