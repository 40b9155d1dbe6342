import { computeStepMs, type StepModel } from '../../../local/engine/step-model.ts';
import { quantile } from '../../measure/statistics.ts';
import type { EngineSettings } from './fleet.ts';
import type { Outcome } from './simulate.ts';
import type { Arrival } from './workload.ts';

/** What an answer must keep to be a good one. */
export const TARGETS = {
  /** Milliseconds to the first token, whatever the prompt's length. */
  firstTokenMs: 5_000,
  /** Milliseconds a token after it, on average over the answer. */
  perTokenMs: 100,
  /** Length-scaled: this much, and so many times what the prompt takes alone on an idle worker with an empty cache. */
  scaled: { ms: 1_000, times: 2 },
} as const;

/**
 * What one run showed. Shares are 0 to 1. Refused requests are in those of good answers, and none of them is good; percentiles
 * and the hit rate are of the others.
 */
export interface Measures {
  readonly requests: number;
  readonly refused: number;
  /** Share with the first token and every later one in time. */
  readonly goodput: number;
  /** The same under the length-scaled target of the first token. */
  readonly scaledGoodput: number;
  readonly firstTokenMs: Percentiles;
  readonly perTokenMs: Percentiles;
  /** Share of the served requests' prompt tokens that were cached. */
  readonly prefixHitRate: number;
  /** Share of the time that workers computed, on average over them. */
  readonly utilisation: number;
  /** Jain's index of the workers' computing time: 1 when all have the same, one n-th when one has it all. */
  readonly fairness: number;
  /** Tokens a second of bulk work that was done beside. */
  readonly bulkTokensPerSecond: number;
  /** Share of all tokens that were computed once more, after an engine's memory had run out. */
  readonly wastedTokens: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

/** Sums up a run. */
export function measure(arrivals: readonly Arrival[], outcome: Outcome, engine: EngineSettings): Measures {
  let [good, scaledGood, prompts, cached, tokens] = [0, 0, 0, 0, 0];
  const [firstTokens, perTokens]: [number[], number[]] = [[], []];
  for (const [index, { inputTokens, outputTokens }] of arrivals.entries()) {
    const firstTokenMs = outcome.firstTokenMs[index] ?? Number.NaN;
    if (Number.isNaN(firstTokenMs)) continue;
    const decodingMs = (outcome.endMs[index] ?? Number.NaN) - firstTokenMs;
    const perTokenMs = outputTokens > 1 ? decodingMs / (outputTokens - 1) : 0;
    const isFast = perTokenMs <= TARGETS.perTokenMs;
    if (isFast && firstTokenMs <= TARGETS.firstTokenMs) good += 1;
    if (isFast && firstTokenMs <= scaledTargetMs(inputTokens, engine)) scaledGood += 1;
    prompts += inputTokens;
    cached += outcome.cachedTokens[index] ?? 0;
    tokens += inputTokens + outputTokens;
    firstTokens.push(firstTokenMs);
    if (outputTokens > 1) perTokens.push(perTokenMs);
  }
  return {
    requests: arrivals.length,
    refused: outcome.refused,
    goodput: good / arrivals.length,
    scaledGoodput: scaledGood / arrivals.length,
    firstTokenMs: percentiles(firstTokens),
    perTokenMs: percentiles(perTokens),
    prefixHitRate: cached / Math.max(1, prompts),
    utilisation: outcome.busyMs.reduce((sum, ms) => sum + ms, 0) / (outcome.busyMs.length * outcome.spanMs),
    fairness: jain(outcome.busyMs),
    bulkTokensPerSecond: (1_000 * outcome.bulkTokens) / Math.max(1, arrivals.at(-1)?.atMs ?? 0),
    wastedTokens: outcome.recomputedTokens / Math.max(1, tokens),
  };
}

function scaledTargetMs(inputTokens: number, engine: EngineSettings): number {
  return TARGETS.scaled.ms + TARGETS.scaled.times * aloneMs(inputTokens, engine);
}

/** Milliseconds that a prompt takes alone on an idle worker with an empty cache. */
export function aloneMs(inputTokens: number, { model, stepTokens }: { model: StepModel; stepTokens: number }): number {
  const whole = Math.floor(inputTokens / stepTokens);
  const rest = inputTokens - whole * stepTokens;
  // The chunks' half pairs of a prompt add up to the square of its length.
  const steps = whole * computeStepMs(model, stepTokens, 0, 0) + (rest > 0 ? computeStepMs(model, rest, 0, 0) : 0);
  return steps + computeStepMs(model, 0, 0, inputTokens ** 2) - computeStepMs(model, 0, 0, 0);
}

/**
 * How evenly a sum is shared: (Σx)² / (n·Σx²).
 * @see https://arxiv.org/abs/cs/9809099
 */
export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((all, share) => all + share, 0);
  const squares = shares.reduce((all, share) => all + share * share, 0);
  return squares === 0 ? 1 : sum ** 2 / (shares.length * squares);
}

function percentiles(values: readonly number[]): Percentiles {
  if (values.length === 0) return { p50: Number.NaN, p99: Number.NaN };
  return { p50: quantile(values, 0.5), p99: quantile(values, 0.99) };
}
