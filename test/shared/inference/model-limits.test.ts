import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { getAliasLimits, getLimits } from '../../../shared/inference/model-limits.ts';
import { limitOutput } from '../../../shared/inference/output-limit.ts';
import { type ModelRegistry, parseModelRegistry, resolveModel } from '../../../shared/inference/registry.ts';
import { makeRequest } from './requests.ts';

type Written = Record<string, unknown>;

function parse(models: Record<string, Written>, top: Written = {}): ModelRegistry {
  return parseModelRegistry(JSON.stringify({ models, ...top }), 'models.json');
}

function makeCandidate(target: Written, settings: Written = {}) {
  const registry = parse({ m: { targets: [target], ...settings } });
  const { alias } = resolveModel('m', registry);
  const [first] = alias.targets;
  if (first === undefined) throw new Error('The alias has no target');
  return { aliasName: 'm', alias, target: first, key: 'm/0' };
}

const bedrock = (model: string) => ({ provider: 'bedrock', model });
const compatible = (model: string, baseUrl = 'http://vllm.internal:8000/v1') => ({
  provider: 'openai-compatible',
  model,
  baseUrl,
});

describe('limits of models', () => {
  it.each([
    ['global.anthropic.claude-sonnet-4-6', 1_000_000, 64_000],
    ['eu.anthropic.claude-sonnet-4-5-20250929-v1:0', 200_000, 64_000],
    ['anthropic.claude-sonnet-4-20250514-v1:0', 200_000, 64_000],
    ['us.anthropic.claude-haiku-4-5-20251001-v1:0', 200_000, 64_000],
    ['us.anthropic.claude-opus-4-1-20250805-v1:0', 200_000, 32_000],
    ['anthropic.claude-opus-4-20250514-v1:0', 200_000, 32_000],
    ['us.anthropic.claude-opus-4-5-20251101-v1:0', 200_000, 64_000],
    ['global.anthropic.claude-opus-4-8', 1_000_000, 128_000],
    ['anthropic.claude-3-haiku-20240307-v1:0', 200_000, 4_096],
    ['us.amazon.nova-lite-v1:0', 300_000, 5_000],
    ['global.amazon.nova-2-lite-v1:0', 1_000_000, 64_000],
    ['openai.gpt-oss-120b-1:0', 128_000, 16_384],
  ])('the Bedrock model %s has its own limits', (model, contextTokens, maxOutputTokens) => {
    const { alias, target } = makeCandidate(bedrock(model));
    expect(getLimits(alias, target)).toEqual({ contextTokens, maxOutputTokens });
  });

  it('a model of unknown limits gets none, even if a model of this name has limits at another host', () => {
    for (const target of [bedrock('lambent.guide-v1:0'), compatible('gpt-5.2'), compatible('deepseek-chat')]) {
      const candidate = makeCandidate(target);
      expect(getLimits(candidate.alias, candidate.target)).toEqual({});
      expect(limitOutput(makeRequest(), candidate)).toEqual(makeRequest());
      expect(limitOutput(makeRequest({ maxOutputTokens: 500_000 }), candidate).maxOutputTokens).toBe(500_000);
    }
  });

  it('the settings of an alias replace the limits of its models', () => {
    const { alias, target } = makeCandidate(bedrock('anthropic.claude-sonnet-4-6'), { maxOutputTokens: 100 });
    expect(getLimits(alias, target)).toEqual({ contextTokens: 1_000_000, maxOutputTokens: 100 });
  });

  it('an alias has the lowest limits of its targets, and none that a target lacks', () => {
    const targets = [bedrock('us.amazon.nova-2-lite-v1:0'), compatible('gpt-5.2', 'https://api.openai.com/v1')];
    const { alias } = resolveModel('m', parse({ m: { targets } }));
    expect(getAliasLimits(alias)).toEqual({ contextTokens: 400_000, maxOutputTokens: 64_000 });
    const mixed = resolveModel('m', parse({ m: { targets: [...targets, compatible('x')] } })).alias;
    expect(getAliasLimits(mixed)).toEqual({});
  });
});

describe('the output limit of a call', () => {
  it('a request above the limit is lowered to it', () => {
    const candidate = makeCandidate(compatible('x'), { maxOutputTokens: 1_000 });
    expect(limitOutput(makeRequest({ maxOutputTokens: 32_000 }), candidate).maxOutputTokens).toBe(1_000);
    expect(limitOutput(makeRequest({ maxOutputTokens: 10 }), candidate).maxOutputTokens).toBe(10);
  });

  it('prompt and answer fit into a small context, whether the caller sets a limit or not', () => {
    const candidate = makeCandidate(compatible('x'), { contextTokens: 8_192, maxOutputTokens: 8_192 });
    const text = 'word '.repeat(2_000);
    const request = makeRequest({ messages: [{ role: 'user', content: [{ type: 'text', text }] }] });
    for (const each of [request, { ...request, maxOutputTokens: 32_000 }, { ...request, maxOutputTokens: 8_192 }]) {
      const { maxOutputTokens = 0 } = limitOutput(each, candidate);
      // 2,000 tokens by the estimate, and 25% more.
      expect(maxOutputTokens).toBeGreaterThan(5_000);
      expect(maxOutputTokens + 2_500).toBeLessThanOrEqual(8_192);
    }
    expect(limitOutput({ ...request, maxOutputTokens: 100 }, candidate).maxOutputTokens).toBe(100);
  });

  it('the limit is never above the caller’s and never below a small answer', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 0, max: 200_000 }),
        (requested, contextTokens, length) => {
          const candidate = makeCandidate(compatible('x'), { contextTokens });
          const content = [{ type: 'text' as const, text: 'x'.repeat(length) }];
          const request = makeRequest({ maxOutputTokens: requested, messages: [{ role: 'user', content }] });
          const { maxOutputTokens = Number.NaN } = limitOutput(request, candidate);
          expect(maxOutputTokens).toBeLessThanOrEqual(requested);
          expect(maxOutputTokens).toBeGreaterThanOrEqual(Math.min(requested, 256));
        },
      ),
    );
  });
});

describe('names of models', () => {
  const models = { default: { targets: [bedrock('a')] }, small: { targets: [bedrock('b')] } };

  it('a model that the file does not have is served by default', () => {
    expect(resolveModel('gpt-5.4', parse(models)).name).toBe('default');
    expect(resolveModel('small', parse(models)).name).toBe('small');
    expect(() => resolveModel('gpt-5.4', parse({ small: models.small }))).toThrow('does not exist');
  });

  it('the first pattern that matches decides, and without one the model does not exist', () => {
    const registry = parse(models, {
      patterns: { 'claude-*-haiku*': 'small', 'claude-*': 'default', 'a.b': 'small', 'aa*aa': 'small' },
    });
    const names = ['claude-3-haiku', 'claude-3-haiku-2024', 'claude-sonnet-4-6', 'a.b'];
    expect(names.map((name) => resolveModel(name, registry).name)).toEqual(['small', 'small', 'default', 'small']);
    for (const name of ['gpt-5.4', 'my-claude-3', 'axb', 'aaa', '', 'constructor', `claude-${'x'.repeat(500)}`])
      expect(() => resolveModel(name, registry)).toThrow('does not exist');
  });

  it('a pattern without a model is refused', () => {
    expect(() => parse(models, { patterns: { 'gpt-*': 'nope' } })).toThrow(
      'patterns.gpt-*: the model nope does not exist',
    );
  });

  it('a pattern with many stars is compared in time', () => {
    const registry = parse(models, { patterns: { [`${'*a'.repeat(90)}!`]: 'small' } });
    expect(() => resolveModel('a'.repeat(200), registry)).toThrow('does not exist');
  });
});
