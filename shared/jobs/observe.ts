import type { Telemetry } from '../core/telemetry.ts';
import type { Outcome } from './worker.ts';

/** Writes what became of a message about a job into the log and the metrics: ids, names and times, never content. */
export function observeOutcome(
  outcome: Outcome,
  { startedAt, now }: { readonly startedAt: number; readonly now: number },
  { logger, metrics }: Telemetry,
): void {
  if (outcome.kind === 'refused') {
    logger.debug('job not run', { status: outcome.status });
    return;
  }
  const { job } = outcome;
  const { tenant, id, status, epoch, attempts, releases, errorCode } = job;
  logger.info('job', { outcome: outcome.kind, tenant, jobId: id, status, epoch, attempts, releases, errorCode });
  if (outcome.kind !== 'ended') {
    metrics.publish({ [UNENDED[outcome.kind]]: [1, 'Count'] });
    return;
  }
  metrics.publish(
    {
      Jobs: [1, 'Count'],
      JobWaitMs: [Math.max(0, (job.startedAt ?? startedAt) - job.createdAt), 'Milliseconds'],
      JobRunMs: [Math.max(0, now - (job.startedAt ?? startedAt)), 'Milliseconds'],
    },
    { Status: status },
  );
}

/** The metric of each outcome that is no end. */
const UNENDED = { paused: 'JobsPaused', fenced: 'JobsFenced', forwarded: 'JobsForwarded' } as const;
