import { computeStepMs, type StepModel } from '../../../local/engine/step-model.ts';
import { computeQuantile } from '../../measure/statistics.ts';
import type { EngineSettings } from './fleet.ts';
import type { Outcome } from './simulate.ts';
import type { Arrival } from './workload.ts';

/** Targets of a good answer. */
export const TARGETS = {
  /** Maximum milliseconds to the first token, for every prompt length. */
  firstTokenMs: 5_000,
  /** Maximum milliseconds per later token, averaged over the answer. */
  perTokenMs: 100,
  /** Length-scaled target: a base, plus a multiple of the prompt's time on an idle worker with an empty cache. */
  scaled: { ms: 1_000, times: 2 },
} as const;

/**
 * Results of one run. Shares are from 0 to 1. Refused requests count as bad answers; percentiles and the hit rate are
 * those of the served ones.
 */
export interface Measures {
  readonly requests: number;
  readonly refused: number;
  /** Share of answers whose first and later tokens met their targets. */
  readonly goodput: number;
  /** Share of answers that met the length-scaled target for the first token and the target for later tokens. */
  readonly scaledGoodput: number;
  readonly firstTokenMs: Percentiles;
  readonly perTokenMs: Percentiles;
  /** Share of the served prompt tokens that were cached. */
  readonly prefixHitRate: number;
  /** Share of the time in which workers computed, averaged over workers. */
  readonly utilisation: number;
  /** Jain's index of the workers' computing time: 1 if all are equal, 1/n if one worker has it all. */
  readonly fairness: number;
  /** Tokens per second of the bulk work beside chat. */
  readonly bulkTokensPerSecond: number;
  /** Share of all tokens that were recomputed after an engine ran out of memory. */
  readonly wastedTokens: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

/** Returns the measures of a run. */
export function computeMeasures(arrivals: readonly Arrival[], outcome: Outcome, engine: EngineSettings): Measures {
  let [good, scaledGood, prompts, cached, tokens] = [0, 0, 0, 0, 0];
  const [firstTokens, perTokens]: [number[], number[]] = [[], []];
  for (const [index, { inputTokens, outputTokens }] of arrivals.entries()) {
    const firstTokenMs = outcome.firstTokenMs[index] ?? Number.NaN;
    if (Number.isNaN(firstTokenMs)) continue;
    const decodingMs = (outcome.endMs[index] ?? Number.NaN) - firstTokenMs;
    const perTokenMs = outputTokens > 1 ? decodingMs / (outputTokens - 1) : 0;
    const isFast = perTokenMs <= TARGETS.perTokenMs;
    if (isFast && firstTokenMs <= TARGETS.firstTokenMs) good += 1;
    if (isFast && firstTokenMs <= computeScaledTargetMs(inputTokens, engine)) scaledGood += 1;
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
    firstTokenMs: computePercentiles(firstTokens),
    perTokenMs: computePercentiles(perTokens),
    prefixHitRate: cached / Math.max(1, prompts),
    utilisation: outcome.busyMs.reduce((sum, ms) => sum + ms, 0) / (outcome.busyMs.length * outcome.spanMs),
    fairness: computeJainIndex(outcome.busyMs),
    bulkTokensPerSecond: (1_000 * outcome.bulkTokens) / Math.max(1, arrivals.at(-1)?.atMs ?? 0),
    wastedTokens: outcome.recomputedTokens / Math.max(1, tokens),
  };
}

function computeScaledTargetMs(inputTokens: number, engine: EngineSettings): number {
  return TARGETS.scaled.ms + TARGETS.scaled.times * computeAloneMs(inputTokens, engine);
}

/** Returns the milliseconds that a prompt takes on an idle worker with an empty cache. */
export function computeAloneMs(
  inputTokens: number,
  { model, stepTokens }: { model: StepModel; stepTokens: number },
): number {
  const whole = Math.floor(inputTokens / stepTokens);
  const rest = inputTokens - whole * stepTokens;
  // The half pairs of attention of all chunks add up to the square of the length.
  const steps = whole * computeStepMs(model, stepTokens, 0, 0) + (rest > 0 ? computeStepMs(model, rest, 0, 0) : 0);
  return steps + computeStepMs(model, 0, 0, inputTokens ** 2) - computeStepMs(model, 0, 0, 0);
}

/**
 * Returns Jain's fairness index: (Σx)² / (n·Σx²).
 * @see https://arxiv.org/abs/cs/9809099
 */
export function computeJainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((all, share) => all + share, 0);
  const squares = shares.reduce((all, share) => all + share * share, 0);
  return squares === 0 ? 1 : sum ** 2 / (shares.length * squares);
}

function computePercentiles(values: readonly number[]): Percentiles {
  if (values.length === 0) return { p50: Number.NaN, p99: Number.NaN };
  return { p50: computeQuantile(values, 0.5), p99: computeQuantile(values, 0.99) };
}
