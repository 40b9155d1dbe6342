import { createHash } from 'node:crypto';
import type { PromptBlock } from './prompt-blocks.ts';

/** What a model reports of a prompt. As in Converse, `inputTokens` excludes what was read from or written to the cache. */
export interface PromptUsage {
  readonly inputTokens: number;
  readonly cacheReadInputTokens: number;
  readonly cacheWriteInputTokens: number;
  /** The tokens that were written, by the time for which they are kept. */
  readonly cacheDetails: readonly { readonly ttl: '5m' | '1h'; readonly inputTokens: number }[];
}

/**
 * The shortest prefix in tokens that a model caches, by the first pattern that matches. From Bedrock's guide, November 2026.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
 */
const MINIMUM_TOKENS: readonly (readonly [model: RegExp, tokens: number])[] = [
  [/claude-(?:fable|mythos|opus)-5/, 512],
  [/claude-mythos-preview|claude-opus-4-[567]|claude-haiku-4-5/, 4_096],
  [/claude-3-5-haiku/, 2_048],
  [/amazon\.nova/, 1_000],
];
const USUAL_MINIMUM = 1_024;

/**
 * How many blocks' ends are looked up from each point backwards, the point included. Only Claude looks back ("simplified
 * cache management"); other models look up the points alone.
 */
const LOOKBACK_BLOCKS = 20;

const LIFETIME_MS = { '5m': 5 * 60_000, '1h': 60 * 60_000 } as const;

interface Entry {
  readonly lifetimeMs: number;
  expiresAt: number;
}

/**
 * The prompt caches of the models. A cache point writes one entry: a hash of everything before it. Of the entries that
 * match a prompt, the longest is read, and its lifetime starts again. The blocks after it, up to the last point, are written.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
 */
export class PromptCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  /** @param now epoch milliseconds */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Reads and writes the cache for a prompt, and returns what is charged. */
  account(model: string, blocks: readonly PromptBlock[]): PromptUsage {
    const prefixes = hashPrefixes(model, blocks);
    const total = prefixes.at(-1)?.tokens ?? 0;
    const minimum = MINIMUM_TOKENS.find(([pattern]) => pattern.test(model))?.[1] ?? USUAL_MINIMUM;
    const points = blocks.flatMap(({ point }, index) => {
      const prefix = prefixes[index];
      return point !== undefined && prefix !== undefined && prefix.tokens >= minimum ? [{ ...prefix, ttl: point }] : [];
    });
    const hit = this.#findLongest(points, prefixes, model.includes('anthropic.claude') ? LOOKBACK_BLOCKS : 1);
    let covered = hit;
    const written = { '5m': 0, '1h': 0 };
    for (const { tokens, hash, ttl } of points) {
      if (tokens > covered) {
        written[ttl] += tokens - covered;
        covered = tokens;
      }
      const lifetimeMs = Math.max(LIFETIME_MS[ttl], this.#find(hash)?.lifetimeMs ?? 0);
      this.#entries.set(hash, { lifetimeMs, expiresAt: this.#now() + lifetimeMs });
    }
    return {
      inputTokens: total - covered,
      cacheReadInputTokens: hit,
      cacheWriteInputTokens: covered - hit,
      cacheDetails: (['1h', '5m'] as const).flatMap((ttl) =>
        written[ttl] > 0 ? [{ ttl, inputTokens: written[ttl] }] : [],
      ),
    };
  }

  /** Returns the tokens of the longest prefix that is cached, and restarts its lifetime. */
  #findLongest(points: readonly Prefix[], prefixes: readonly Prefix[], lookback: number): number {
    for (const { index } of points.toReversed()) {
      const candidates = prefixes.slice(Math.max(0, index + 1 - lookback), index + 1).reverse();
      for (const { hash, tokens } of candidates) {
        const entry = this.#find(hash);
        if (entry === undefined) continue;
        entry.expiresAt = this.#now() + entry.lifetimeMs;
        return tokens;
      }
    }
    return 0;
  }

  #find(hash: string): Entry | undefined {
    const entry = this.#entries.get(hash);
    if (entry === undefined || entry.expiresAt > this.#now()) return entry;
    this.#entries.delete(hash);
    return undefined;
  }
}

interface Prefix {
  readonly index: number;
  readonly hash: string;
  readonly tokens: number;
}

function hashPrefixes(model: string, blocks: readonly PromptBlock[]): Prefix[] {
  const hash = createHash('sha256').update(model);
  let size = 0;
  return blocks.map(({ text, size: own }, index) => {
    hash.update(`\0${text}`);
    size += own;
    return { index, hash: hash.copy().digest('base64url'), tokens: estimateTokens(size) };
  });
}

/** Average characters per token of English text. There is no tokenizer here, so usage is an estimate. */
export const CHARACTERS_PER_TOKEN = 4;

export function estimateTokens(characters: number): number {
  return Math.ceil(characters / CHARACTERS_PER_TOKEN);
}
