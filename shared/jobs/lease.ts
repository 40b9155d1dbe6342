import { startHeartbeat } from '../core/heartbeat.ts';
import type { Job } from './job.ts';
import type { JobStore } from './ports.ts';
import type { JobTimings } from './timings.ts';
import { renew } from './transitions.ts';

/** Why an attempt stops before its answer is whole. */
export type Stop =
  /** Another may hold the job by now, or it was deleted. */
  | 'fenced'
  /** Its caller said so. */
  | 'cancelled'
  /** Its deadline has passed. */
  | 'overdue'
  /** The function's own time is up. */
  | 'shutdown';

/** The reason with which an attempt's signal aborts. */
export class Stopped extends Error {
  override readonly name = 'Stopped';
  readonly stop: Stop;
  constructor(stop: Stop) {
    super(`The attempt was stopped: ${stop}`);
    this.stop = stop;
  }
}

export interface LeasePorts {
  readonly jobs: JobStore;
  readonly timings: JobTimings;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface LeaseOptions {
  /** Aborts when the function's time is up. */
  readonly shutdown: AbortSignal;
  /** Keeps the message that brought the job hidden for longer. A hint: its failure is nobody's. */
  readonly extendVisibility: () => Promise<void>;
}

/** A job in hand: renewed by a heartbeat until it is let go of. */
export interface Lease {
  /** Aborts, with a `Stopped`, when the attempt has to end. */
  readonly signal: AbortSignal;
  /** Why the attempt has to end; undefined while it need not. */
  readonly stop: Stop | undefined;
  /** Ends the heartbeat, once the one on its way is back. */
  letGo(): Promise<void>;
}

/**
 * Keeps a claimed job. A renewal that is refused aborts the attempt, and so does one that can't be made until the lease
 * runs out: a worker that can't reach the table stops working before another begins.
 */
export function keep(job: Job, { jobs, timings, now, sleep }: LeasePorts, options: LeaseOptions): Lease {
  const attempt = new AbortController();
  let leaseExpiresAt = job.leaseExpiresAt ?? 0;
  const stop = (why: Stop): void => attempt.abort(new Stopped(why));
  const onShutdown = (): void => stop('shutdown');
  options.shutdown.addEventListener('abort', onShutdown);
  if (options.shutdown.aborted) onShutdown();

  async function beat(): Promise<void> {
    if (now() >= job.deadline) return stop('overdue');
    const { guard, change } = renew(job.epoch, now(), timings);
    let renewed: Job | undefined;
    try {
      renewed = await jobs.update(job.tenant, job.id, guard, change);
    } catch {
      if (now() + timings.heartbeatMs >= leaseExpiresAt) stop('fenced');
      return;
    }
    if (renewed === undefined) return stop('fenced');
    leaseExpiresAt = renewed.leaseExpiresAt ?? 0;
    if (renewed.cancelRequested) return stop('cancelled');
    await options.extendVisibility().catch(() => {});
  }

  const pauseMs = (): number => Math.min(timings.heartbeatMs, Math.max(0, job.deadline - now()));
  const heartbeat = startHeartbeat(
    pauseMs(),
    async () => {
      await beat();
      return attempt.signal.aborted ? undefined : pauseMs();
    },
    sleep,
  );

  return {
    signal: attempt.signal,
    get stop() {
      const reason: unknown = attempt.signal.reason;
      return reason instanceof Stopped ? reason.stop : undefined;
    },
    async letGo() {
      options.shutdown.removeEventListener('abort', onShutdown);
      await heartbeat.stop();
    },
  };
}
