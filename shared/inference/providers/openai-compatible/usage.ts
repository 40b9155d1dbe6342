import { isObject, omitUndefined } from '../../../core/objects.ts';
import type { Usage } from '../../generation.ts';
import { asCount, asObject, asObjects, type WireObject } from './wire.ts';

/** Token counts as an upstream reports them, before they are compared with each other. */
interface Counts {
  readonly input: number | undefined;
  readonly output: number | undefined;
  readonly total: number | undefined;
  readonly cached: number | undefined;
  readonly written: number | undefined;
  readonly writtenForHour: number | undefined;
  readonly reasoning: number | undefined;
  /** True for Anthropic's fields, whose input leaves out what was read from and written to the cache. */
  readonly leavesOutCache: boolean;
}

/**
 * Collects the usage of one answer from its chunks. Counts are cumulative: a later one replaces an earlier one. Upstreams
 * differ in where they report usage, in the names, and in what the counts include.
 */
export class UsageReader {
  #counts: Counts | undefined;

  read(chunk: WireObject): void {
    const usage = findUsage(chunk);
    if (usage === undefined) return;
    const counts = readCounts(usage);
    // Some upstreams send a last usage of zeros.
    if (this.#counts !== undefined && !counts.input && !counts.output && !counts.total) return;
    this.#counts = { ...this.#counts, ...(omitUndefined(counts) as Counts) };
  }

  /** Returns the usage; undefined if the upstream reported none, or not how many of the tokens were input. */
  get usage(): Usage | undefined {
    return this.#counts && toUsage(this.#counts);
  }
}

/** DeepSeek and OpenAI report usage at the top level, Groq in `x_groq`, Moonshot in the choice, Gemini by its own name. */
function findUsage(chunk: WireObject): WireObject | undefined {
  const places = [
    chunk['usage'],
    asObject(chunk['x_groq'])?.['usage'],
    ...asObjects(chunk['choices']).map((choice) => choice['usage']),
    chunk['usageMetadata'],
    chunk['usage_metadata'],
  ];
  return places.find(isObject);
}

function readCounts(usage: WireObject): Counts {
  const inputDetails = asObject(usage['prompt_tokens_details']) ?? asObject(usage['input_tokens_details']);
  const outputDetails = asObject(usage['completion_tokens_details']) ?? asObject(usage['output_tokens_details']);
  const creation = asObject(usage['cache_creation']);
  const writtenForHour = asCount(creation?.['ephemeral_1h_input_tokens']);
  const input = pick(usage, 'prompt_tokens', 'input_tokens', 'promptTokenCount', 'prompt_token_count');
  const anthropicCached = asCount(usage['cache_read_input_tokens']);
  const anthropicWritten =
    asCount(usage['cache_creation_input_tokens']) ??
    (creation && (asCount(creation['ephemeral_5m_input_tokens']) ?? 0) + (writtenForHour ?? 0));
  const hit = asCount(usage['prompt_cache_hit_tokens']);
  const miss = asCount(usage['prompt_cache_miss_tokens']);
  const visible = pick(usage, 'completion_tokens', 'output_tokens', 'candidatesTokenCount', 'candidates_token_count');
  const thoughts = pick(usage, 'thoughtsTokenCount', 'thoughts_token_count');
  return {
    input: input ?? (hit !== undefined && miss !== undefined ? hit + miss : undefined),
    output: thoughts === undefined ? visible : (visible ?? 0) + thoughts,
    total: pick(usage, 'total_tokens', 'totalTokenCount', 'total_token_count'),
    cached: firstCount(
      asCount(inputDetails?.['cached_tokens']),
      hit,
      asCount(usage['cached_tokens']),
      anthropicCached,
      pick(usage, 'cachedContentTokenCount', 'cached_content_token_count'),
    ),
    // OpenAI and OpenRouter report writes in the details, LiteLLM beside them under Anthropic's name.
    written: firstCount(
      inputDetails && pick(inputDetails, 'cache_write_tokens', 'cache_creation_tokens', 'cache_creation_input_tokens'),
      anthropicWritten,
    ),
    writtenForHour,
    reasoning: asCount(outputDetails?.['reasoning_tokens']) ?? asCount(usage['reasoning_tokens']) ?? thoughts,
    leavesOutCache:
      usage['prompt_tokens'] === undefined && (anthropicCached !== undefined || anthropicWritten !== undefined),
  };
}

function toUsage(counts: Counts): Usage | undefined {
  const { input, total, reasoning, cached = 0 } = counts;
  const fromCache = cached + (counts.written ?? 0);
  if (input === undefined) return undefined;
  const output = counts.output ?? Math.max(0, (total ?? 0) - input);
  // More reasoning than output can only be left out of it. With a total, the rest of the total shows it.
  const leftOut = total === undefined && reasoning !== undefined && reasoning > output ? reasoning : 0;
  const rest = Math.max(0, (total ?? 0) - input - output);
  const isCacheLeftOut =
    fromCache > 0 &&
    (cached > input ||
      (rest === fromCache && rest !== reasoning) ||
      (counts.leavesOutCache && (total === undefined || rest > 0)));
  const inputTokens = isCacheLeftOut ? input + fromCache : input;
  // Gemini and xAI count reasoning in the total, which they bill, but not in the completion.
  const uncounted = Math.max(isCacheLeftOut ? rest - fromCache : rest, leftOut);
  return {
    inputTokens,
    cachedInputTokens: cached,
    ...omitUndefined({ cacheWriteTokens: counts.written, hourCacheWriteTokens: counts.writtenForHour }),
    outputTokens: output + uncounted,
    reasoningTokens: reasoning ?? uncounted,
  };
}

/** Returns the first of the fields that has a count above 0, else a 0 if one has it. */
function pick(fields: WireObject, ...names: readonly string[]): number | undefined {
  return firstCount(...names.map((name) => asCount(fields[name])));
}

function firstCount(...counts: readonly (number | undefined)[]): number | undefined {
  return counts.find((count) => count !== undefined && count > 0) ?? counts.find((count) => count !== undefined);
}
