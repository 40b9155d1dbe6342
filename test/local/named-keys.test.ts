import { expect, it } from 'vitest';
import { describeMissing, keysIn, namedKeys } from '../../local/named-keys.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';

const upstream = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://api.example.com/v1' };
const registry = {
  models: {
    default: {
      targets: [{ ...upstream, apiKey: 'env:SHARED_KEY', headers: { 'x-org': 'env:ORG', 'x-plain': 'env' } }],
    },
    qwen: { targets: [{ provider: 'gpu', model: 'm', fleet: 'rack' }] },
    safe: { targets: [{ ...upstream, apiKey: 'ssm:/key' }] },
    open: { targets: [upstream] },
  },
  fleets: { rack: { apiKey: 'env:SHARED_KEY' }, cellar: {} },
};
const named = namedKeys(parseModelRegistry(JSON.stringify(registry), 'models.json'));

it('hands over the variables that models and fleets name, and no others', () => {
  const env = { SHARED_KEY: 'sk-1', ORG: 'acme', HOME: '/root' };
  expect(keysIn(env, named)).toEqual({ SHARED_KEY: 'sk-1', ORG: 'acme' });
  expect(describeMissing(env, named)).toEqual([]);
});

it('says of each that is not set, or empty, who needs it', () => {
  const env = { ORG: ' ' };
  expect(keysIn(env, named)).toEqual({});
  expect(describeMissing(env, named)).toEqual([
    "Keys: SHARED_KEY is not set. models.default and fleets.rack can't be asked without it: set it, and start again.",
    "Keys: ORG is not set. models.default can't be asked without it: set it, and start again.",
  ]);
});
