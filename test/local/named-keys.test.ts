import { expect, it } from 'vitest';
import { describeMissingKeys, findNamedKeys, selectNamedKeys } from '../../local/named-keys.ts';
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
const named = findNamedKeys(parseModelRegistry(JSON.stringify(registry), 'models.json'));

it('selectNamedKeys returns the variables that models and fleets name, and no others', () => {
  const env = { SHARED_KEY: 'sk-1', ORG: 'acme', HOME: '/root' };
  expect(selectNamedKeys(env, named)).toEqual({ SHARED_KEY: 'sk-1', ORG: 'acme' });
  expect(describeMissingKeys(env, named)).toEqual([]);
});

it('describeMissingKeys lists each unset or blank variable with the models and fleets that use it', () => {
  const env = { ORG: ' ' };
  expect(selectNamedKeys(env, named)).toEqual({});
  expect(describeMissingKeys(env, named)).toEqual([
    'Keys: SHARED_KEY is not set. Requests to models.default and fleets.rack fail until you set it and start again.',
    'Keys: ORG is not set. Requests to models.default fail until you set it and start again.',
  ]);
});
