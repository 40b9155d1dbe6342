import { startHeartbeat } from '../core/heartbeat.ts';
import type { Job } from './job.ts';
import type { JobStore } from './ports.ts';
import type { JobTimings } from './timings.ts';
import { renew, type Transition } from './transitions.ts';

/** Why an attempt stops before its answer is complete. */
export type Stop =
  /** The job has another holder, has ended, or was deleted. */
  | 'fenced'
  /** Its caller cancelled it. */
  | 'cancelled'
  /** Its deadline has passed. */
  | 'overdue'
  /** The function is about to time out. */
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
  /** Called for the first renewal of a lease that fails: the retries of an outage would fill the log. */
  readonly onError: (what: string, thrown: unknown) => void;
}

/** A claimed job, which a heartbeat renews. */
export interface Lease {
  /** Aborts with a `Stopped` when the attempt has to end. */
  readonly signal: AbortSignal;
  /** Why the attempt has to end; undefined while it need not. */
  readonly stop: Stop | undefined;
  /**
   * Writes a transition that only the holder may make and that doesn't end the attempt. Stops the attempt if the write shows
   * that another holds the job. Throws the table's errors.
   */
  write(transition: Transition): Promise<void>;
  /** Stops the heartbeat. Resolves after a renewal in progress. */
  stopHeartbeat(): Promise<void>;
}

/**
 * Renews the lease of a claimed job until the attempt ends. Only a refused write proves that the job has another holder. A
 * renewal that fails in any other way is retried, even after the lease has ended, because others wait a grace period before
 * they recover the job.
 * @param shutdown aborts when the function is about to time out
 */
export function keepLease(job: Job, { jobs, timings, now, sleep, onError }: LeasePorts, shutdown: AbortSignal): Lease {
  const attempt = new AbortController();
  const stop = (reason: Stop): void => attempt.abort(new Stopped(reason));
  const onShutdown = (): void => stop('shutdown');
  shutdown.addEventListener('abort', onShutdown);
  if (shutdown.aborted) onShutdown();

  async function write({ guard, change }: Transition): Promise<void> {
    const after = (await jobs.update(job.tenant, job.id, guard, change)) ?? (await readIfHeld());
    if (after === undefined) stop('fenced');
    else if (after.cancelRequested) stop('cancelled');
  }

  /**
   * Returns the job if it is still held. Then a refused write was made before, in a request whose response was lost: the
   * repetition of a write that isn't idempotent is refused.
   */
  async function readIfHeld(): Promise<Job | undefined> {
    const found = await jobs.read(job.tenant, job.id);
    return found?.epoch === job.epoch && found.status === 'in_progress' ? found : undefined;
  }

  let hasFailed = false;

  /** Renews the lease. Returns the milliseconds until the next renewal, or undefined if the attempt has to end. */
  async function beat(): Promise<number | undefined> {
    let pauseMs = timings.heartbeatMs;
    if (now() >= job.deadline) stop('overdue');
    else {
      await write(renew(job, now(), timings)).catch((thrown: unknown) => {
        if (!hasFailed) onError('lease not renewed', thrown);
        hasFailed = true;
        pauseMs = timings.retryMs;
      });
    }
    return attempt.signal.aborted ? undefined : untilDeadline(pauseMs);
  }

  const untilDeadline = (ms: number): number => Math.min(ms, Math.max(0, job.deadline - now()));
  const claimedAt = (job.leaseExpiresAt ?? now()) - timings.leaseMs;
  // Not a heartbeat from now: an outage may have hidden for long that the claim was made.
  const firstPauseMs = Math.max(0, claimedAt + timings.heartbeatMs - now());
  const heartbeat = startHeartbeat(untilDeadline(firstPauseMs), beat, sleep);

  return {
    signal: attempt.signal,
    get stop() {
      const reason: unknown = attempt.signal.reason;
      return reason instanceof Stopped ? reason.stop : undefined;
    },
    write,
    async stopHeartbeat() {
      shutdown.removeEventListener('abort', onShutdown);
      await heartbeat.stop();
    },
  };
}
