import type { Telemetry } from '../core/telemetry.ts';
import type { Outcome } from './worker.ts';

/** Writes the outcome of a ticket to the log and the metrics: ids, names and times, never content. */
export function observeOutcome(
  outcome: Outcome,
  { startedAt, now }: { readonly startedAt: number; readonly now: number },
  { logger, metrics }: Telemetry,
): void {
  switch (outcome.kind) {
    case 'unneeded':
      logger.debug('ticket not needed', { status: outcome.status });
      return metrics.publish({ TicketsUnneeded: [1, 'Count'] });
    case 'deferred':
      logger.debug('ticket deferred', { reason: outcome.reason });
      return metrics.publish({ TicketsDeferred: [1, 'Count'] });
  }
  const { job } = outcome;
  const { tenant, id, status, epoch, attempts, releases, errorCode } = job;
  logger.info('job', { outcome: outcome.kind, tenant, jobId: id, status, epoch, attempts, releases, errorCode });
  if (outcome.kind !== 'ended') return metrics.publish({ [UNENDED[outcome.kind]]: [1, 'Count'] });
  metrics.publish(
    {
      Jobs: [1, 'Count'],
      JobWaitMs: [Math.max(0, (job.startedAt ?? startedAt) - job.createdAt), 'Milliseconds'],
      JobRunMs: [Math.max(0, now - (job.startedAt ?? startedAt)), 'Milliseconds'],
    },
    { Status: status },
  );
}

/** The metric of each outcome in which the job goes on. */
const UNENDED = { released: 'JobsPaused', fenced: 'JobsFenced', forwarded: 'JobsForwarded' } as const;
