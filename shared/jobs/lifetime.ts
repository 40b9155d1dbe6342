import type { LifetimeSettings } from './settings.ts';

/** How long jobs live, in milliseconds. */
export interface Lifetime {
  /** In which queued work has to be answered, waiting included. */
  readonly deadlineMs: number;
  /** For which a job is kept: queued work from its deadline on, an answer that was given at once from then on. */
  readonly retentionMs: number;
}

/** The lifetime that an operator has set. */
export function createLifetime({ JOB_DEADLINE_HOURS, RETENTION_DAYS }: LifetimeSettings): Lifetime {
  return { deadlineMs: JOB_DEADLINE_HOURS * 3_600_000, retentionMs: RETENTION_DAYS * 86_400_000 };
}

/** Of work that is queued at `now` (epoch milliseconds): when it expires, and the epoch seconds after which it is forgotten. */
export function timesOfQueued(
  lifetime: Lifetime,
  now: number,
): { readonly deadline: number; readonly expiresAt: number } {
  const deadline = now + lifetime.deadlineMs;
  return { deadline, expiresAt: expiryOf(lifetime, deadline) };
}

/** Epoch seconds after which is gone what is kept from `at` (epoch milliseconds) on. */
export function expiryOf({ retentionMs }: Lifetime, at: number): number {
  return Math.ceil((at + retentionMs) / 1000);
}
