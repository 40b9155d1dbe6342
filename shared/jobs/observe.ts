import type { Telemetry } from '../core/telemetry.ts';
import type { Outcome } from './worker-ports.ts';

/** Writes the outcome of a ticket to the log and the metrics: ids, names and times, never content. */
export function observeOutcome(
  outcome: Outcome,
  { startedAt, now }: { readonly startedAt: number; readonly now: number },
  { logger, metrics }: Telemetry,
): void {
  if (outcome.kind === 'unneeded') logger.debug('ticket not needed', { status: outcome.status });
  else if (outcome.kind === 'deferred') logger.debug('ticket deferred', { reason: outcome.reason });
  else {
    const { tenant, id, status, epoch, attempts, releases, errorCode } = outcome.job;
    logger.info('job', { outcome: outcome.kind, tenant, jobId: id, status, epoch, attempts, releases, errorCode });
  }
  if (outcome.kind !== 'ended') {
    metrics.publish({ [UNENDED[outcome.kind]]: [1, 'Count'] });
    return;
  }
  const { createdAt, startedAt: claimedAt = startedAt, status } = outcome.job;
  metrics.publish(
    {
      Jobs: [1, 'Count'],
      JobWaitMs: [Math.max(0, claimedAt - createdAt), 'Milliseconds'],
      JobRunMs: [Math.max(0, now - claimedAt), 'Milliseconds'],
    },
    { Status: status },
  );
}

/** The metric of each outcome in which the job doesn't end. */
const UNENDED = {
  released: 'JobsPaused',
  fenced: 'JobsFenced',
  forwarded: 'JobsForwarded',
  unneeded: 'TicketsUnneeded',
  deferred: 'TicketsDeferred',
} as const;
