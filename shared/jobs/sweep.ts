import { type Need, needOf, nextLook } from './attention.ts';
import { type CompletionPorts, completeJob } from './completion.ts';
import {
  LEGACY_PARTITIONS,
  type PartitionName,
  partitionKey,
  purposeOf,
  QUEUE_NAMES,
  type QueueName,
} from './index-entry.ts';
import { isTerminal, type Job } from './job.ts';
import type { JobKey, JobStore, ListedEntry, TicketQueue } from './ports.ts';
import { sendTickets } from './submit.ts';
import type { SweepPart } from './sweep-part.ts';
import type { JobTimings } from './timings.ts';
import { completed, lookAgain } from './transitions.ts';

export interface SweepPorts extends CompletionPorts {
  readonly jobs: JobStore;
  readonly queue: TicketQueue;
  readonly timings: JobTimings;
  /** Returns when the table was last not available, in epoch milliseconds: see `watchOutages`. */
  readonly lastOutageAt?: () => number;
  /** Shards of each index partition that are read: at least as many as any writer uses. */
  readonly shards: number;
  /** The shards that this sweep attends to. Absent: all of them. */
  readonly part?: SweepPart;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/** Why the sweep looks at entries. Each purpose has its own partitions, bound, order and result. */
export const SWEEP_PURPOSES = ['run', 'wake', 'step', 'wait', 'tomb', 'earlier'] as const;
export type SweepPurpose = (typeof SWEEP_PURPOSES)[number];

/** What one pass did for a purpose. */
export interface Swept {
  /** Entries that were looked at. */
  readonly seen: number;
  /** Dead holders' jobs that wait again. */
  readonly recovered: number;
  readonly ended: number;
  readonly ticketsSent: number;
  readonly completed: number;
  /** Deleted or expired jobs whose bodies were removed. */
  readonly removed: number;
  readonly failed: number;
  /** Whether entries were left, because the time was up. */
  readonly isUnfinished: boolean;
}

/** What the sweep did for one entry. */
type Done = 'recovered' | 'ended' | 'ticketsSent' | 'completed' | 'removed' | 'failed' | undefined;

/** Entries read from the index at once: as many as one batch read takes. */
const PAGE = 100;
/** Entries of one partition that are worked on at once: their tickets fill two of SQS's batches. */
const CONCURRENCY = 20;
/** Partitions of one purpose that are worked on at once. They bound the requests in flight, however many shards there are. */
const LANES = 8;

/**
 * Makes one pass over the index for a purpose: it ends, recovers, completes or removes the jobs that workers left, and sends missing
 * tickets. Each step is a conditional write, so any number of sweeps may run at once. An entry that fails delays no other: it is
 * moved to its next look first.
 * @param until epoch milliseconds after which no further entry is looked at
 */
export async function sweepPurpose(purpose: SweepPurpose, ports: SweepPorts, until: number): Promise<Swept> {
  const swept = {
    ...{ seen: 0, recovered: 0, ended: 0, ticketsSent: 0, completed: 0, removed: 0, failed: 0 },
    isUnfinished: false,
  };
  // A partition goes to the end after each page, so that a long one delays no other.
  const left = partitionsOf(purpose, ports).map((partition) => pagesOf(partition, purpose, ports));
  const workOff = async () => {
    for (let pages = left.shift(); pages !== undefined; pages = left.shift()) {
      try {
        const { value: page, done: isRead = false } = await pages.next();
        if (isRead || page === undefined) continue;
        if (ports.now() >= until) {
          swept.isUnfinished = true;
          continue;
        }
        const { seen, done } = await attendToAll(purpose, page, ports, until);
        swept.seen += seen;
        for (const each of done) if (each !== undefined) swept[each] += 1;
        if (seen < page.length) swept.isUnfinished = true;
        left.push(pages);
      } catch (thrown) {
        swept.failed += 1;
        ports.onError('index partition not read', thrown);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, workOff));
  return swept;
}

function partitionsOf(purpose: SweepPurpose, ports: Pick<SweepPorts, 'shards' | 'part'>): readonly string[] {
  if (purpose === 'earlier') return ownShards(LEGACY_PARTITIONS, ports);
  const names: readonly PartitionName[] =
    purpose === 'step' || purpose === 'tomb' ? [purpose] : QUEUE_NAMES.map((queue) => `${purpose}#${queue}` as const);
  return names.flatMap((name) => ownShards(shardKeys(name, ports.shards), ports));
}

/** Returns this sweep's share of a partition's shards. */
function ownShards(
  keys: readonly string[],
  { part: { part, parts } = WHOLE }: Pick<SweepPorts, 'part'>,
): readonly string[] {
  return keys.filter((_, shard) => shard % parts === part);
}

const WHOLE: SweepPart = { part: 0, parts: 1 };

function shardKeys(name: PartitionName, shards: number): readonly string[] {
  return Array.from({ length: shards }, (_, shard) => partitionKey(name, shard));
}

async function* pagesOf(
  partition: string,
  purpose: SweepPurpose,
  { jobs, now, timings }: SweepPorts,
): AsyncGenerator<readonly ListedEntry[]> {
  // A claim younger than a lease and its grace period can't belong to a dead holder.
  const dueBy = purpose === 'run' ? now() - timings.leaseMs - timings.graceMs : now();
  let after: unknown;
  do {
    const page = await jobs.list(partition, dueBy, { limit: PAGE, after });
    if (page.entries.length > 0) yield page.entries;
    after = page.next;
  } while (after !== undefined);
}

async function attendToAll(
  purpose: SweepPurpose,
  entries: readonly ListedEntry[],
  ports: SweepPorts,
  until: number,
): Promise<{ readonly seen: number; readonly done: readonly Done[] }> {
  // In one request. Absent jobs and unreadable ones are missing, and are read again by themselves.
  const found =
    purpose === 'tomb' ? NONE : new Map((await ports.jobs.readMany(entries)).map((job) => [keyOf(job), job]));
  const listed = entries
    .map((entry) => ({ entry, known: found.get(keyOf(entry)) }))
    .filter((each) => isNeedy(purpose, each, ports));
  const done: Done[] = [];
  for (let from = 0; from < listed.length; from += CONCURRENCY) {
    // A store that answers slowly makes a page last longer than the rest of the function's time.
    if (ports.now() >= until) return { seen: entries.length - listed.length + from, done };
    const group = listed.slice(from, from + CONCURRENCY);
    const results = await Promise.all(group.map((each) => attendTo(purpose, each, ports)));
    const waiting = results.flatMap((result) => (result !== undefined && typeof result === 'object' ? [result] : []));
    done.push(...results.map((result) => (typeof result === 'object' ? undefined : result)));
    done.push(...(await sendMissing(waiting, ports)));
  }
  return { seen: entries.length, done };
}

const NONE: ReadonlyMap<string, Job> = new Map();

/** An entry with its job, if a batch read returned it. */
interface Listed {
  readonly entry: ListedEntry;
  readonly known: Job | undefined;
}

/** Whether something has to be done for an entry, as far as its job shows. */
function isNeedy(purpose: SweepPurpose, { entry, known }: Listed, ports: SweepPorts): boolean {
  if (known === undefined) return true;
  // Jobs in progress stay where they are: only a dead holder's is changed.
  if (purpose === 'run') return isForSweep(known, needOfJob(known, ports));
  // The index lags behind the table.
  return known.duePartition === entry.partition && known.dueAt === entry.dueAt;
}

function needOfJob(job: Job, { now, timings, lastOutageAt }: SweepPorts): Need {
  return needOf(job, now(), timings, lastOutageAt?.());
}

/**
 * Whether a job that the index shows as in progress needs the sweep. One that has ended meanwhile is completed by its holder.
 * The previous version ends and releases jobs without moving their entries.
 */
function isForSweep(job: Job, { kind }: Need): boolean {
  return kind === 'recover' || kind === 'end' || (job.status !== 'in_progress' && purposeOf(job) === 'run');
}

function keyOf({ tenant, id }: JobKey): string {
  return `${tenant}#${id}`;
}

/** Does what one entry needs. Returns the job if it needs a ticket; undefined if nothing was done. */
async function attendTo(purpose: SweepPurpose, listed: Listed, ports: SweepPorts): Promise<Done | Job> {
  try {
    return await attend(purpose, listed, ports);
  } catch (thrown) {
    ports.onError('job not swept', thrown);
    return 'failed';
  }
}

async function attend(purpose: SweepPurpose, { entry, known }: Listed, ports: SweepPorts): Promise<Done | Job> {
  const { jobs, bodies, timings, now } = ports;
  const { tenant, id } = entry;
  let job = known;
  if (purpose !== 'run') {
    // First, so that an entry that fails is not the first again next time, and so that one sweep at a time works on it.
    const dueAt = known === undefined ? now() + timings.completionMs : nextLookAt(known, ports);
    if (!(await jobs.postpone(entry, dueAt))) return undefined;
    if (known !== undefined) job = { ...known, dueAt };
  }
  job ??= await jobs.read(tenant, id);
  if (job === undefined) {
    await bodies.sweep(tenant, id);
    await jobs.settle(tenant, id);
    return 'removed';
  }
  const need = needOfJob(job, ports);
  if (purpose === 'run' && !isForSweep(job, need)) return undefined;
  switch (need.kind) {
    case 'nothing':
      if (isTerminal(job.status)) await dropEntry(job, ports);
      else if (known === undefined || purpose !== 'wait') await reschedule(job, ports);
      return undefined;
    case 'ticket':
      return job;
    case 'complete':
      if (known === undefined || purpose !== 'step') await reschedule(job, ports);
      await completeJob(job, ports, { last: now() - (job.completedAt ?? now()) > timings.stepsEndMs });
      return 'completed';
    case 'end':
    case 'recover': {
      const after = await jobs.update(tenant, id, need.by.guard, need.by.change);
      if (after === undefined) return undefined;
      if (need.kind === 'recover') return 'recovered';
      await completeJob(after, ports);
      return 'ended';
    }
  }
}

/** Moves a job's entry to the next look at it, and to the partition where it belongs. */
async function reschedule(job: Job, ports: SweepPorts): Promise<void> {
  const { guard, change } = lookAgain(job, nextLookAt(job, ports), ports.timings);
  await ports.jobs.update(job.tenant, job.id, guard, change);
}

/** Returns the time of the next look at a job, if this one changes nothing. Each look costs requests, so they become rarer. */
function nextLookAt(job: Job, ports: SweepPorts): number {
  const { now, timings } = ports;
  const { firstLookMs, longestLookMs, completionMs } = timings;
  if (isTerminal(job.status)) return nextLook(job.completedAt ?? now(), now(), completionMs, firstLookMs);
  if (needOfJob(job, ports).kind !== 'nothing') return now() + completionMs;
  return Math.min(nextLook(job.createdAt, now(), firstLookMs, longestLookMs), job.deadline);
}

/** Removes the entry of a job that ended while the sweep looked at it and that nothing remains to be done for. */
async function dropEntry({ tenant, id, dueAt }: Job, { jobs }: SweepPorts): Promise<void> {
  if (dueAt === undefined) return;
  const { guard, change } = completed();
  await jobs.update(tenant, id, guard, change);
}

async function sendMissing(waiting: readonly Job[], ports: SweepPorts): Promise<readonly Done[]> {
  if (waiting.length === 0) return [];
  try {
    const sent = await sendTickets(waiting, ports);
    return waiting.map((_, index) => (index < sent ? 'ticketsSent' : 'failed'));
  } catch (thrown) {
    ports.onError('tickets not sent', thrown);
    return waiting.map(() => 'failed' as const);
  }
}

/** How many jobs of a queue there are. */
export interface Backlog {
  /** Jobs that wait, with or without a ticket. */
  readonly waiting: number;
  /** Jobs that have a ticket: waiting or in progress. */
  readonly ticketed: number;
}

/** Counts a queue's jobs in the index, which follows the table with a lag. */
export async function countBacklog(
  queue: QueueName,
  { jobs, shards }: Pick<SweepPorts, 'jobs' | 'shards'>,
): Promise<Backlog> {
  const count = async (purpose: 'wake' | 'wait' | 'run') => {
    const counts = await Promise.all(shardKeys(`${purpose}#${queue}`, shards).map((key) => jobs.count(key)));
    return counts.reduce((sum, each) => sum + each, 0);
  };
  const [wake, wait, run] = await Promise.all([count('wake'), count('wait'), count('run')]);
  return { waiting: wake + wait, ticketed: wait + run };
}

/** Returns whether a queue has jobs that wait or run in this sweep's shards. */
export async function hasOpenJobs(
  queue: QueueName,
  { jobs, ...ports }: Pick<SweepPorts, 'jobs' | 'shards' | 'part'>,
): Promise<boolean> {
  const keys = (['wake', 'wait', 'run'] as const).flatMap((purpose) =>
    ownShards(shardKeys(`${purpose}#${queue}`, ports.shards), ports),
  );
  const pages = await Promise.all(keys.map((key) => jobs.list(key, Number.MAX_SAFE_INTEGER, { limit: 1 })));
  return pages.some(({ entries }) => entries.length > 0);
}

/**
 * Sends tickets for waiting jobs that seem to have lost theirs, the longest not looked at first.
 * @param missing how many tickets are missing
 * @param until epoch milliseconds after which no further ticket is sent
 * @returns how many were sent
 */
export async function replaceTickets(
  queue: QueueName,
  missing: number,
  ports: SweepPorts,
  until: number,
): Promise<number> {
  const { jobs, shards, now } = ports;
  let sent = 0;
  // A job that got a ticket moves to the end of its partition, where a later page lists it again.
  const seen = new Set<string>();
  for (const partition of shardKeys(`wait#${queue}`, shards)) {
    let after: unknown;
    do {
      if (sent >= missing || now() >= until) return sent;
      const page = await jobs.list(partition, Number.MAX_SAFE_INTEGER, { limit: PAGE, after });
      const unseen = page.entries.filter((entry) => !seen.has(keyOf(entry)));
      for (const entry of unseen) seen.add(keyOf(entry));
      const found = await jobs.readMany(unseen);
      const waiting = found
        .filter((job) => job.status === 'queued' && (job.notBefore ?? 0) <= now())
        .sort((one, other) => (one.dueAt ?? 0) - (other.dueAt ?? 0));
      sent += await sendTickets(waiting.slice(0, missing - sent), ports);
      after = page.next;
    } while (after !== undefined);
  }
  return sent;
}
