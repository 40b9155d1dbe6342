import { expect, it } from 'vitest';
import { type ModelPermissions, type Policy, UNRESTRICTED } from '../../../shared/access/policy.ts';
import { createGovernedRouter } from '../../../shared/api/governed-router.ts';
import type { GenerationRequest } from '../../../shared/inference/generation.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createModerators } from '../../../shared/safety/moderation/create-moderators.ts';

const plain = { model: 'small' } as GenerationRequest;
const registry = parseModelRegistry(
  JSON.stringify({
    models: { small: { targets: [{ provider: 'bedrock', model: 'm' }] } },
    moderations: { default: { model: 'm', baseUrl: 'http://127.0.0.1:9' } },
  }),
  'models.json',
);
const answer = { events: (async function* () {})() };

async function generate(policy: Policy, request = plain): Promise<unknown> {
  const router = createGovernedRouter(
    { generate: async () => answer },
    {
      registry: { guardrails: {} },
      openVault: () => Promise.reject(new Error('not needed')),
      loadLimits: () => expect.unreachable(),
      loadModerators: async () => createModerators(registry, { secret: () => expect.unreachable() }),
    },
  );
  const options = { signal: new AbortController().signal, deadlineAt: 0, streamed: false };
  return router.generate(request, { ...options, caller: { tenant: 'acme', policy } });
}

const allow = (...models: string[]): { readonly models: ModelPermissions } => ({ models: { mode: 'allow', models } });
const deny = (...models: string[]): { readonly models: ModelPermissions } => ({ models: { mode: 'deny', models } });

it.each<Policy>([UNRESTRICTED, { project: allow('small') }, { project: deny('large'), key: allow('small', 'large') }])(
  'a model that every level permits is called: %j',
  async (policy) => {
    expect(await generate(policy)).toBe(answer);
  },
);

it.each<Policy>([
  { account: deny('small') },
  { project: allow() },
  { key: allow('large') },
  { project: allow('small'), key: deny('small') },
])('a model that one level does not permit is refused as if it did not exist: %j', async (policy) => {
  await expect(generate(policy)).rejects.toMatchObject({ code: 'model_not_found', param: 'model' });
});

it('a moderation model that the policy does not permit is refused as if it did not exist', async () => {
  const moderation = { model: 'omni', input: 'score', output: 'score' } as const;
  const moderated = { ...plain, moderation };
  const error = { code: 'model_not_found', message: expect.stringContaining('`default`') };
  await expect(generate({ key: allow('small') }, moderated)).rejects.toMatchObject(error);
});
