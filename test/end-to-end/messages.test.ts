import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { converse } from './converse.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let baseURL: string;
let client: Anthropic;
beforeAll(async () => {
  service = await startService({ respond: converse });
  baseURL = new URL(service.cloud.url).origin;
  client = new Anthropic({ baseURL, apiKey: 'sk-local', maxRetries: 0 });
});
afterAll(() => service[Symbol.asyncDispose]());

const weather: Anthropic.Tool = {
  name: 'weather',
  description: 'Tells the weather in a city',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

describe.each(['compatible', 'bedrock'])('Anthropic’s client, with a model behind %s', (model) => {
  const question = (content: string) => ({ model, max_tokens: 1_000, messages: [{ role: 'user' as const, content }] });

  it('the client creates a message', async () => {
    const message = await client.messages.create(question('Hello'));
    expect(message).toMatchObject({ type: 'message', model, stop_reason: 'end_turn' });
    expect(message.content).toMatchObject([{ type: 'text', text: 'You said: Hello' }]);
    expect(message.usage.input_tokens).toBeGreaterThan(0);
    expect(message._request_id).toMatch(/./);
  });

  it('the client streams a message', async () => {
    const message = await client.messages.stream(question('Hello, stream')).finalMessage();
    expect(message.content).toMatchObject([{ type: 'text', text: 'You said: Hello, stream' }]);
    expect(message.usage.output_tokens).toBeGreaterThan(0);
  });

  it('a tool call and its result make a second turn', async () => {
    const first = await client.messages.create({ ...question('What is the weather in Rome?'), tools: [weather] });
    const call = first.content.find((block) => block.type === 'tool_use');
    expect(first.stop_reason).toBe('tool_use');
    const second = await client.messages.create({
      model,
      max_tokens: 1_000,
      tools: [weather],
      messages: [
        { role: 'user', content: 'What is the weather in Rome?' },
        { role: 'assistant', content: first.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: call?.id ?? '', content: 'Sun' }] },
      ],
    });
    expect(second.stop_reason).toBe('end_turn');
  });
});

it('a key is accepted in x-api-key, in Authorization, and in both if they are the same', async () => {
  const list = (options: object) => new Anthropic({ baseURL, maxRetries: 0, ...options }).models.list();
  expect((await list({ apiKey: 'sk-local', authToken: null })).data).not.toEqual([]);
  expect((await list({ apiKey: null, authToken: 'sk-local' })).data).not.toEqual([]);
  const both = { apiKey: 'sk-local', defaultHeaders: { authorization: 'Bearer sk-local' } };
  expect((await list(both)).data).not.toEqual([]);
});

it('a request without a valid key fails as at Anthropic', async () => {
  const wrong = new Anthropic({ baseURL, apiKey: 'sk-wrong', authToken: null, maxRetries: 0 });
  await expect(wrong.models.list()).rejects.toThrow(Anthropic.AuthenticationError);
  await expect(wrong.models.list()).rejects.toMatchObject({ error: { type: 'error' }, type: 'authentication_error' });
});

it('x-api-key doesn’t open the routes whose policies are cached', async () => {
  const response = await fetch(`${baseURL}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'x-api-key': 'sk-local', 'content-type': 'application/json' },
    body: '{}',
  });
  expect(response.status).toBe(401);
});

it('an invalid request fails with Anthropic’s error, and an OpenAI client’s list keeps its format', async () => {
  await expect(client.messages.create({ model: 'nothing', max_tokens: 1, messages: [] })).rejects.toMatchObject({
    status: 400,
    error: { type: 'error', error: { type: 'invalid_request_error' }, request_id: expect.stringMatching(/./) },
  });
  expect(await client.models.list()).toMatchObject({ has_more: false });
  expect((await service.client.models.list()).object).toBe('list');
});

it('HEAD / shows that the service is there', async () => {
  const response = await fetch(`${baseURL}/`, { method: 'HEAD' });
  expect(response.status).toBe(200);
});

it('a repeated idempotency key gets the first message again', async () => {
  const send = () =>
    client.messages
      .create(
        { model: 'compatible', max_tokens: 10, messages: [{ role: 'user', content: 'Once' }] },
        { headers: { 'idempotency-key': 'messages-once' } },
      )
      .withResponse();
  const [first, second] = [await send(), await send()];
  expect(second.data.id).toBe(first.data.id);
  expect(second.response.headers.get('idempotent-replayed')).toBe('true');
});

it('x-lambent-ignored names what had no effect', async () => {
  const { response } = await client.beta.messages
    .create({
      model: 'compatible',
      max_tokens: 10,
      messages: [{ role: 'user', content: 'Hello' }],
      tools: [{ type: 'web_search_20250305', name: 'web_search' }],
      betas: ['oauth-2025-04-20', 'claude-code-20250219'],
    })
    .withResponse();
  expect(response.headers.get('x-lambent-ignored')).toBe('tools.0, anthropic-beta.oauth-2025-04-20');
});

it('the default request of Claude Code passes on a model with few capabilities, buffered and streamed', async () => {
  const ask = (thinking: Anthropic.Beta.BetaThinkingConfigParam): Anthropic.Beta.MessageCreateParamsNonStreaming => ({
    model: 'lean',
    max_tokens: 32_000,
    system: [{ type: 'text', text: 'You are Claude Code.', cache_control: { type: 'ephemeral' } }],
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'Hello', cache_control: { type: 'ephemeral' } }] },
      { role: 'system', content: 'Be brief.' },
    ],
    tools: [{ ...weather, defer_loading: true }],
    tool_choice: { type: 'none' },
    thinking,
    output_config: { effort: 'high' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
    metadata: { user_id: '{"session_id":"s"}' },
    betas: ['claude-code-20250219', 'interleaved-thinking-2025-05-14', 'effort-2025-11-24'],
  });
  for (const thinking of [{ type: 'adaptive' as const }, { type: 'enabled' as const, budget_tokens: 10_000 }]) {
    const { data, response } = await client.beta.messages.create(ask(thinking), { timeout: 60_000 }).withResponse();
    expect(data).toMatchObject({ stop_reason: 'end_turn', content: [{ type: 'text' }] });
    const ignored = 'anthropic-beta.interleaved-thinking-2025-05-14, thinking';
    expect(response.headers.get('x-lambent-ignored')).toBe(ignored);
    const streamed = client.beta.messages.stream(ask(thinking));
    expect((await streamed.finalMessage()).content).toEqual(data.content);
    const sent = service.upstream.requests.at(-1)?.body as Record<string, unknown>;
    for (const name of ['reasoning_effort', 'thinking', 'output_config']) expect(sent).not.toHaveProperty(name);
  }
});
