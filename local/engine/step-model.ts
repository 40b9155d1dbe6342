/**
 * The parameters that determine how long a step of an engine with continuous batching takes. A step is bound either by
 * memory bandwidth (reading the weights takes the same time for any batch) or by compute (which grows with the batch).
 * Attention over cached tokens is added.
 */
export interface StepModel {
  /** c: duration of an empty step that is bound by memory. */
  readonly memoryBaseMs: number;
  /** d: duration per token of a step that is bound by memory. */
  readonly memoryMsPerToken: number;
  /** a: duration of an empty step that is bound by compute. */
  readonly computeBaseMs: number;
  /** b: duration per token of a step that is bound by compute. */
  readonly computeMsPerToken: number;
  /** e: microseconds to read the keys and values of one cached token. */
  readonly cacheReadUsPerToken: number;
  /** q: nanoseconds of attention per half pair of a prompt token and an earlier one. */
  readonly attentionNsPerHalfPair: number;
  /** Tokens whose keys and values fit into the memory beside the weights. */
  readonly cacheTokens: number;
}

/**
 * Step models of Llama 3 8B in BF16 (16 GB of weights, 128 KiB of cache per token). The H100's values come from its
 * data sheet and the share of it that engines reach: 3.35 TB/s at about 70% gives 6.5 ms for the weights and 0.056 µs
 * for a token's cache; 989 TFLOP/s at about 70% for the layers (16 GFLOP per token) and at 35% for attention (0.26
 * MFLOP per half pair); the cache gets nine tenths of its 80 GB minus the weights. The A10G's values are estimates,
 * scaled to its 0.6 TB/s, 70 TFLOP/s and 24 GB.
 */
export const STEP_MODELS = {
  h100: {
    memoryBaseMs: 6.5,
    memoryMsPerToken: 0.004,
    computeBaseMs: 2,
    computeMsPerToken: 0.0235,
    cacheReadUsPerToken: 0.056,
    attentionNsPerHalfPair: 0.75,
    cacheTokens: 410_000,
  },
  a10g: {
    memoryBaseMs: 33,
    memoryMsPerToken: 0.05,
    computeBaseMs: 5,
    computeMsPerToken: 0.33,
    cacheReadUsPerToken: 0.31,
    attentionNsPerHalfPair: 7.5,
    cacheTokens: 36_000,
  },
} as const satisfies Readonly<Record<string, StepModel>>;

/**
 * Returns the milliseconds of a step: `max(c + d·n, a + b·n) + e·kvTokens + q·Σ(2k·done + k²)`.
 * @param batchTokens n: one token per decoding sequence, plus the tokens of all prefill chunks
 * @param cachedTokens kvTokens: the contexts of all decoding sequences together
 * @param halfPairs the sum of `countHalfPairs` over the prefill chunks
 */
export function computeStepMs(model: StepModel, batchTokens: number, cachedTokens: number, halfPairs: number): number {
  return (
    Math.max(
      model.memoryBaseMs + model.memoryMsPerToken * batchTokens,
      model.computeBaseMs + model.computeMsPerToken * batchTokens,
    ) +
    model.cacheReadUsPerToken * 1e-3 * cachedTokens +
    model.attentionNsPerHalfPair * 1e-6 * halfPairs
  );
}

/**
 * Returns the attention cost of a chunk of a prompt: twice the pairs of its tokens with earlier tokens.
 * @param tokens k: tokens of the chunk
 * @param before done: tokens of the prompt before the chunk
 */
export function countHalfPairs(tokens: number, before: number): number {
  return 2 * tokens * before + tokens * tokens;
}
