import type { LifetimeSettings } from './settings.ts';

/** How long jobs live, in milliseconds. */
export interface Lifetime {
  /** How long queued work may take, waiting included. */
  readonly deadlineMs: number;
  /** How long a job is kept: after its deadline if it was queued, otherwise after its answer. */
  readonly retentionMs: number;
}

/** Returns the lifetime that the settings define. */
export function createLifetime({ JOB_DEADLINE_HOURS, RETENTION_DAYS }: LifetimeSettings): Lifetime {
  return { deadlineMs: JOB_DEADLINE_HOURS * 3_600_000, retentionMs: RETENTION_DAYS * 86_400_000 };
}

/** Returns the deadline of work that is queued at `now` (both epoch milliseconds), and the epoch seconds at which it is deleted. */
export function timesOfQueued(
  lifetime: Lifetime,
  now: number,
): { readonly deadline: number; readonly expiresAt: number } {
  const deadline = now + lifetime.deadlineMs;
  return { deadline, expiresAt: expiryOf(lifetime, deadline) };
}

/** Returns the epoch seconds at which a record is deleted that is kept from `at` (epoch milliseconds) on. */
export function expiryOf({ retentionMs }: Lifetime, at: number): number {
  return Math.ceil((at + retentionMs) / 1000);
}
