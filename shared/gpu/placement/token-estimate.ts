/** How many bytes of a prompt a token has: learnt by each function environment from the answers that it sees. */
export interface TokenEstimate {
  bytesPerToken(model: string): number;
  /** Learns from an answer's usage. */
  learn(model: string, promptBytes: number, inputTokens: number): void;
}

/** English prose in most vocabularies. */
const AT_FIRST = 4;
/** Chinese has about 2, indented code up to 8; what lies beyond these counts something else, images for instance. */
const BOUNDS = { least: 1, most: 10 };
/** Of each answer, so that about the last 20 count. */
const SHARE = 0.1;
/** In short prompts the chat template's own tokens outweigh the text's. */
const LEAST_TOKENS = 64;

export function createTokenEstimate(): TokenEstimate {
  const learnt = new Map<string, number>();
  return {
    bytesPerToken: (model) => learnt.get(model) ?? AT_FIRST,
    learn(model, promptBytes, inputTokens) {
      if (!(inputTokens >= LEAST_TOKENS) || !(promptBytes > 0)) return;
      const seen = Math.min(BOUNDS.most, Math.max(BOUNDS.least, promptBytes / inputTokens));
      const before = learnt.get(model);
      learnt.set(model, before === undefined ? seen : before + SHARE * (seen - before));
    },
  };
}
