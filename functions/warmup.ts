/** Scheduled warm-up: keeps environments of functions warm and logs how many were cold. */
import * as v from 'valibot';
import { createLambdaClient } from '../shared/aws/lambda.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';
import { createWarmEventSender } from '../shared/lambda/warm-event-sender.ts';
import { warmFunctions, warmTargetsSchema } from '../shared/lambda/warm-functions.ts';

/** Longer than the slowest cold start in practice. After a timeout, the next scheduled run tries again. */
const INVOKE_TIMEOUT_MS = 20_000;

const config = readConfig({
  /** JSON: a list of `{functionName, qualifier?, concurrency}`. */
  WARM_TARGETS: v.pipe(v.string(), v.parseJson(), warmTargetsSchema),
  /**
   * Milliseconds for which a warm event keeps an environment busy, so that simultaneous events reach different ones.
   */
  WARM_HOLD_MS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(0), v.maxValue(5_000)), '100'),
});
const telemetry = createTelemetry(config);
const sendWarmEvent = createWarmEventSender(createLambdaClient(INVOKE_TIMEOUT_MS), config.WARM_HOLD_MS);

export const handler = createEventPipeline<unknown, void>(telemetry, async (_event, context) => {
  const { logger } = context.telemetry;
  for (const { target, answered, failed, cold, initMs } of await warmFunctions(config.WARM_TARGETS, sendWarmEvent)) {
    logger[failed > 0 ? 'warn' : 'info']('warmed', {
      target: target.functionName,
      answered,
      failed,
      cold,
      initMs: Math.max(0, ...initMs),
    });
  }
});
