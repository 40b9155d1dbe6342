import * as v from 'valibot';
import type { WarmResult } from './warm-event.ts';

/** The functions to keep warm, each with the number of environments. */
export const warmTargetsSchema = v.array(
  v.strictObject({
    functionName: v.pipe(v.string(), v.minLength(1)),
    /** Alias or version. Default: the unpublished function. */
    qualifier: v.optional(v.pipe(v.string(), v.minLength(1))),
    concurrency: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100)),
  }),
);
export type WarmTarget = v.InferOutput<typeof warmTargetsSchema>[number];

/** Sends a warm event to a function. Rejects if the call fails or its result is invalid. */
export type SendWarmEvent = (target: WarmTarget) => Promise<WarmResult>;

/** Result of one round for one function. */
export interface WarmReport {
  readonly target: WarmTarget;
  /** Calls that succeeded. */
  readonly answered: number;
  readonly failed: number;
  /** Calls that started an environment. */
  readonly cold: number;
  /** For each started environment, milliseconds from process start until its handler was loaded. */
  readonly initMs: readonly number[];
}

/**
 * Sends each function as many warm events as its concurrency, all at once, so that each reaches another environment.
 * One function follows another, so that only one function's calls use the account's concurrent executions at a time.
 * Failed calls are counted and don't affect the others.
 */
export async function warmFunctions(targets: readonly WarmTarget[], send: SendWarmEvent): Promise<WarmReport[]> {
  const reports: WarmReport[] = [];
  for (const target of targets) {
    const calls = Array.from({ length: target.concurrency }, () => send(target));
    const outcomes = await Promise.allSettled(calls);
    const results = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value);
    const cold = results.filter((result) => result.cold);
    reports.push({
      target,
      answered: results.length,
      failed: outcomes.length - results.length,
      cold: cold.length,
      initMs: cold.map(({ initMs }) => initMs),
    });
  }
  return reports;
}
