import { needOf } from './attention.ts';
import { type Listeners, tellOf } from './fan-in.ts';
import { DUE_PARTITIONS } from './keys.ts';
import type { Bodies, JobQueue, JobStore } from './ports.ts';
import { announce } from './submit.ts';
import type { JobTimings } from './timings.ts';

export interface SweepPorts {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly timings: JobTimings;
  readonly queue: JobQueue;
  readonly listeners: Listeners;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly onError: (what: string, thrown: unknown) => void;
}

export interface SweepBounds {
  /** Epoch milliseconds after which no further job is looked at. */
  readonly until: number;
  /** Jobs of one partition that are looked at in one run. */
  readonly perPartition: number;
}

/** What one run found and did. */
export interface Swept {
  /** Jobs that were due. */
  due: number;
  /** Of those that the index still held when the run had to end, the ones it saw. */
  left: number;
  announced: number;
  ended: number;
  told: number;
  /** Deleted or expired jobs whose bodies were removed. */
  removed: number;
  failed: number;
}

/** Keys read from the index at once. */
const PAGE = 50;

/**
 * Looks at every job that is due and does what nobody else did: announces it again, ends it, tells of its end, removes
 * what a deleted one left. Each step is a conditional write, so that any number of sweeps at once do no harm.
 */
export async function sweepDue(ports: SweepPorts, bounds: SweepBounds): Promise<Swept> {
  const swept: Swept = { due: 0, left: 0, announced: 0, ended: 0, told: 0, removed: 0, failed: 0 };
  const partitions = Array.from({ length: DUE_PARTITIONS }, (_, partition) => partition);
  await Promise.all(partitions.map((partition) => sweepPartition(partition, ports, bounds, swept)));
  return swept;
}

async function sweepPartition(partition: number, ports: SweepPorts, bounds: SweepBounds, swept: Swept): Promise<void> {
  const { jobs, now, onError } = ports;
  // The index follows its table by a moment: what was just put off may come once more.
  const seen = new Set<string>();
  while (seen.size < bounds.perPartition && now() < bounds.until) {
    const page = await jobs.due(partition, now(), Math.min(PAGE, bounds.perPartition));
    const fresh = page.filter(({ tenant, id }) => !seen.has(`${tenant}#${id}`));
    if (fresh.length === 0) return;
    for (const [index, { tenant, id }] of fresh.entries()) {
      seen.add(`${tenant}#${id}`);
      if (now() >= bounds.until) {
        swept.left += fresh.length - index;
        return;
      }
      swept.due += 1;
      try {
        const done = await attendTo(tenant, id, ports);
        if (done !== undefined) swept[done] += 1;
      } catch (thrown) {
        swept.failed += 1;
        onError('a due job could not be attended to', thrown);
      }
    }
  }
}

/** Does what one due job needs; undefined when it needs nothing, or somebody else was quicker. */
async function attendTo(
  tenant: string,
  id: string,
  ports: SweepPorts,
): Promise<Exclude<keyof Swept, 'failed' | 'due' | 'left'> | undefined> {
  const { jobs, bodies, timings, now } = ports;
  const job = await jobs.read(tenant, id);
  if (job === undefined) {
    await bodies.sweep(tenant, id);
    await jobs.settle(tenant, id);
    return 'removed';
  }
  const need = needOf(job, now(), timings);
  if (need.kind === 'nothing') return undefined;
  const after = await jobs.update(tenant, id, need.by.guard, need.by.change);
  if (after === undefined) return undefined;
  switch (need.kind) {
    case 'announce':
      await announce(after, ports);
      return 'announced';
    case 'tell':
      await tellOf(after, ports);
      return 'told';
    case 'end':
      await tellOf(after, ports);
      return 'ended';
  }
}
