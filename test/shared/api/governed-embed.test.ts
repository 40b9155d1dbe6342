import { expect, it } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import { createGovernedEmbed } from '../../../shared/api/governed-embed.ts';
import type { EmbeddingInput } from '../../../shared/inference/embedding.ts';
import { OPTIONS } from '../safety/answers.ts';

/** Embeds inputs under a policy. Returns those that reach the model. */
async function embed(policy: Policy, inputs: readonly EmbeddingInput[]): Promise<readonly EmbeddingInput[]> {
  let sent: readonly EmbeddingInput[] = [];
  const governed = createGovernedEmbed(
    async (request) => {
      sent = request.inputs;
      return { vectors: [], inputTokens: 0 };
    },
    {
      registry: { guardrails: { strict: { id: 'abc123', version: '1' } } },
      loadLimits: () => Promise.reject(new Error('not needed')),
    },
  );
  const request = { tenant: 'acme', model: 'vectors', inputs, encoding: 'float' } as const;
  await governed(request, { ...OPTIONS, caller: { tenant: 'acme', keyId: 'key_1', policy } });
  return sent;
}

const RULE = { id: 'codename', terms: ['falcon'] };
const TOKENS = [[1, 2, 3]];

it.each<[string, Policy]>([
  ['rules', { project: { contentRules: [{ ...RULE, on: 'output' }] } }],
  ['a guardrail', { project: { guardrail: { name: 'strict', on: 'output' } } }],
])('token arrays are embedded under %s for answers only', async (_, policy) => {
  expect(await embed(policy, TOKENS)).toEqual(TOKENS);
});

it.each<[string, Policy]>([
  [
    'a rule for both sides',
    {
      project: {
        contentRules: [
          { ...RULE, on: 'output' },
          { ...RULE, id: 'other' },
        ],
      },
    },
  ],
  ['a rule for requests', { account: { contentRules: [{ ...RULE, on: 'input' }] } }],
  ['a guardrail for both sides', { key: { guardrail: { name: 'strict' } } }],
])('token arrays are refused under %s', async (_, policy) => {
  await expect(embed(policy, TOKENS)).rejects.toMatchObject({ code: 'invalid_value', param: 'input' });
});
