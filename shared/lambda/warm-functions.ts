import * as v from 'valibot';
import type { WarmResult } from './warm-event.ts';

/** A function to keep warm: which alias of it, and how many environments at a time. */
export const warmTargetsSchema = v.array(
  v.strictObject({
    functionName: v.pipe(v.string(), v.minLength(1)),
    /** Alias or version; the unpublished function when absent. */
    qualifier: v.optional(v.pipe(v.string(), v.minLength(1))),
    concurrency: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100)),
  }),
);
export type WarmTarget = v.InferOutput<typeof warmTargetsSchema>[number];

/** Calls a function with a warm event. Throws when the call fails or isn't answered as a warm event is. */
export type SendWarmEvent = (target: WarmTarget) => Promise<WarmResult>;

/** What one round found of one function. */
export interface WarmReport {
  readonly target: WarmTarget;
  readonly answered: number;
  readonly failed: number;
  /** Environments that had to be started for it. */
  readonly cold: number;
  /** Milliseconds that each of those took from process start until its handler was loaded. */
  readonly initMs: readonly number[];
}

/**
 * Calls every target as often as its concurrency says, all at once, so that each call finds an environment of its own.
 * One function's failure is counted and keeps nothing from the others.
 */
export async function warmFunctions(targets: readonly WarmTarget[], call: SendWarmEvent): Promise<WarmReport[]> {
  return Promise.all(
    targets.map(async (target) => {
      const calls = Array.from({ length: target.concurrency }, () => call(target));
      const outcomes = await Promise.allSettled(calls);
      const answers = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value);
      const cold = answers.filter((answer) => answer.cold);
      return {
        target,
        answered: answers.length,
        failed: outcomes.length - answers.length,
        cold: cold.length,
        initMs: cold.map(({ initMs }) => initMs),
      };
    }),
  );
}
