import { expect, it } from 'vitest';
import { createBedrockModel } from '../../../../../shared/inference/providers/bedrock/bedrock.ts';
import { getBedrockCapabilities } from '../../../../../shared/inference/providers/bedrock/family.ts';
import { parseModelRegistry, type Target } from '../../../../../shared/inference/registry.ts';
import { createRouter } from '../../../../../shared/inference/router.ts';
import { parseChatRequest } from '../../../../../shared/openai/chat/request.ts';
import { collect } from '../../requests.ts';
import { makeTarget, startUpstreamForTests } from './upstream.ts';

const CLAUDE = 'global.anthropic.claude-sonnet-4-6';
const GPT_OSS = 'openai.gpt-oss-120b-1:0';
const NOVA = 'amazon.nova-pro-v1:0';

const upstream = await startUpstreamForTests();

/** Sends a chat request to an alias of one model with a fallback to another, and returns the models that were called. */
async function ask(model: string, fallback: string | undefined, body: object, settings = {}): Promise<string[]> {
  const toAlias = (name: string) => ({ ...settings, targets: [{ provider: 'bedrock', model: name }] });
  const models =
    fallback === undefined
      ? { m: toAlias(model) }
      : { m: { ...toAlias(model), fallbacks: ['other'] }, other: toAlias(fallback) };
  const registry = parseModelRegistry(JSON.stringify({ models }), 'test');
  const toBedrock = ({ model: name }: Target) => makeTarget({ model: name });
  const router = createRouter({
    registry,
    createModel: async ({ target }) => createBedrockModel(toBedrock(target), upstream.client, { maxOutputTokens: 100 }),
    getCapabilities: (target) => getBedrockCapabilities(toBedrock(target)),
  });
  const messages = [{ role: 'user', content: 'Weather in Oslo?' }];
  const { generation, streamed } = parseChatRequest({ model: 'm', messages, ...body }, { registry, tenant: 'acme' });
  const options = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed };
  await collect((await router.generate(generation, options)).events);
  return upstream.calls.map(({ modelId }) => modelId);
}

const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } }];
const closed = { type: 'object', properties: {}, additionalProperties: false };
const loose = { type: 'object', properties: { a: { type: 'integer' } } };

it.each([
  ['stop', CLAUDE, NOVA, { stop: ['\n'] }],
  ['top_p', CLAUDE, NOVA, { temperature: 0.5, top_p: 0.5 }],
  ['temperature', 'eu.anthropic.claude-opus-4-7', NOVA, { temperature: 0.5 }],
])('a request whose %s is refused by %s is answered by its fallback', async (param, model, fallback, body) => {
  expect(await ask(model, fallback, body)).toEqual([fallback]);
  upstream.calls.length = 0;
  await expect(ask(model, undefined, body)).rejects.toMatchObject({ code: 'unsupported_value', param });
  expect(upstream.calls).toEqual([]);
});

it('a strict schema whose limits the grammar lacks is checked after the answer, or refused by setting', async () => {
  const makeBody = (rating: object) => {
    const schema = { type: 'object', properties: { rating }, required: ['rating'], additionalProperties: false };
    return { response_format: { type: 'json_schema', json_schema: { name: 'a', strict: true, schema } } };
  };
  const limited = makeBody({ type: 'integer', maximum: 5 });
  // The stand-in's answer is no JSON.
  await expect(ask(CLAUDE, undefined, limited)).rejects.toMatchObject({ code: 'output_mismatch' });
  expect(upstream.calls).toHaveLength(2);
  upstream.calls.length = 0;
  await expect(ask(CLAUDE, undefined, limited, { strictOutput: 'refuse' })).rejects.toMatchObject({
    code: 'unsupported_value',
    param: 'response_format',
  });
  expect(upstream.calls).toEqual([]);
  // What the grammar enforces needs no check.
  expect(await ask(CLAUDE, undefined, makeBody({ type: 'integer' }), { strictOutput: 'refuse' })).toEqual([CLAUDE]);
});

it('a tool call that is only asked for in the prompt is checked, or refused by setting', async () => {
  const named = { tools, tool_choice: { type: 'function', function: { name: 'weather' } } };
  for (const body of [{ tools, tool_choice: 'required' }, named]) {
    upstream.calls.length = 0;
    // The stand-in answers with a text.
    await expect(ask(GPT_OSS, undefined, body)).rejects.toMatchObject({ code: 'output_mismatch' });
    expect(upstream.calls).toHaveLength(2);
    upstream.calls.length = 0;
    await expect(ask(GPT_OSS, undefined, body, { strictOutput: 'refuse' })).rejects.toMatchObject({
      code: 'unsupported_value',
      param: 'tool_choice',
    });
    expect(await ask(GPT_OSS, NOVA, body, { strictOutput: 'refuse' })).toEqual([NOVA]);
  }
});

it('JSON output that is only asked for in the prompt is checked, strict or not, or refused by setting', async () => {
  for (const response_format of [
    { type: 'json_object' },
    { type: 'json_schema', json_schema: { name: 'a', schema: loose } },
    { type: 'json_schema', json_schema: { name: 'a', strict: true, schema: closed } },
  ]) {
    upstream.calls.length = 0;
    // The stand-in's answer is no JSON.
    await expect(ask(NOVA, undefined, { tools, response_format })).rejects.toMatchObject({ code: 'output_mismatch' });
    expect(upstream.calls).toHaveLength(2);
  }
  upstream.calls.length = 0;
  const refused = { tools, response_format: { type: 'json_schema', json_schema: { name: 'a', schema: loose } } };
  await expect(ask(NOVA, undefined, refused, { strictOutput: 'refuse' })).rejects.toMatchObject({
    code: 'unsupported_value',
    param: 'response_format',
  });
  expect(await ask(NOVA, GPT_OSS, refused, { strictOutput: 'refuse' })).toEqual([GPT_OSS]);
});
