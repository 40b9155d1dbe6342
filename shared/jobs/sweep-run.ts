import type { BacklogWatch } from './backlog-watch.ts';
import { QUEUE_NAMES, type QueueName } from './index-entry.ts';
import {
  type Backlog,
  countBacklog,
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
  /** Called after each pass, for each purpose. */
  readonly onPass: (purpose: SweepPurpose, swept: Swept) => void;
  /** Called for each queue, about once a minute. */
  readonly onBacklog: (queue: QueueName, backlog: Backlog) => void;
}

/** Between two passes, as a share of a lease: 15 s. */
const PASSES_PER_LEASE = 4;

/**
 * Makes passes over the index until the time is up. Each purpose has passes of its own, so that one with a million entries, or with
 * a store that answers slowly, delays no other. If no job waits or runs, one pass is enough: nothing can become due before the next
 * run. Counts the backlogs about once a minute, and replaces lost tickets.
 */
export async function sweepRepeatedly(
  ports: SweepRunPorts,
  watch: BacklogWatch,
  { until, onPass, onBacklog }: SweepRun,
): Promise<void> {
  const passMs = ports.timings.leaseMs / PASSES_PER_LEASE;
  const passes = new Map<SweepPurpose, Promise<void>>();
  const pass = async (purpose: SweepPurpose): Promise<void> => {
    try {
      onPass(purpose, await sweepPurpose(purpose, ports, until));
    } catch (thrown) {
      ports.onError('pass of the sweep failed', thrown);
    } finally {
      passes.delete(purpose);
    }
  };
  let isIdle = false;
  let countedAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const startedAt = ports.now();
    for (const purpose of SWEEP_PURPOSES) if (!passes.has(purpose)) passes.set(purpose, pass(purpose));
    if (startedAt - countedAt >= ports.timings.countLagMs) {
      // A purged queue may have lost more tickets than a run can send, and the passes must not wait for them.
      const replacedUntil = Math.min(startedAt + passMs, until);
      isIdle = await watchBacklogs(ports, watch, onBacklog, replacedUntil);
      countedAt = startedAt;
    }
    const nextAt = startedAt + passMs;
    if (isIdle || nextAt >= until) break;
    await ports.sleep(Math.max(0, nextAt - ports.now()));
  }
  await Promise.all(passes.values());
}

/** Returns whether no queue has a job that waits or runs. */
async function watchBacklogs(
  ports: SweepRunPorts,
  watch: BacklogWatch,
  onBacklog: SweepRun['onBacklog'],
  replacedUntil: number,
): Promise<boolean> {
  let isIdle = true;
  for (const queue of QUEUE_NAMES) {
    try {
      const backlog = await countBacklog(queue, ports);
      onBacklog(queue, backlog);
      if (backlog.waiting + backlog.ticketed > 0) isIdle = false;
      const missing = await watch.findMissing(queue, backlog, ports.now());
      if (missing > 0) await replaceTickets(queue, missing, ports, replacedUntil);
    } catch (thrown) {
      isIdle = false;
      ports.onError('backlog not counted', thrown);
    }
  }
  return isIdle;
}
