import type { BacklogWatch } from './backlog-watch.ts';
import { QUEUE_NAMES, type QueueName } from './index-entry.ts';
import {
  type Backlog,
  countBacklog,
  hasOpenJobs,
  replaceTickets,
  SWEEP_PURPOSES,
  type SweepPorts,
  type SweepPurpose,
  type Swept,
  sweepPurpose,
} from './sweep.ts';

export interface SweepRunPorts extends SweepPorts {
  /** Resolves after `ms`. */
  readonly sleep: (ms: number) => Promise<unknown>;
}

export interface SweepRun {
  /** Epoch milliseconds by which the run ends. */
  readonly until: number;
  /** Called after each pass for a purpose. */
  readonly onPass: (purpose: SweepPurpose, swept: Swept) => void;
  /** Called for each queue, about once a minute. Of several sweeps that share the shards, only the first counts. */
  readonly onBacklog: (queue: QueueName, backlog: Backlog) => void;
}

/** Between two passes, as a share of a lease: 15 s. */
const PASSES_PER_LEASE = 4;

/**
 * Makes passes over the index until the time is up, for each purpose by itself: a million waiting jobs delay no recovery. If no
 * job waits or runs, one pass is enough: nothing can become due before the next run. Meanwhile counts the backlogs about once a
 * minute, and replaces lost tickets.
 */
export async function sweepRepeatedly(ports: SweepRunPorts, watch: BacklogWatch, run: SweepRun): Promise<void> {
  const isFirst = (ports.part?.part ?? 0) === 0;
  /** By queue: whether the last count found jobs that wait or run. */
  const counts = new Map<QueueName, Promise<boolean>>();
  const watches = QUEUE_NAMES.map((queue) => {
    if (isFirst) return watchBacklog(queue, counts, ports, watch, run);
    counts.set(queue, findOpenJobs(queue, ports));
    return undefined;
  });
  const isIdle = async () => !(await Promise.all(counts.values())).includes(true);
  await Promise.all([...watches, ...SWEEP_PURPOSES.map((purpose) => repeatPasses(purpose, isIdle, ports, run))]);
}

async function repeatPasses(
  purpose: SweepPurpose,
  isIdle: () => Promise<boolean>,
  ports: SweepRunPorts,
  { until, onPass }: SweepRun,
): Promise<void> {
  const passMs = ports.timings.leaseMs / PASSES_PER_LEASE;
  for (;;) {
    const nextAt = ports.now() + passMs;
    try {
      onPass(purpose, await sweepPurpose(purpose, ports, until));
    } catch (thrown) {
      ports.onError('pass of the sweep failed', thrown);
    }
    if (nextAt >= until || (await isIdle())) return;
    await ports.sleep(Math.max(0, nextAt - ports.now()));
  }
}

/** Counts a queue's jobs and replaces their lost tickets until the time is up or the queue has no jobs. */
async function watchBacklog(
  queue: QueueName,
  counts: Map<QueueName, Promise<boolean>>,
  ports: SweepRunPorts,
  watch: BacklogWatch,
  { until, onBacklog }: SweepRun,
): Promise<void> {
  for (;;) {
    const nextAt = ports.now() + ports.timings.countLagMs;
    const counting = countBacklog(queue, ports);
    counts.set(
      queue,
      counting.then(
        ({ waiting, ticketed }) => waiting + ticketed > 0,
        () => true,
      ),
    );
    try {
      const backlog = await counting;
      onBacklog(queue, backlog);
      const missing = await watch.findMissing(queue, backlog, ports.now());
      if (missing > 0) await replaceTickets(queue, missing, ports, until);
    } catch (thrown) {
      ports.onError('backlog not counted', thrown);
    }
    if (nextAt >= until || !(await counts.get(queue))) return;
    await ports.sleep(Math.max(0, nextAt - ports.now()));
  }
}

/** Returns whether a queue has jobs that wait or run in this sweep's shards. If they can't be read, it may. */
async function findOpenJobs(queue: QueueName, ports: SweepRunPorts): Promise<boolean> {
  try {
    return await hasOpenJobs(queue, ports);
  } catch (thrown) {
    ports.onError('waiting jobs not found', thrown);
    return true;
  }
}
