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
/** Entries of one partition that are worked on at once. */
const CONCURRENCY = 16;

/** Makes one pass for every purpose: see `sweepPurpose`. The function makes them one by one; this is for tests. */
export async function sweepOnce(ports: SweepPorts, until: number): Promise<Readonly<Record<SweepPurpose, Swept>>> {
  const results = await Promise.all(
    SWEEP_PURPOSES.map(async (purpose) => [purpose, await sweepPurpose(purpose, ports, until)] as const),
  );
  return Object.fromEntries(results) as Record<SweepPurpose, Swept>;
}

/**
 * Makes one pass over the index for a purpose: it ends, recovers, completes or removes what nobody else did, and sends missing
 * tickets. Each step is a conditional write, so any number of sweeps may run at once. An entry that fails delays no other: it is
 * moved to its next look first.
 * @param until epoch milliseconds after which no further entry is looked at
 */
export async function sweepPurpose(purpose: SweepPurpose, ports: SweepPorts, until: number): Promise<Swept> {
  const swept = {
    ...{ seen: 0, recovered: 0, ended: 0, ticketsSent: 0, completed: 0, removed: 0, failed: 0 },
    isUnfinished: false,
  };
  await Promise.all(
    partitionsOf(purpose, ports.shards).map(async (partition) => {
      try {
        for await (const page of pagesOf(partition, purpose, ports)) {
          if (ports.now() >= until) {
            swept.isUnfinished = true;
            return;
          }
          const { seen, done } = await attendToAll(purpose, page, ports, until);
          swept.seen += seen;
          for (const each of done) if (each !== undefined) swept[each] += 1;
          if (seen < page.length) swept.isUnfinished = true;
        }
      } catch (thrown) {
        swept.failed += 1;
        ports.onError('index partition not read', thrown);
      }
    }),
  );
  return swept;
}

function partitionsOf(purpose: SweepPurpose, shards: number): readonly string[] {
  if (purpose === 'earlier') return LEGACY_PARTITIONS;
  const names: readonly PartitionName[] =
    purpose === 'step' || purpose === 'tomb' ? [purpose] : QUEUE_NAMES.map((queue) => `${purpose}#${queue}` as const);
  return names.flatMap((name) => shardKeys(name, shards));
}

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
  // Jobs in progress stay where they are: only a dead holder's is changed. A batch read finds those.
  const listed = purpose === 'run' ? await findNeedy(entries, ports) : entries;
  const done: Done[] = [];
  for (let from = 0; from < listed.length; from += CONCURRENCY) {
    // A store that answers slowly makes a page last longer than the rest of the function's time.
    if (ports.now() >= until) return { seen: entries.length - listed.length + from, done };
    const group = listed.slice(from, from + CONCURRENCY);
    const results = await Promise.all(group.map((entry) => attendTo(purpose, entry, ports)));
    const waiting = results.flatMap((result) => (result !== undefined && typeof result === 'object' ? [result] : []));
    done.push(...results.map((result) => (typeof result === 'object' ? undefined : result)));
    done.push(...(await sendMissing(waiting, ports)));
  }
  return { seen: entries.length, done };
}

async function findNeedy(entries: readonly ListedEntry[], ports: SweepPorts) {
  const { jobs, timings, now } = ports;
  const found = new Map((await jobs.readMany(entries)).map((job) => [keyOf(job), job]));
  return entries.filter((entry) => {
    const job = found.get(keyOf(entry));
    return job === undefined || isForSweep(job, needOf(job, now(), timings, ports.lastOutageAt?.()));
  });
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
async function attendTo(purpose: SweepPurpose, entry: ListedEntry, ports: SweepPorts): Promise<Done | Job> {
  try {
    return await attend(purpose, entry, ports);
  } catch (thrown) {
    ports.onError('job not swept', thrown);
    return 'failed';
  }
}

async function attend(purpose: SweepPurpose, entry: ListedEntry, ports: SweepPorts): Promise<Done | Job> {
  const { jobs, bodies, timings, now } = ports;
  const { tenant, id } = entry;
  if (purpose !== 'run') {
    // First, so that an entry that fails is not the first again next time, and so that one sweep at a time works on it.
    const { completionMs } = timings;
    if (!(await jobs.postpone(entry, now() + completionMs))) return undefined;
  }
  const job = await jobs.read(tenant, id);
  if (job === undefined) {
    await bodies.sweep(tenant, id);
    await jobs.settle(tenant, id);
    return 'removed';
  }
  const need = needOf(job, now(), timings, ports.lastOutageAt?.());
  if (purpose === 'run' && !isForSweep(job, need)) return undefined;
  switch (need.kind) {
    case 'nothing':
      if (isTerminal(job.status)) await dropEntry(job, ports);
      else await reschedule(job, ports);
      return undefined;
    case 'ticket':
      return job;
    case 'complete':
      await reschedule(job, ports);
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

/** Places the next look at a job: each time twice as late, because each look costs requests. */
async function reschedule(job: Job, { jobs, timings, now }: SweepPorts): Promise<void> {
  const { firstLookMs, longestLookMs, completionMs } = timings;
  const next = isTerminal(job.status)
    ? nextLook(job.completedAt ?? now(), now(), completionMs, firstLookMs)
    : Math.min(nextLook(job.createdAt, now(), firstLookMs, longestLookMs), job.deadline);
  const { guard, change } = lookAgain(job, next, timings);
  await jobs.update(job.tenant, job.id, guard, change);
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
