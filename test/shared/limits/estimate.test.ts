import { describe, expect, it } from 'vitest';
import type { ServiceTier } from '../../../shared/inference/generation.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { listCaps } from '../../../shared/limits/caps.ts';
import { boundRequest, computeUsedAmounts } from '../../../shared/limits/estimate.ts';
import { makeRequest } from '../inference/requests.ts';

const PRICE = { inputPerMillion: 1, outputPerMillion: 10 };
const CAPS = listCaps({ key: { limits: { dollarsPerDay: 1 } } }, 'default', 'answers');

/** Returns the most that a request costs at a target, and what its longest answer costs at the tier `served`. */
function estimateSpend(target: object, serviceTier: ServiceTier | undefined, served: ServiceTier) {
  const models = { default: { targets: [{ provider: 'bedrock', model: 'm', price: PRICE, ...target }] } };
  const registry = parseModelRegistry(JSON.stringify({ models }), 'test');
  const request = makeRequest({ model: 'default', maxOutputTokens: 100, ...(serviceTier && { serviceTier }) });
  const { amounts } = boundRequest(request, registry, CAPS, undefined);
  const [alias] = Object.values(registry.models);
  const [first] = alias?.targets ?? [];
  if (alias === undefined || first === undefined) throw new Error('no target');
  const usage = {
    inputTokens: Number(amounts.inputTokens),
    outputTokens: 100,
    cachedInputTokens: 0,
    reasoningTokens: 0,
  };
  const candidate = { aliasName: 'default', alias, target: first, key: 'default/0' };
  const used = computeUsedAmounts({ candidate, usage, whole: true, serviceTier: served }, usage);
  return { most: amounts.spend, used: used.spend };
}

describe('the most that a request can cost', () => {
  const priority = { serviceTier: 'priority', price: { ...PRICE, priority: 1.75 } };

  it.each([undefined, 'auto'] as const)("is that of the target's own tier if the caller asks for %s", (requested) => {
    const { most, used } = estimateSpend(priority, requested, 'priority');
    expect(most).toBe(used);
  });

  it.each([undefined, 'auto'] as const)(
    'is that of priority if the caller asks for %s and the account at the provider may have it',
    (requested) => {
      const target = { provider: 'openai-compatible', baseUrl: 'https://x.example/v1', price: priority.price };
      const { most, used } = estimateSpend(target, requested, 'priority');
      expect(most).toBe(used);
    },
  );

  it("is that of the target's own tier if its model may not have the one that the caller asks for", () => {
    const { most, used } = estimateSpend(priority, 'flex', 'priority');
    expect(most).toBe(used);
  });

  it('is that of the default tier if the caller asks for it', () => {
    const { most, used } = estimateSpend(priority, 'default', 'default');
    expect(most).toBe(used);
  });

  it('is that of the default tier if the tier of the target is cheaper, because the provider may not serve at it', () => {
    const { most, used } = estimateSpend({ serviceTier: 'flex', price: { ...PRICE, flex: 0.5 } }, undefined, 'default');
    expect(most).toBe(used);
  });
});
