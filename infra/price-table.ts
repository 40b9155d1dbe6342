import { isObject, omitUndefined } from '../shared/core/objects.ts';
import type { Price } from '../shared/inference/price-schema.ts';
import type { Target } from '../shared/inference/registry.ts';

/** LiteLLM's table of prices: US dollars for a token, by its own names of models. */
export type PriceTable = Readonly<Record<string, unknown>>;

/** The price of a model in a table. */
export interface FoundPrice {
  readonly price: Price;
  /** True if long prompts cost more. `models.json` can't express that. */
  readonly costsMoreWhenLong: boolean;
}

/** LiteLLM's prefix of models, by the host that serves them. OpenAI's own have none. */
const PREFIXES: Readonly<Record<string, string>> = {
  'api.openai.com': '',
  'api.deepseek.com': 'deepseek/',
  'api.mistral.ai': 'mistral/',
  'api.groq.com': 'groq/',
  'openrouter.ai': 'openrouter/',
  'api.x.ai': 'xai/',
};

/** Returns the price of a target's model; undefined if the table doesn't have it. */
export function findPrice(target: Target, table: PriceTable): FoundPrice | undefined {
  const entry = listNames(target)
    .map((name) => table[name])
    .find(isObject);
  if (entry === undefined) return undefined;
  const usual = toRates(entry, '');
  if (usual === undefined) return undefined;
  const tiers = {
    batch: toRates(entry, '_batches'),
    flex: toRates(entry, '_flex'),
    priority: toRates(entry, '_priority'),
  };
  return {
    price: { ...usual, ...omitUndefined(tiers) },
    costsMoreWhenLong: Object.keys(entry).some((name) => /_above_\d+k_tokens/.test(name)),
  };
}

function listNames(target: Target): string[] {
  const { model } = target;
  if (target.provider === 'gpu') return [];
  if (target.provider === 'bedrock') {
    return [...(target.region === undefined ? [] : [`bedrock/${target.region}/${model}`]), model];
  }
  const prefix = PREFIXES[new URL(target.baseUrl).hostname];
  return prefix === undefined ? [] : [`${prefix}${model}`];
}

function toRates(entry: Readonly<Record<string, unknown>>, tier: string) {
  const perMillion = (name: string): number | undefined => {
    const price = entry[`${name}${tier}`];
    return typeof price === 'number' ? Number((price * 1e6).toFixed(6)) : undefined;
  };
  const inputPerMillion = perMillion('input_cost_per_token');
  const outputPerMillion = perMillion('output_cost_per_token');
  if (inputPerMillion === undefined || outputPerMillion === undefined) return undefined;
  return {
    inputPerMillion,
    outputPerMillion,
    ...omitUndefined({
      cacheReadPerMillion: perMillion('cache_read_input_token_cost'),
      // Some entries have 0 where their provider has no such cache.
      cacheWritePerMillion: perMillion('cache_creation_input_token_cost') || undefined,
      hourCacheWritePerMillion: perMillion('cache_creation_input_token_cost_above_1hr') || undefined,
    }),
  };
}
