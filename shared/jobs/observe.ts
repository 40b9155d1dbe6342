import type { LogFields } from '../core/logger.ts';
import { recordedAs } from '../core/recorded-line.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Job } from './job.ts';
import { MAX_ATTEMPTS } from './transitions.ts';
import type { Outcome } from './worker-ports.ts';

/** Writes the outcome of a ticket to the log and the metrics: ids, names and times, never content. */
export function observeOutcome(
  outcome: Outcome,
  { startedAt, now }: { readonly startedAt: number; readonly now: number },
  { logger, metrics }: Telemetry,
): void {
  if (outcome.kind === 'unneeded') logger.debug('ticket not needed', { status: outcome.status });
  else if (outcome.kind === 'deferred') logger.debug('ticket deferred', { reason: outcome.reason });
  else if (outcome.kind !== 'ended') logger.info('job', describeJob(outcome));
  if (outcome.kind !== 'ended') {
    metrics.publish({ [UNENDED[outcome.kind]]: [1, 'Count'] });
    return;
  }
  const { createdAt, startedAt: claimedAt = startedAt, status } = outcome.job;
  metrics.gather(
    {
      Jobs: [1, 'Count'],
      JobWaitMs: [Math.max(0, claimedAt - createdAt), 'Milliseconds'],
      JobRunMs: [Math.max(0, now - claimedAt), 'Milliseconds'],
    },
    { Status: status },
  );
  logger.summarize('job', { ...describeJob(outcome), ...describeEnd(outcome.job, now) }, metrics.takeGathered());
}

function describeJob({ kind, job }: Extract<Outcome, { readonly job: Job }>): LogFields {
  const { tenant, id, status, epoch, releases, errorCode, tries = MAX_ATTEMPTS } = job;
  const attempts = job.attempts - (MAX_ATTEMPTS - tries);
  return { outcome: kind, tenant, jobId: id, status, epoch, attempts, releases, errorCode };
}

/**
 * Returns what the line of an ended job says of its answer: the job's own usage, whatever its attempts have used. A job is
 * ended by one conditional write, and only its writer logs this line, so that an answer is recorded once.
 */
function describeEnd({ endpoint, model, usage, startedAt }: Job, now: number): LogFields {
  return {
    ...recordedAs('call'),
    endpoint,
    model,
    ms: startedAt === undefined ? undefined : Math.max(0, now - startedAt),
    inputTokens: usage?.inputTokens,
    outputTokens: usage?.outputTokens,
    cachedInputTokens: usage?.cachedInputTokens,
    cacheWriteTokens: usage?.cacheWriteTokens,
    // The cost that the attempts have noted is the answer's, if there is one.
    ...(usage === undefined && { costUsd: undefined }),
  };
}

/** The metric of each outcome in which the job doesn't end. */
const UNENDED = {
  released: 'JobsPaused',
  fenced: 'JobsFenced',
  forwarded: 'JobsForwarded',
  unneeded: 'TicketsUnneeded',
  deferred: 'TicketsDeferred',
} as const;
