/** Keeps functions warm: calls each one's environments at once, on a schedule, and publishes how many were cold. */
import * as v from 'valibot';
import { createLambdaClient } from '../shared/aws/lambda.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { eventPipeline } from '../shared/lambda/event-pipeline.ts';
import { createCallWarm } from '../shared/lambda/warm-call.ts';
import { warmAll, warmTargetsSchema } from '../shared/lambda/warmup.ts';

/** Longer than the slowest cold start in practice; the schedule comes again anyway. */
const CALL_TIMEOUT_MS = 20_000;

const config = readConfig({
  /** JSON: a list of `{functionName, qualifier?, concurrency}`. */
  WARM_TARGETS: v.pipe(v.string(), v.parseJson(), warmTargetsSchema),
  /** Milliseconds each environment is held, so that calls made together reach different ones. */
  WARM_HOLD_MS: v.optional(v.pipe(v.string(), v.toNumber(), v.minValue(0), v.maxValue(5_000)), '100'),
});
const telemetry = createTelemetry(config);
const call = createCallWarm(createLambdaClient(CALL_TIMEOUT_MS), config.WARM_HOLD_MS);

export const handler = eventPipeline<unknown, void>(telemetry, async (_event, context) => {
  const { logger, metrics } = context.telemetry;
  for (const { target, answered, failed, cold, initMs } of await warmAll(config.WARM_TARGETS, call)) {
    logger[failed > 0 ? 'warn' : 'info']('warmed', { target: target.functionName, answered, failed, cold });
    metrics.publish(
      {
        WarmCalls: [answered, 'Count'],
        WarmFailures: [failed, 'Count'],
        ...(answered > 0 ? { ColdStartRate: [(100 * cold) / answered, 'Percent'] } : {}),
        ...(initMs.length > 0 ? { ColdStartMs: [Math.max(...initMs), 'Milliseconds'] } : {}),
      },
      { Target: target.functionName },
    );
  }
});
