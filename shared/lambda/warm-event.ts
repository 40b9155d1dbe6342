import * as v from 'valibot';
import { beginInvocation } from './environment.ts';

/**
 * The warm event keeps an environment busy for a moment, so that N events sent at once reach N environments. The result
 * says whether the environment was cold. Only a direct invocation can send it: API Gateway and SQS build the top level
 * of their events themselves and put callers' data into strings below it.
 */
export const warmEventSchema = v.strictObject({
  lambent: v.literal('warm'),
  /** Milliseconds to stay busy. */
  holdMs: v.pipe(v.number(), v.minValue(0), v.maxValue(5_000)),
});
export type WarmEvent = v.InferOutput<typeof warmEventSchema>;

export const warmResultSchema = v.object({
  lambent: v.literal('warm'),
  cold: v.boolean(),
  /** Milliseconds from process start until the handler was loaded. */
  initMs: v.number(),
});
export type WarmResult = v.InferOutput<typeof warmResultSchema>;

/** Creates middleware that handles warm events before the handler sees them. The result is JSON text. */
export const answerWarmEvents = () => ({
  before: async ({ event }: { event: unknown }): Promise<string | undefined> => {
    if (typeof event !== 'object' || event === null || !('lambent' in event) || !v.is(warmEventSchema, event))
      return undefined;
    const { cold, initMs } = beginInvocation();
    await new Promise((resolve) => setTimeout(resolve, event.holdMs));
    const result: WarmResult = { lambent: 'warm', cold, initMs };
    return JSON.stringify(result);
  },
});
