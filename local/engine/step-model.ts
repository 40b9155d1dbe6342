/**
 * How long one step of an engine with continuous batching takes. A step either waits for memory, which brings the weights
 * whatever the batch, or for arithmetic, which grows with it; the attention over what is cached comes on top.
 */
export interface StepModel {
  /** c: a step that waits for memory, with nothing in it. */
  readonly memoryBaseMs: number;
  /** d */
  readonly memoryMsPerToken: number;
  /** a: a step that waits for arithmetic, with nothing in it. */
  readonly computeBaseMs: number;
  /** b */
  readonly computeMsPerToken: number;
  /** e: reading one cached token's keys and values, microseconds. */
  readonly cacheReadUsPerToken: number;
  /** q: half a pair of a prompt's token and one before it, nanoseconds. */
  readonly attentionNsPerHalfPair: number;
  /** Tokens whose keys and values fit beside the weights. */
  readonly cacheTokens: number;
}

/**
 * Llama 3 8B in BF16 (16 GB of weights, 128 KiB of cache a token). For the H100 they are what its data sheet gives, at the
 * share of it that engines reach: 3.35 TB/s at about 70%, so 6.5 ms for the weights and 0.056 µs for a token's cache; 989
 * TFLOP/s at about 70% for the layers (16 GFLOP a token) and at 35% for attention (0.26 MFLOP a half pair); nine tenths of
 * its 80 GB less the weights. Those of the A10G are scaled from them to its 0.6 TB/s, 70 TFLOP/s and 24 GB: an estimate.
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
 * Milliseconds of a step: `max(c + d·n, a + b·n) + e·kvTokens + q·Σ(2k·done + k²)`.
 * @param batchTokens n: sequences that decode, one token each, and the tokens of all prefill chunks
 * @param cachedTokens kvTokens: the contexts of the sequences that decode, together
 * @param halfPairs the sum over prefill chunks of `chunkHalfPairs`
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
 * Attention that a chunk of a prompt costs: twice the pairs of its tokens with those before them.
 * @param tokens k: tokens of the chunk
 * @param before done: tokens of the prompt before it
 */
export function countHalfPairs(tokens: number, before: number): number {
  return 2 * tokens * before + tokens * tokens;
}
