import middy, { type MiddyfiedHandler } from '@middy/core';
import { describeError } from '../core/logger.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import { markInitEnd } from './environment.ts';
import { RequestContext } from './request-context.ts';
import { answerWarmEvents } from './warm-event.ts';

/**
 * Creates the pipeline of a function that is invoked with one event and returns one result: schedules, the authorizer,
 * direct calls. It logs and rethrows errors, so that Lambda counts and retries them. It publishes no metrics of its own:
 * Lambda counts invocations and their durations, and a schedule's metrics would cost all month.
 */
export function createEventPipeline<Event, Result>(
  telemetry: ProcessTelemetry,
  run: (event: Event, context: RequestContext) => Promise<Result>,
): MiddyfiedHandler<Event, Result> {
  markInitEnd();
  return middy<Event, Result>({ timeoutEarlyInMillis: 0 })
    .use(answerWarmEvents())
    .handler(async (event, lambdaContext) => {
      const context = new RequestContext(telemetry, lambdaContext, 0);
      const { logger, metrics } = context.telemetry;
      try {
        return await run(event, context);
      } catch (thrown) {
        logger.error('invocation failed', describeError(thrown));
        throw thrown;
      } finally {
        context.end();
        metrics.flush();
      }
    });
}
