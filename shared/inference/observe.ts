import { describeError, type Logger } from '../core/logger.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Candidate } from './candidates.ts';
import type { RouterObserver } from './router.ts';

/**
 * Writes what happens to attempts into the log and the metrics: names, times and token counts, never content.
 * @param report where token counts go: `gather` where each request has a log line to itself, `publish` elsewhere
 */
export function createRouterObserver(logger: Logger, report: Metrics['publish']): RouterObserver {
  return {
    onAttemptFailed({ candidate, error, ms }) {
      logger.warn('attempt failed', { ...named(candidate), ms: Math.round(ms), ...describeError(error) });
    },
    onAnswerStarted({ candidate, attempts, ms }) {
      logger.annotate({ ...named(candidate), attempts, upstreamMs: Math.round(ms) });
    },
    onAnswerEnded({ candidate, usage, whole }) {
      logger.annotate({ whole, inputTokens: usage?.inputTokens, outputTokens: usage?.outputTokens });
      if (usage === undefined) return;
      report(
        { InputTokens: [usage.inputTokens, 'Count'], OutputTokens: [usage.outputTokens, 'Count'] },
        { Model: candidate.aliasName },
      );
    },
  };
}

function named({ aliasName, target }: Candidate) {
  return { model: aliasName, provider: target.provider, upstreamModel: target.model };
}
