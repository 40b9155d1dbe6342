import middy, { type MiddyfiedHandler } from '@middy/core';
import { describeError, type Logger } from '../core/logger.ts';
import type { Metrics } from '../core/metrics.ts';
import { beginInvocation, endInit } from './environment.ts';
import { warm } from './warm-event.ts';

export interface EventPipeline {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * The pipeline for a function that is called with one event and answers it: schedules, the authorizer, direct calls.
 * Logs one line an invocation, and lets a failure through to Lambda, which counts and retries it.
 */
export function eventPipeline<Event, Answer>(
  { logger, metrics }: EventPipeline,
  run: (event: Event) => Promise<Answer>,
): MiddyfiedHandler<Event, Answer> {
  endInit();
  return middy<Event, Answer>({ timeoutEarlyInMillis: 0 })
    .use(warm())
    .handler(async (event, context) => {
      const startedAt = performance.now();
      const { cold, initMs } = beginInvocation();
      logger.reset();
      logger.annotate({ requestId: context.awsRequestId });
      const values = () => ({
        LatencyMs: [performance.now() - startedAt, 'Milliseconds'] as const,
        ColdStart: [cold ? 1 : 0, 'Count'] as const,
        ...(cold ? { InitMs: [initMs, 'Milliseconds'] as const } : {}),
      });
      try {
        const answer = await run(event);
        metrics.publish(values());
        return answer;
      } catch (thrown) {
        logger.error('invocation failed', describeError(thrown));
        metrics.publish(values());
        throw thrown;
      }
    });
}
