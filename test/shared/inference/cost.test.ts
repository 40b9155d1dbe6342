import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { computeCost, formatDollars } from '../../../shared/inference/cost.ts';
import type { Usage } from '../../../shared/inference/generation.ts';
import type { Price } from '../../../shared/inference/price-schema.ts';
import { getCapabilities } from '../../../shared/inference/providers/providers.ts';
import { type OpenAICompatibleTarget, parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import { startUpstream } from '../../upstreams/openai-upstream.ts';
import type { Reply } from '../../upstreams/reply.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeModel } from './providers/openai-compatible/calls.ts';
import { collect, makeRequest } from './requests.ts';

const SONNET: Price = {
  inputPerMillion: 3,
  outputPerMillion: 15,
  cacheReadPerMillion: 0.3,
  cacheWritePerMillion: 3.75,
  hourCacheWritePerMillion: 6,
};
const NOTHING: Usage = { inputTokens: 0, cachedInputTokens: 0, outputTokens: 0, reasoningTokens: 0 };

const dollars = (usage: Partial<Usage>, price = SONNET, tier?: Parameters<typeof computeCost>[2]) =>
  formatDollars(computeCost({ ...NOTHING, ...usage }, price, tier));

describe('the cost of an answer', () => {
  it.each<[string, Partial<Usage>, string]>([
    ['plain input', { inputTokens: 1_000 }, '0.003'],
    ['output, with its reasoning', { outputTokens: 1_000, reasoningTokens: 900 }, '0.015'],
    ['reads', { inputTokens: 1_000, cachedInputTokens: 1_000 }, '0.0003'],
    ['writes', { inputTokens: 1_000, cacheWriteTokens: 1_000 }, '0.00375'],
    ['writes for an hour', { inputTokens: 1_000, cacheWriteTokens: 1_000, hourCacheWriteTokens: 400 }, '0.00465'],
    [
      'all of them',
      {
        inputTokens: 10_000,
        cachedInputTokens: 7_000,
        cacheWriteTokens: 2_000,
        hourCacheWriteTokens: 500,
        outputTokens: 1,
      },
      '0.01374',
    ],
    ['one token', { inputTokens: 1 }, '0.000003'],
    [
      'counts that are not whole numbers above 0',
      { inputTokens: Number.NaN, cachedInputTokens: 0.5, outputTokens: -3 },
      '0',
    ],
    ['fewer input tokens than were read', { inputTokens: 5, cachedInputTokens: 10 }, '0.000003'],
  ])('of %s is exact', (_, usage, expected) => {
    expect(dollars(usage)).toBe(expected);
  });

  it('reads and writes without a price cost as much as other input', () => {
    const price = { inputPerMillion: 0.15, outputPerMillion: 0.6 };
    const cached = { inputTokens: 900, cachedInputTokens: 300, cacheWriteTokens: 300, hourCacheWriteTokens: 100 };
    expect(dollars(cached, price)).toBe(dollars({ inputTokens: 900 }, price));
    const written = { ...price, cacheWritePerMillion: 0.3 };
    expect(dollars({ inputTokens: 10, cacheWriteTokens: 10, hourCacheWriteTokens: 10 }, written)).toBe('0.000003');
  });

  it('no more tokens are written for an hour than are written', () => {
    expect(dollars({ inputTokens: 100, cacheWriteTokens: 100, hourCacheWriteTokens: 300 })).toBe('0.0006');
  });

  it('a price that a factor makes of another one is rounded to the nearest picodollar', () => {
    expect(dollars({ inputTokens: 1 }, { inputPerMillion: 0.000003, outputPerMillion: 1, flex: 0.5 }, 'flex')).toBe(
      '0.000000000002',
    );
  });

  it('tiers cost a factor of the usual prices, or have their own', () => {
    const price: Price = {
      ...SONNET,
      batch: 0.5,
      priority: { inputPerMillion: 5.25, outputPerMillion: 26.25, cacheReadPerMillion: 0.525 },
    };
    const usage = { inputTokens: 2_000, cachedInputTokens: 1_000, outputTokens: 1_000 };
    expect(dollars(usage, price)).toBe('0.0183');
    expect(dollars(usage, price, 'batch')).toBe('0.00915');
    expect(dollars(usage, price, 'priority')).toBe('0.032025');
    for (const tier of ['default', 'auto', 'flex'] as const) expect(dollars(usage, price, tier)).toBe('0.0183');
  });

  it('the costs of answers add up to the cost of their usage, without a rounding error', () => {
    const count = fc.integer({ min: 0, max: 1_000_000 });
    const usage = fc.record({ inputTokens: count, outputTokens: count }).map((each) => ({ ...NOTHING, ...each }));
    const rate = fc.integer({ min: 0, max: 100_000_000 }).map((millionths) => millionths / 1e6);
    const price = fc.record({ inputPerMillion: rate, outputPerMillion: rate });
    fc.assert(
      fc.property(fc.array(usage, { minLength: 1 }), price, (usages, rates) => {
        const sum = usages.reduce((total, each) => total + computeCost(each, rates), 0n);
        const all = usages.reduce((total, { inputTokens, outputTokens }) => ({
          ...NOTHING,
          inputTokens: total.inputTokens + inputTokens,
          outputTokens: total.outputTokens + outputTokens,
        }));
        expect(sum).toBe(computeCost(all, rates));
        expect(Number(formatDollars(sum))).toBeCloseTo(Number(sum) / 1e12, 6);
      }),
    );
  });

  it('picodollars are formatted as dollars', () => {
    expect([0n, 1n, 10n ** 12n, 1_230_000_000_000n, 123_456_789n * 10n ** 12n].map(formatDollars)).toEqual([
      '0',
      '0.000000000001',
      '1',
      '1.23',
      '123456789',
    ]);
  });
});

describe('prices in the registry', () => {
  const parse = (price: object, targetPrice?: object) => {
    const target = { provider: 'bedrock', model: 'm', ...(targetPrice && { price: targetPrice }) };
    return parseModelRegistry(JSON.stringify({ models: { m: { targets: [target], price } } }), 'models.json');
  };
  const base = { inputPerMillion: 1, outputPerMillion: 2 };

  it.each<[object, string]>([
    [{ inputPerMillion: 1 }, 'models.m.price.outputPerMillion: is missing'],
    [
      { ...base, inputPerMillion: '3' },
      'models.m.price.inputPerMillion: must be 0 to 10000 US dollars for a million tokens, with at most six decimal places',
    ],
    [
      { ...base, cacheReadPerMillion: -1 },
      'models.m.price.cacheReadPerMillion: must be 0 to 10000 US dollars for a million tokens, with at most six decimal places',
    ],
    [
      { ...base, inputPerMillion: 1e5 },
      'models.m.price.inputPerMillion: must be 0 to 10000 US dollars for a million tokens, with at most six decimal places',
    ],
    [
      { ...base, inputPerMillion: 0.0000001 },
      'models.m.price.inputPerMillion: must be 0 to 10000 US dollars for a million tokens, with at most six decimal places',
    ],
    [{ ...base, flex: { inputPerMillion: 1 } }, 'models.m.price.flex.outputPerMillion: is missing'],
    [
      { ...base, flex: -0.5 },
      'models.m.price.flex: must be 0 to 100 times the usual price, with at most six decimal places',
    ],
    [{ ...base, batch: '50%' }, 'models.m.price.batch: Invalid type: Expected Object but received "50%"'],
    [{ ...base, cachedPerMillion: 1 }, 'models.m.price.cachedPerMillion: is not a field of this object'],
    [{ ...base, date: 'today' }, 'models.m.price.date: must be a date such as 2026-11-30'],
  ])('%j is refused', (price, message) => {
    expect(() => parse(price)).toThrow(message);
    expect(() => parse(base, price)).toThrow(message.replace('models.m.', 'models.m.targets.0.'));
  });
});

describe('reports', () => {
  const usage = {
    inputTokens: 1_000,
    cachedInputTokens: 600,
    cacheWriteTokens: 300,
    outputTokens: 10,
    reasoningTokens: 0,
  };

  async function report(alias: object, target: object = {}) {
    const targets = [{ provider: 'bedrock', model: 'anthropic.claude-x', ...target }];
    const registry = parseModelRegistry(JSON.stringify({ models: { default: { targets, ...alias } } }), 'test');
    const router = createRouter({
      registry,
      getCapabilities: () => new Set(),
      createModel: async () => ({
        async *generate() {
          yield { type: 'finish', reason: 'stop', usage, serviceTier: 'flex' };
        },
      }),
    });
    const telemetry = recordTelemetry();
    const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: false, telemetry };
    await collect((await router.generate(makeRequest(), call)).events);
    telemetry.logger.info('end');
    telemetry.metrics.flush();
    return Object.assign({}, ...telemetry.lines);
  }

  it('a request’s log line and metrics have what its answer cost in the tier that served it', async () => {
    const line = await report({ price: { ...SONNET, flex: 0.5 } });
    expect(line).toMatchObject({ costUsd: '0.0008775', cachedInputTokens: 600, cacheWriteTokens: 300 });
    expect(line).toMatchObject({ CostUsd: 0.0008775, CachedInputTokens: 600, InputTokens: 1_000, Model: 'default' });
  });

  it('the price of the target precedes that of the model', async () => {
    const price = { inputPerMillion: 1, outputPerMillion: 1 };
    expect(await report({ price: SONNET }, { price })).toMatchObject({ costUsd: '0.00101' });
  });

  it('no cost is reported without a price', async () => {
    const line = await report({});
    expect(line).not.toHaveProperty('costUsd');
    expect(line).not.toHaveProperty('CostUsd');
  });

  it('the log line has the sum of a repeated answer and its repetition by another target, each at its own price', async () => {
    const answer = (content: string): Reply => ({
      body: {
        choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 1_000, completion_tokens: 10, prompt_tokens_details: { cached_tokens: 600 } },
      },
    });
    const replies = [answer('no'), { status: 429, headers: { 'retry-after': '60' } }, answer('{"a":1}')];
    await using upstream = await startUpstream((_, index) => replies[index] ?? 'cut');
    const target = (model: string, price: Price) => ({
      ...{ provider: 'openai-compatible', baseUrl: upstream.baseUrl, model, price },
      capabilities: ['jsonSchema'],
    });
    const models = {
      default: { targets: [target('cheap', SONNET)], fallbacks: ['other'] },
      other: { targets: [target('dear', { inputPerMillion: 10, outputPerMillion: 50 })] },
    };
    const router = createRouter({
      registry: parseModelRegistry(JSON.stringify({ models }), 'test'),
      getCapabilities,
      createModel: async ({ target }) => makeModel(upstream.baseUrl, target as Partial<OpenAICompatibleTarget>),
    });
    const telemetry = recordTelemetry();
    const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
    const generation = await router.generate(
      makeRequest({ format: { type: 'jsonSchema', name: 'answer', schema, strict: true } }),
      { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: false, telemetry },
    );
    expect(generation.strict).toBe('repeated');
    expect((await collect(generation.events)).at(-1)).toMatchObject({
      usage: { inputTokens: 2_000, outputTokens: 20 },
    });
    expect(upstream.requests.map(({ body }) => (body as { model: string }).model)).toEqual(['cheap', 'cheap', 'dear']);
    telemetry.logger.info('end');
    telemetry.metrics.flush();
    // 400 × $3 + 600 × $0.30 + 10 × $15 for a million tokens, and 1,000 × $10 + 10 × $50
    const line = telemetry.lines.find(({ message }) => message === 'end');
    expect(line).toMatchObject({ costUsd: '0.01203', inputTokens: 2_000, cachedInputTokens: 1_200, outputTokens: 20 });
    const costs = telemetry.lines.filter((each) => 'CostUsd' in each);
    expect(costs.map(({ Model, CostUsd }) => [Model, CostUsd]).sort()).toEqual([
      ['default', 0.00153],
      ['other', 0.0105],
    ]);
  });
});
