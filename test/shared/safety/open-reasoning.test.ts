import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Policy, UNRESTRICTED } from '../../../shared/access/policy.ts';
import { createGovernedRouter } from '../../../shared/api/governed-router.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import type { ContinuationSeal } from '../../../shared/inference/continuation-seal.ts';
import { createContinuationSeal } from '../../../shared/inference/create-continuation-seal.ts';
import type { GenerationRequest, Message } from '../../../shared/inference/generation.ts';
import { sealContinuations } from '../../../shared/inference/sealed-model.ts';
import { collect, makeAnswer, makeRequest } from '../inference/requests.ts';
import { type Stores, startStores } from '../sessions/services.ts';

let stores: Stores;
let seal: ContinuationSeal;
beforeAll(async () => {
  stores = await startStores();
  seal = createContinuationSeal(async () => stores.vault);
});
afterAll(() => stores[Symbol.asyncDispose]());

const MASKED: Policy = { project: { personalData: { all: 'mask' } } };
const user = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });

/** A model that thinks its last message over, and signs its thoughts. Sends a request to it under a policy. */
async function send(policy: Policy, messages: readonly Message[], openVault = async () => stores.vault) {
  let sent: GenerationRequest | undefined;
  const model = sealContinuations(
    {
      managesOwnHealth: true,
      async *generate(request) {
        sent = request;
        const last = request.messages.at(-1)?.content.at(-1);
        const text = `Thinking of ${last?.type === 'text' ? last.text : ''}`;
        yield { type: 'reasoning', text };
        const data = { family: 'claude', text, signature: Buffer.alloc(96, text).toString('base64') };
        yield { type: 'reasoningEnd', continuation: { provider: 'bedrock', data } };
        yield* makeAnswer('Yes');
      },
    },
    seal,
  );
  const generate = async (request: GenerationRequest) => ({
    events: model.generate(request, { signal: new AbortController().signal, streamed: true }),
  });
  const router = createGovernedRouter(
    { generate },
    {
      registry: { guardrails: {} },
      openVault,
      loadLimits: () => expect.unreachable(),
      loadModerators: () => expect.unreachable(),
    },
  );
  const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: true };
  const { events } = await router.generate(makeRequest({ messages }), { ...call, caller: { tenant: 'acme', policy } });
  const answer = await collect(events);
  const end = answer.find((event) => event.type === 'reasoningEnd');
  if (end?.continuation === undefined) throw new Error('no continuation');
  const turn: Message = {
    role: 'assistant',
    content: [{ type: 'reasoning', text: '', continuation: end.continuation }],
  };
  return { sent, turn };
}

const QUESTION = 'the falcon of ada@example.com';

it('reasoning that was sealed before there was a rule is checked by the rule', async () => {
  const { turn } = await send(UNRESTRICTED, [user(QUESTION)]);
  const policy: Policy = { project: { contentRules: [{ id: 'codename', terms: ['falcon'] }] } };
  await expect(send(policy, [turn, user('Go on')])).rejects.toMatchObject({ code: 'content_filter' });
  await send(UNRESTRICTED, [turn, user('Go on')]);
});

it('an unsealed record is checked by the rule, but not a signature in it', async () => {
  const policy: Policy = { project: { contentRules: [{ id: 'codename', terms: ['falcon'] }] } };
  const record = (data: object): Message => ({
    role: 'assistant',
    content: [{ type: 'reasoning', text: '', continuation: { provider: 'bedrock', data } }],
  });
  const signature = `${'A'.repeat(64)}falcon`;
  await send(policy, [record({ text: 'crane', signature }), user('Go on')]);
  for (const data of [{ text: 'falcon', signature }, { text: signature }, { signature: 'a falcon' }])
    await expect(send(policy, [record(data), user('Go on')])).rejects.toMatchObject({ code: 'content_filter' });
});

it('a value in reasoning that was sealed before it was masked reaches no model', async () => {
  const { turn } = await send(UNRESTRICTED, [user(QUESTION)]);
  const { sent } = await send(MASKED, [turn, user('Go on')]);
  expect(JSON.stringify(sent)).not.toContain('ada@example.com');
  expect(sent?.messages[0]?.content).toEqual([
    { type: 'reasoning', text: expect.stringMatching(/^Thinking of the falcon of EMAIL-/) },
  ]);
  const refused: Policy = { key: { personalData: { all: 'refuse' } } };
  await expect(send(refused, [turn, user('Go on')])).rejects.toMatchObject({ code: 'content_filter' });
});

it('reasoning about masked values is returned as it was signed, and the values keep their placeholders', async () => {
  const first = await send(MASKED, [user(QUESTION)]);
  const { sent } = await send(MASKED, [user(QUESTION), first.turn, user('Go on')]);
  const [question, reasoning] = sent?.messages ?? [];
  expect(question).toEqual(first.sent?.messages[0]);
  const part = reasoning?.content[0];
  expect(part).toMatchObject({ continuation: { data: { text: expect.stringContaining('falcon of EMAIL-') } } });
});

it('a request with sealed reasoning fails if the vault does', async () => {
  const { turn } = await send(UNRESTRICTED, [user(QUESTION)]);
  const openVault = () => Promise.reject(new LambentError('vault_unavailable', 'down'));
  await expect(send(MASKED, [turn, user('Go on')], openVault)).rejects.toMatchObject({ code: 'vault_unavailable' });
});

it('sealed reasoning that was changed is left out', async () => {
  const { turn } = await send(UNRESTRICTED, [user(QUESTION)]);
  const [part] = turn.content;
  if (part?.type !== 'reasoning' || part.continuation === undefined) throw new Error('no continuation');
  const changed = {
    ...part,
    continuation: { ...part.continuation, data: `${String(part.continuation.data).slice(0, -4)}AAAA` },
  };
  const { sent } = await send(MASKED, [{ role: 'assistant', content: [changed] }, user('Go on')]);
  expect(sent?.messages[0]?.content).toEqual([{ type: 'reasoning', text: '' }]);
});
