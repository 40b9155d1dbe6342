import { BoundedMap } from './bounded-map.ts';

/** Bytes of UTF-8 per token of English prose or code, in most vocabularies. */
const DEFAULT_BYTES_PER_TOKEN = 4;

/**
 * Estimates the tokens of a text from its bytes, without knowing the model. Scripts other than Latin have more bytes
 * per character and about as many tokens.
 */
export function estimateTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text, 'utf8') / DEFAULT_BYTES_PER_TOKEN);
}

/** Estimates bytes per token for each model, and learns them from the usage that its answers report. */
export interface TokenEstimator {
  /** Returns what was learned of the model, or 4. */
  getBytesPerToken(model: string): number;
  /** Learns from one answer: `promptBytes` of prompt were `inputTokens` tokens. */
  recordUsage(model: string, promptBytes: number, inputTokens: number): void;
}

/**
 * Chinese has about 2 bytes per token, indented code up to 8. Beyond these bounds the prompt isn't only text: it
 * contains images, for example.
 */
const BYTES_PER_TOKEN_RANGE = { min: 1, max: 10 };
/** Weight of the latest answer in the moving average: about the last 20 answers count. */
const SMOOTHING = 0.1;
/** In shorter prompts the chat template's own tokens outweigh the text's. */
const MIN_TOKENS = 64;
/** More models than `models.json` names; LoRA adapters count as models. */
const MAX_MODELS = 1_024;

/** Creates an estimator that starts at 4 bytes per token and keeps what it learns in memory. */
export function createTokenEstimator(): TokenEstimator {
  const learned = new BoundedMap<string, number>(MAX_MODELS);
  return {
    getBytesPerToken: (model) => learned.get(model) ?? DEFAULT_BYTES_PER_TOKEN,
    recordUsage(model, promptBytes, inputTokens) {
      if (!(inputTokens >= MIN_TOKENS) || !(promptBytes > 0)) return;
      const { min, max } = BYTES_PER_TOKEN_RANGE;
      const observed = Math.min(max, Math.max(min, promptBytes / inputTokens));
      const average = learned.get(model) ?? observed;
      learned.set(model, average + SMOOTHING * (observed - average));
    },
  };
}
