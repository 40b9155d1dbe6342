import { estimateTokens } from '../core/token-estimate.ts';
import type { Candidate } from '../inference/candidates.ts';
import { computeCost, type PriceTier } from '../inference/cost.ts';
import type { EmbeddingRequest } from '../inference/embedding.ts';
import type { GenerationRequest, Usage } from '../inference/generation.ts';
import { getLimits } from '../inference/model-limits.ts';
import type { EndedAnswer } from '../inference/observe.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import { expandFallbacks, type ModelRegistry, type Target } from '../inference/registry.ts';
import { type Amounts, addConsumption, type Cap, type Consumption, isSoft, NO_CONSUMPTION } from './caps.ts';

/** Share of the estimated prompt that is added to it, because dense text has more tokens than the estimate. */
const MARGIN = 0.25;
/** Most tokens of an answer if neither the request nor the model has a limit. */
const DEFAULT_ANSWER_TOKENS = 4_096;
/** An answer whose request names no maximum may take this share of the lowest limit on tokens. */
const SHARE = 4n;

/** A request whose use is bounded. */
export interface BoundedRequest {
  /** With a maximum of output tokens, if tokens or money are limited. */
  readonly request: GenerationRequest;
  /** The most that the request can use if each target is tried once. */
  readonly amounts: Amounts;
  readonly boundAttempt: BoundAttempt;
  /** True if a second answer of the same target may follow one that breaks its schema. */
  readonly isRepeatable: boolean;
}

/** Returns the most that one attempt at a target can use. */
export type BoundAttempt = (candidate: Pick<Candidate, 'alias' | 'target'>) => AttemptBounds;

/** The most that one attempt can use. */
export interface AttemptBounds {
  /** The prompt alone, as estimated. */
  readonly prompt: Consumption;
  /** The prompt and the longest answer. */
  readonly longest: Consumption;
}

/**
 * Estimates the most that a request can use: its prompt at each target, because all but the last may be given up without an answer
 * and charge for the prompt, and the longest answer of the most expensive target. An answer that is checked against a schema counts
 * twice, because it may be repeated.
 * @throws LambentError `model_not_found`
 */
export function boundRequest(
  request: GenerationRequest,
  registry: ModelRegistry,
  caps: readonly Cap[],
  answerTokens: number | undefined,
): BoundedRequest {
  const requests = 1n;
  const isRepeatable = mayRepeat(request);
  if (!caps.some(({ metric }) => metric === 'tokens' || metric === 'spend')) {
    const bounds = { prompt: NO_CONSUMPTION, longest: NO_CONSUMPTION };
    return { request, amounts: { requests, ...NO_CONSUMPTION }, boundAttempt: () => bounds, isRepeatable };
  }
  const candidates = listTargets(request.model, registry);
  const inputTokens = estimateInput(estimatePromptTokens(request));
  const outputTokens = request.maxOutputTokens ?? chooseMaximum(candidates, caps, answerTokens);
  const isBounded = caps.some((cap) => (cap.metric === 'tokens' || cap.metric === 'spend') && !isSoft(cap));
  const tries = isRepeatable ? 2n : 1n;
  const boundAttempt: BoundAttempt = (candidate) => {
    const bound = (answerTokens: number): Consumption => ({
      inputTokens: BigInt(inputTokens),
      outputTokens: BigInt(answerTokens),
      spend: computeHighestCost({ inputTokens, outputTokens: answerTokens }, candidate, request.serviceTier),
    });
    // A target's own limit may be lower than what the caller asks for.
    const { maxOutputTokens = outputTokens } = getLimits(candidate.alias, candidate.target);
    return { prompt: bound(0), longest: bound(Math.min(outputTokens, maxOutputTokens)) };
  };
  const bounds = candidates.map(boundAttempt);
  const longest = findHighest(bounds.map((each) => each.longest.outputTokens));
  // Of each target, the prompt; of one of them, its answer.
  const prompts = bounds.reduce((sum, { prompt }) => sum + prompt.spend, 0n);
  const spend = prompts + findHighest(bounds.map(({ prompt, longest }) => longest.spend - prompt.spend));
  return {
    // An alert doesn't shorten answers.
    request:
      isBounded && request.maxOutputTokens === undefined
        ? { ...request, maxOutputTokens: outputTokens, isMaxChosen: true }
        : request,
    boundAttempt,
    isRepeatable,
    amounts: {
      requests,
      inputTokens: tries * BigInt(candidates.length) * BigInt(inputTokens),
      outputTokens: tries * longest,
      spend: tries * spend,
    },
  };
}

/**
 * Estimates the most that a request for embeddings can use: its inputs at each target.
 * @throws LambentError `model_not_found`
 */
export function boundEmbedding(
  { model, inputs }: EmbeddingRequest,
  registry: ModelRegistry,
): Pick<BoundedRequest, 'amounts' | 'boundAttempt'> {
  const tokens = inputs.reduce((sum, each) => sum + (typeof each === 'string' ? estimateTokens(each) : each.length), 0);
  const inputTokens = estimateInput(tokens);
  const boundAttempt: BoundAttempt = (candidate) => {
    const spend = computeHighestCost({ inputTokens, outputTokens: 0 }, candidate, undefined);
    const prompt = { inputTokens: BigInt(inputTokens), outputTokens: 0n, spend };
    return { prompt, longest: prompt };
  };
  const all = listTargets(model, registry).map((each) => boundAttempt(each).prompt);
  return { boundAttempt, amounts: { requests: 1n, ...all.reduce(addConsumption, NO_CONSUMPTION) } };
}

/** Returns what an answer has used. `usage` replaces what the provider has not reported. */
export function computeUsedAmounts({ candidate, serviceTier }: EndedAnswer, usage: Usage): Consumption {
  const price = candidate.target.price ?? candidate.alias.price;
  return {
    inputTokens: toCount(usage.inputTokens),
    outputTokens: toCount(usage.outputTokens),
    spend: price === undefined ? 0n : computeCost(usage, price, serviceTier),
  };
}

function toCount(tokens: number): bigint {
  return Number.isSafeInteger(tokens) && tokens > 0 ? BigInt(tokens) : 0n;
}

function estimateInput(tokens: number): number {
  return Math.ceil(tokens * (1 + MARGIN));
}

function listTargets(model: string, registry: ModelRegistry): Pick<Candidate, 'alias' | 'target'>[] {
  return expandFallbacks(model, registry).flatMap((name) => {
    const alias = registry.models[name];
    return alias === undefined ? [] : alias.targets.map((target) => ({ alias, target }));
  });
}

/** Chooses the maximum of an answer whose request names none: what the model has, but not all that the caller may use. */
function chooseMaximum(
  candidates: readonly Pick<Candidate, 'alias' | 'target'>[],
  caps: readonly Cap[],
  answerTokens: number | undefined,
): number {
  const ofModels = findLongest(candidates);
  if (answerTokens !== undefined) return Math.min(ofModels, answerTokens);
  const tokens = caps.filter(({ metric }) => metric === 'tokens').map(({ max }) => Number(max / SHARE));
  return Math.max(1, Math.min(ofModels, ...tokens));
}

function findLongest(candidates: readonly Pick<Candidate, 'alias' | 'target'>[]): number {
  return Math.max(
    ...candidates.map(({ alias, target }) => getLimits(alias, target).maxOutputTokens ?? DEFAULT_ANSWER_TOKENS),
  );
}

/**
 * Returns the most tokens that an answer of a model, or of one of its fallbacks, can have.
 * @throws LambentError `model_not_found`
 */
export function findLongestAnswer(model: string, registry: ModelRegistry): number {
  return findLongest(listTargets(model, registry));
}

/** True if a second answer may follow one that breaks its schema. */
function mayRepeat({ format, tools }: GenerationRequest): boolean {
  return (format.type === 'jsonSchema' && format.strict) || tools.some(({ strict }) => strict);
}

/** Returns the most that tokens can cost: all of the prompt may be written to the cache, at a tier that the provider chooses. */
function computeHighestCost(
  { inputTokens, outputTokens }: Pick<Usage, 'inputTokens' | 'outputTokens'>,
  { alias, target }: Pick<Candidate, 'alias' | 'target'>,
  requested: GenerationRequest['serviceTier'],
): bigint {
  const price = target.price ?? alias.price;
  if (price === undefined) return 0n;
  const plain: Usage = { inputTokens, outputTokens, cachedInputTokens: 0, reasoningTokens: 0 };
  const inputs = [
    plain,
    { ...plain, cacheWriteTokens: inputTokens },
    { ...plain, cacheWriteTokens: inputTokens, hourCacheWriteTokens: inputTokens },
  ];
  const costs = inputs.flatMap((usage) => listTiers(requested, target).map((tier) => computeCost(usage, price, tier)));
  return findHighest(costs);
}

/**
 * Lists the tiers that may serve a request: also the target's own, which replaces one that its model doesn't sell. If a request names
 * no tier, the account at a provider other than Bedrock may have `priority` as its own.
 */
function listTiers(requested: GenerationRequest['serviceTier'], target: Target): PriceTier[] {
  const tiers: (PriceTier | undefined)[] = ['default', requested];
  if (requested !== 'default' && 'serviceTier' in target) tiers.push(target.serviceTier);
  if ((requested ?? 'auto') === 'auto' && target.provider !== 'bedrock') tiers.push('priority');
  return tiers.filter((tier) => tier !== undefined);
}

function findHighest(amounts: readonly bigint[]): bigint {
  return amounts.reduce((most, each) => (each > most ? each : most), 0n);
}
