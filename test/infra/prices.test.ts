import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { resolveModelsFile } from '../../infra/models-file.ts';
import { updatePrices } from '../../infra/prices.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';

const CLAUDE = {
  input_cost_per_token: 3e-6,
  output_cost_per_token: 1.5e-5,
  cache_read_input_token_cost: 3e-7,
  cache_creation_input_token_cost: 3.75e-6,
  cache_creation_input_token_cost_above_1hr: 6e-6,
  input_cost_per_token_batches: 1.5e-6,
  output_cost_per_token_batches: 7.5e-6,
};
const GPT = {
  input_cost_per_token: 1.75e-6,
  output_cost_per_token: 1.4e-5,
  input_cost_per_token_flex: 8.75e-7,
  output_cost_per_token_flex: 7e-6,
  cache_read_input_token_cost_flex: 8.75e-8,
};
const TABLE = {
  'eu.anthropic.claude-x': CLAUDE,
  'bedrock/us-west-2/openai.gpt-oss': { ...GPT, input_cost_per_token: 1e-7 },
  'openai.gpt-oss': GPT,
  'gpt-x': { ...GPT, input_cost_per_token_above_272k_tokens: 3e-6 },
  'deepseek/chat': { input_cost_per_token: 2.8e-7, output_cost_per_token: 4.2e-7, cache_creation_input_token_cost: 0 },
  'gpu-model': GPT,
  sample_spec: 'not a model',
};

function update(targets: Record<string, unknown>[], alias: object = {}) {
  const models = { a: { targets, ...alias } };
  const stamp = { source: 'LiteLLM 1', date: '2026-11-30' };
  const { text, findings } = updatePrices(JSON.stringify({ models }), TABLE, stamp);
  const prices = parseModelRegistry(text, 'test').models['a']?.targets.map(({ price }) => price);
  return { prices, results: findings.map(({ result }) => result) };
}

const bedrock = (model: string, fields: object = {}) => ({ provider: 'bedrock', model, ...fields });
const compatible = (model: string, host: string) => ({
  provider: 'openai-compatible',
  model,
  baseUrl: `https://${host}/v1`,
});

describe('npm run prices', () => {
  it('npm run prices writes the prices of a table, with their source and date', () => {
    const { prices, results } = update([bedrock('eu.anthropic.claude-x'), compatible('chat', 'api.deepseek.com')]);
    expect(prices).toEqual([
      {
        inputPerMillion: 3,
        outputPerMillion: 15,
        cacheReadPerMillion: 0.3,
        cacheWritePerMillion: 3.75,
        hourCacheWritePerMillion: 6,
        batch: { inputPerMillion: 1.5, outputPerMillion: 7.5 },
        source: 'LiteLLM 1',
        date: '2026-11-30',
      },
      { inputPerMillion: 0.28, outputPerMillion: 0.42, source: 'LiteLLM 1', date: '2026-11-30' },
    ]);
    expect(results).toEqual(['updated', 'updated']);
  });

  it('npm run prices prefers the price of the target’s region', () => {
    const { prices } = update([bedrock('openai.gpt-oss', { region: 'us-west-2' }), bedrock('openai.gpt-oss')]);
    expect(prices?.map((price) => price?.inputPerMillion)).toEqual([0.1, 1.75]);
    expect(prices?.[0]?.flex).toEqual({ inputPerMillion: 0.875, outputPerMillion: 7, cacheReadPerMillion: 0.0875 });
  });

  it('npm run prices replaces prices that have a date, but no others', () => {
    const dated = { inputPerMillion: 9, outputPerMillion: 9, date: '2020-01-01' };
    const own = { inputPerMillion: 1, outputPerMillion: 1 };
    const { prices, results } = update([
      bedrock('eu.anthropic.claude-x', { price: dated }),
      bedrock('eu.anthropic.claude-x', { price: own }),
    ]);
    expect(prices?.map((price) => price?.inputPerMillion)).toEqual([3, 1]);
    expect(results).toEqual(['updated', 'own price']);
    expect(update([bedrock('eu.anthropic.claude-x')], { price: own })).toEqual({
      prices: [undefined],
      results: ['own price'],
    });
  });

  it('npm run prices says which models the table doesn’t have, and which cost more for long prompts', () => {
    const { prices, results } = update([
      bedrock('other'),
      compatible('gpt-x', 'api.openai.com'),
      compatible('gpt-x', 'gpu.internal'),
    ]);
    expect(results).toEqual(['not in the table', 'more for long prompts', 'not in the table']);
    expect(prices?.map((price) => price?.inputPerMillion)).toEqual([undefined, 1.75, undefined]);
  });
});

it('the shipped models of Bedrock, OpenAI and DeepSeek have prices with their source and date', async () => {
  const { models } = parseModelRegistry(await readFile(resolveModelsFile({}), 'utf8'), 'models.json');
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  const sold = targets.filter(
    (target) =>
      target.provider === 'bedrock' ||
      (target.provider === 'openai-compatible' && /openai|deepseek/.test(target.baseUrl)),
  );
  expect(sold.length).toBeGreaterThan(5);
  for (const { price } of sold)
    expect(price).toMatchObject({ source: expect.stringMatching(/LiteLLM/), date: expect.any(String) });
});
