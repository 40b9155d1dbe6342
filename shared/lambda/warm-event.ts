import * as v from 'valibot';
import { beginInvocation } from './environment.ts';

/**
 * The warm event: an environment that receives it holds still for a moment, so that N sent at once reach N
 * environments, and answers whether it was cold. Only a direct invocation can carry it: what API Gateway and SQS hand
 * to a function has a top level of their own making, with callers' text in strings below.
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

/**
 * Middleware that answers a warm event before anything else looks at it, as JSON text.
 */
export const answerWarmEvents = () => ({
  before: async ({ event }: { event: unknown }): Promise<string | undefined> => {
    if (typeof event !== 'object' || event === null || !('lambent' in event) || !v.is(warmEventSchema, event))
      return undefined;
    const { cold, initMs } = beginInvocation();
    await new Promise((resolve) => setTimeout(resolve, event.holdMs));
    const answer: WarmResult = { lambent: 'warm', cold, initMs };
    return JSON.stringify(answer);
  },
});
