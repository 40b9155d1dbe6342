import Anthropic from '@anthropic-ai/sdk';
import type OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import type { Script } from '../upstreams/openai-upstream.ts';
import { streamEvents } from '../upstreams/reply.ts';
import { replyAsResponsesModel } from '../upstreams/responses-model.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

type Fields = Readonly<Record<string, unknown>>;

let reply: Script;
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: (request, index) => reply(request, index),
    models: ({ baseUrl }) => {
      const target = {
        provider: 'openai-compatible',
        model: 'upstream-model',
        baseUrl,
        passThrough: ['chat', 'responses'],
      };
      return {
        native: { targets: [target], hostedTools: 'pass' },
        strict: { targets: [target] },
        plain: { targets: [{ ...target, model: 'plain-model' }] },
        failing: { targets: [target] },
        'failing-chat': { targets: [target] },
        backed: { targets: [target], fallbacks: ['bedrock'] },
        claude: { targets: [{ ...target, passThrough: ['messages'] }] },
        'failing-claude': { targets: [{ ...target, passThrough: ['messages'] }] },
      };
    },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());
beforeEach(() => {
  reply = ({ path, body }) => (path === '/v1/responses' ? replyAsResponsesModel(body) : replyAsChatModel(body));
});

const QUESTION = { model: 'native', input: 'What is Lambent?' } as const;

/** Failures pause a target for a while, so they have one of their own. */
const FAILING = { ...QUESTION, model: 'failing' } as const;

/** Returns the body of the latest request that the upstream has received. */
function lastRequest(): Fields {
  return service.upstream.requests.at(-1)?.body as Fields;
}

/** Returns what the upstream answers to a body, without a service in between. */
function expectedAnswer(body: object): Fields {
  return replyAsResponsesModel(body).body as Fields;
}

/** Returns the id of the response whose events these are. */
function readId([first]: readonly Fields[]): string {
  return String(Object(first?.['response'])['id']);
}

/** Removes ids, which are different in every answer, and the fields that the service or the client sets. */
function normalize(value: unknown): unknown {
  const removed = [
    'id',
    'item_id',
    'call_id',
    'model',
    'store',
    'metadata',
    'output_text',
    'parsed',
    'previous_response_id',
  ];
  return JSON.parse(JSON.stringify(value, (key, inner) => (removed.includes(key) ? undefined : inner)));
}

describe('a response of a target that speaks the protocol', () => {
  it('a native response is the upstream’s, except for its id, the model’s name and the fields about storage', async () => {
    const response = await client.responses.create({ ...QUESTION, store: false });
    expect(normalize(response)).toEqual(normalize(expectedAnswer({ ...QUESTION })));
    expect(response).toMatchObject({ model: 'native', store: false });
    expect(response.id).not.toContain('upstream');
  });

  it('the upstream gets the caller’s own body, without the fields that the service carries out itself', async () => {
    const body = {
      ...QUESTION,
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'Hi', brand_new: 1 }], brand_new: { a: 1 } }],
      max_output_tokens: 50,
      metadata: { a: 'b' },
      user: 'u',
      tools: [{ type: 'web_search', search_context_size: 'low' }],
      brand_new_parameter: { x: 1 },
      priority: 1,
    };
    const { response } = await client.responses.create(body as never).withResponse();
    expect(response.headers.get('x-lambent-ignored')).toBe('priority');
    const { metadata: _, priority: __, ...passed } = body;
    expect(lastRequest()).toEqual({
      ...passed,
      model: 'upstream-model',
      store: false,
      include: ['reasoning.encrypted_content'],
    });
  });

  it('every event of a stream is passed on, unknown ones and unknown fields included', async () => {
    const events: Fields[] = [];
    for await (const event of await client.responses.create({ ...QUESTION, store: false, stream: true }))
      events.push(event as unknown as Fields);
    const expected = (replyAsResponsesModel({ ...QUESTION, stream: true }).steps as { send: string }[]).map(
      ({ send }) => JSON.parse(send.slice(send.indexOf('data: ') + 6)),
    );
    expect(normalize(events)).toEqual(normalize(expected));
    expect(events.map(({ type }) => type)).toContain('response.novelty.progress');
  });

  it('the ids of items are the upstream’s own unless they are stored', async () => {
    const { output } = await client.responses.create({ ...QUESTION, store: false });
    expect(output.map(({ id }) => id)).toEqual(output.map(() => expect.stringMatching(/^[a-z]+_[0-9a-f]{8}0a1b2c3d$/)));
  });

  it('reasoning is sealed for the caller, and the upstream gets its own content back', async () => {
    const include = ['reasoning.encrypted_content' as const];
    const first = await client.responses.create({ ...QUESTION, store: false, include });
    const [reasoning] = first.output as unknown as Fields[];
    expect(reasoning?.['encrypted_content']).toMatch(/^lambent1\./);
    const input = [...first.output, { role: 'user' as const, content: 'And now?' }];
    await client.responses.create({ model: 'native', store: false, include, input: input as never });
    const sent = lastRequest()['input'] as Fields[];
    expect(sent[0]).toMatchObject({ type: 'reasoning', encrypted_content: `gAAA:${sent[0]?.['id']}` });
    expect(normalize(sent.slice(1, 4))).toEqual(normalize(first.output.slice(1)));
  });

  it('include is sent without encrypted reasoning to a model that refuses it, and the caller doesn’t see it', async () => {
    const response = await client.responses.create({ ...QUESTION, model: 'plain' });
    expect(response.status).toBe('completed');
    expect(lastRequest()).not.toHaveProperty('include');
  });

  it('hosted tools are dropped and named if the alias drops them', async () => {
    const tools = [
      { type: 'web_search' as const },
      { type: 'function' as const, name: 'f', parameters: {}, strict: false },
    ];
    const { response } = await client.responses.create({ ...QUESTION, model: 'strict', tools }).withResponse();
    expect(response.headers.get('x-lambent-ignored')).toBe('tools[web_search]');
    expect(lastRequest()['tools']).toEqual([tools[1]]);
  });

  it('a field that the upstream refuses does not fail the request', async () => {
    const body = { ...QUESTION, store: false, mood: 'good' };
    const { data, response } = await client.responses.create(body as never).withResponse();
    expect((data as OpenAI.Responses.Response).status).toBe('completed');
    expect(response.headers.get('x-lambent-ignored')).toBe('mood');
    expect(service.upstream.requests.slice(-2).map(({ path }) => path)).toEqual([
      '/v1/responses',
      '/v1/chat/completions',
    ]);
  });
});

describe('a stored response of a target that speaks the protocol', () => {
  it('a stored native response can be retrieved as it was returned, with ids of the service', async () => {
    const response = await client.responses.create(QUESTION);
    const { output_text: _, ...stored } = await client.responses.retrieve(response.id);
    expect(stored).toMatchObject({
      output: response.output,
      usage: response.usage,
      brand_new_field: expect.anything(),
    });
    expect(response.output.map(({ id }) => id)).not.toContainEqual(expect.stringContaining('0a1b2c3d'));
    expect(JSON.stringify(response)).not.toContain('gAAA');
  });

  it('the next turn gives the upstream its own items back, with its ids and its reasoning', async () => {
    const input = [{ role: 'user' as const, content: [{ type: 'input_text' as const, text: 'Hi', brand_new: 1 }] }];
    const first = await client.responses.create({ ...QUESTION, input });
    const next = await client.responses.create({ ...QUESTION, input: 'And now?', previous_response_id: first.id });
    expect(next).toMatchObject({ status: 'completed', previous_response_id: first.id });
    const sent = lastRequest()['input'] as Fields[];
    expect(sent.map(({ type, role }) => type ?? role)).toEqual([
      ...['message', 'reasoning', 'web_search_call', 'novelty_call', 'message', 'user'],
    ]);
    expect(sent[0]).toMatchObject({ content: [{ text: 'Hi', brand_new: 1 }] });
    expect(sent[1]).toMatchObject({ encrypted_content: `gAAA:${sent[1]?.['id']}` });
    expect(sent[2]?.['id']).toMatch(/^ws_[0-9a-f]{8}0a1b2c3d$/);
    expect(sent[4]).toMatchObject({ phase: 'final_answer', content: [{ annotations: [{ type: 'url_citation' }] }] });
    expect(lastRequest()).not.toHaveProperty('previous_response_id');
  });

  it('reasoning that the caller sends back without its content is left out', async () => {
    const { output } = await client.responses.create(QUESTION);
    expect(output.map(({ type }) => type)).toContain('reasoning');
    const input = [...output, { role: 'user' as const, content: 'And now?' }];
    await client.responses.create({ ...QUESTION, input: input as OpenAI.Responses.ResponseInput });
    const sent = lastRequest()['input'] as Fields[];
    expect(sent.map(({ type }) => type)).not.toContain('reasoning');
    expect(sent).toHaveLength(input.length - 1);
  });

  it('a streamed function call is continued in a conversation', async () => {
    const conversation = (await client.conversations.create()).id;
    const tools = [{ type: 'function' as const, name: 'weather', parameters: {}, strict: false }];
    const stream = client.responses.stream({ model: 'native', input: 'Please call', conversation, tools });
    const { output } = await stream.finalResponse();
    const call = output.find((item) => item.type === 'function_call');
    const input = [{ type: 'function_call_output' as const, call_id: call?.call_id ?? '', output: 'Sunny' }];
    await client.responses.create({ model: 'native', input, conversation, tools });
    const sent = lastRequest()['input'] as Fields[];
    expect(sent.map(({ type }) => type)).toEqual(['message', 'reasoning', 'function_call', 'function_call_output']);
    const items = (await client.conversations.items.list(conversation, { order: 'asc' })).data;
    expect(items.slice(1, 3).map(({ id }) => id)).toEqual(output.map(({ id }) => id));
  });

  it.each([false, true])('a background response is generated and can be continued (streamed: %s)', async (stream) => {
    const events: Fields[] = [];
    const ask = { ...QUESTION, background: true };
    if (!stream) events.push({ response: await client.responses.create(ask) });
    else
      for await (const event of await client.responses.create({ ...ask, stream }))
        events.push(event as unknown as Fields);
    const id = readId(events);
    const response = await waitUntil('the response has ended', async () => {
      const current = await client.responses.retrieve(id);
      return current.status === 'completed' ? current : undefined;
    });
    expect(normalize(response.output)).toEqual(normalize(expectedAnswer({ ...QUESTION })['output'] as Fields[]));
    expect(response).toMatchObject({ background: true, brand_new_field: expect.anything() });
    if (stream) {
      expect(events.map(({ type }) => type)).toContain('response.novelty.progress');
      expect(events.at(-1)).toMatchObject({ type: 'response.completed', response: { id } });
    }
    await client.responses.create({ ...QUESTION, input: 'Go on', previous_response_id: id });
    expect((lastRequest()['input'] as Fields[])[1]).toMatchObject({
      encrypted_content: expect.stringMatching(/^gAAA:rs_/),
    });
  });

  it('a background response of a chain gets the earlier items as they are', async () => {
    const first = await client.responses.create(QUESTION);
    const { id } = await client.responses.create({ ...QUESTION, previous_response_id: first.id, background: true });
    await waitUntil('the response has ended', async () => (await client.responses.retrieve(id)).status === 'completed');
    expect((lastRequest()['input'] as Fields[]).map(({ type }) => type)).toContain('novelty_call');
  });

  it('the stream of a background response begins and ends once', async () => {
    const types: string[] = [];
    for await (const { type } of await client.responses.create({ ...QUESTION, background: true, stream: true }))
      types.push(type);
    for (const type of ['response.created', 'response.in_progress', 'response.completed'])
      expect(types.filter((each) => each === type)).toHaveLength(1);
    expect(types.at(-1)).toBe('response.completed');
    expect(types).toContain('response.novelty.progress');
  });

  it('a response of another kind of target can continue a native one', async () => {
    const first = await client.responses.create(QUESTION);
    const next = await client.responses.create({ model: 'bedrock', input: 'And now?', previous_response_id: first.id });
    expect(next.status).toBe('completed');
  });
});

describe('failures of a target that speaks the protocol', () => {
  it('a stream that ends early is an error, and the stored response has failed', async () => {
    reply = ({ body }) => replyAsResponsesModel(body, { cutAfter: 12 });
    const events: Fields[] = [];
    const read = async () => {
      for await (const event of await client.responses.create({ ...FAILING, stream: true }))
        events.push(event as unknown as Fields);
    };
    await expect(read()).rejects.toMatchObject({ code: 'upstream_cut' });
    const id = readId(events);
    expect(await client.responses.retrieve(id)).toMatchObject({
      status: 'failed',
      output: [{ type: 'reasoning' }, {}, {}],
    });
  });

  it('a native stream that fails before its first item is answered by another kind of target', async () => {
    reply = ({ body }) => replyAsResponsesModel(body, { cutAfter: 2 });
    const stream = await client.responses.create({ model: 'backed', input: 'Hi', stream: true, store: false });
    const events: Fields[] = [];
    for await (const event of stream) events.push(event as unknown as Fields);
    expect(events.at(-1)).toMatchObject({
      type: 'response.completed',
      response: { model: 'backed', status: 'completed' },
    });
    const buffered = await client.responses.create({ model: 'backed', input: 'Hi' });
    expect(buffered.status).toBe('completed');
  });

  it.each([
    [
      { status: 429, body: { error: { message: 'Slow down', code: 'rate_limit_exceeded' } } },
      429,
      'rate_limit_exceeded',
    ],
    [
      { body: { object: 'response', status: 'failed', error: { code: 'server_error', message: 'x' } } },
      503,
      'upstream_unavailable',
    ],
    [
      { status: 400, body: { error: { message: 'Bad image', param: 'input[0]', code: 'invalid_value' } } },
      400,
      'upstream_rejected',
    ],
  ])('the upstream’s errors are mapped as those of other targets', async (answer, status, code) => {
    reply = () => answer;
    await expect(client.responses.create(FAILING)).rejects.toMatchObject({ status, code });
  });

  it('a native stream with the event response.failed is an error', async () => {
    const response = { object: 'response', status: 'failed', error: { code: 'server_error', message: 'x' } };
    reply = () =>
      streamEvents([
        { type: 'response.created', response: {} },
        { type: 'response.failed', response },
      ]);
    await expect(client.responses.create({ ...FAILING, stream: true })).rejects.toMatchObject({ status: 503 });
  });
});

describe('a chat completion of a target that speaks the protocol', () => {
  const ask = { model: 'native', messages: [{ role: 'user' as const, content: 'Hi' }] };
  const chunk = (delta: Fields, more: Fields = {}) => ({
    id: 'chatcmpl-upstream',
    object: 'chat.completion.chunk',
    created: 1_700_000_000,
    model: 'upstream-model',
    system_fingerprint: 'fp_up',
    choices: [{ index: 0, delta, finish_reason: null, ...more }],
    brand_new_field: 1,
  });
  const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, brand_new_count: 1 };
  const CHUNKS = [
    chunk({ role: 'assistant', content: '' }),
    chunk({ content: 'Hel' }, { logprobs: { content: [{ token: 'Hel', logprob: 0, bytes: null, top_logprobs: [] }] } }),
    chunk({ content: 'lo', annotations: [{ type: 'url_citation', url_citation: { url: 'https://example.com' } }] }),
    chunk({ tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a"' } }] }),
    chunk({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }),
    chunk({}, { finish_reason: 'tool_calls', brand_new: true }),
    { ...chunk({}), choices: [], usage },
  ];

  it('every chunk is passed on, and the usage only if the caller asks for it', async () => {
    reply = () => streamEvents([...CHUNKS, '[DONE]']);
    const read = async (more: object) => {
      const chunks: Fields[] = [];
      for await (const each of await client.chat.completions.create({ ...ask, ...more, stream: true }))
        chunks.push(each as unknown as Fields);
      return chunks;
    };
    expect(normalize(await read({}))).toEqual(normalize(CHUNKS.slice(0, -1)));
    expect(lastRequest()).toEqual({
      messages: ask.messages,
      model: 'upstream-model',
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(normalize(await read({ stream_options: { include_usage: true } }))).toEqual(normalize(CHUNKS));
  });

  it('a native completion is passed on, and a stored stream can be retrieved as one completion', async () => {
    const message = { role: 'assistant', content: 'Hello', refusal: null, annotations: [], brand_new: 1 };
    const whole = {
      ...chunk({}),
      object: 'chat.completion',
      choices: [{ index: 0, message, finish_reason: 'stop' }],
      usage,
    };
    reply = () => ({ body: whole });
    const completion = await client.chat.completions.create({ ...ask, max_tokens: 7 });
    expect(normalize(completion)).toEqual(normalize(whole));
    expect(completion).toMatchObject({ model: 'native', id: expect.not.stringContaining('upstream') });
    expect(lastRequest()).toEqual({ messages: ask.messages, model: 'upstream-model', max_tokens: 7 });
    reply = () => streamEvents([...CHUNKS, '[DONE]']);
    const stream = await client.chat.completions.create({ ...ask, stream: true, store: true });
    let id = '';
    for await (const each of stream) id = each.id;
    expect(await client.chat.completions.retrieve(id)).toMatchObject({
      id,
      system_fingerprint: 'fp_up',
      usage,
      choices: [
        {
          finish_reason: 'tool_calls',
          brand_new: true,
          logprobs: { content: [{ token: 'Hel' }] },
          message: {
            role: 'assistant',
            content: 'Hello',
            annotations: [{ type: 'url_citation' }],
            tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }],
          },
        },
      ],
    });
  });

  it('a native stream that ends without a finish reason is an error', async () => {
    reply = () => streamEvents(CHUNKS.slice(0, 3));
    const read = async () => {
      for await (const _ of await client.chat.completions.create({ ...ask, model: 'failing-chat', stream: true }));
    };
    await expect(read()).rejects.toMatchObject({ code: 'upstream_cut' });
  });
});

describe('a target that speaks nothing but messages', () => {
  const ask = { model: 'claude', max_tokens: 100, messages: [{ role: 'user' as const, content: 'Hi' }] };
  const anthropic = () =>
    new Anthropic({ baseURL: new URL(service.cloud.url).origin, apiKey: 'sk-local', maxRetries: 0 });
  const EVENTS = [
    {
      type: 'message_start',
      message: {
        id: 'msg_upstream',
        type: 'message',
        role: 'assistant',
        model: 'upstream-model',
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 3, output_tokens: 1, brand_new_count: 1 },
        brand_new: 1,
      },
    },
    { type: 'ping' },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '', citations: [] } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hello' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'citations_delta', citation: { type: 'new_location' } } },
    { type: 'novelty', progress: 1 },
    { type: 'content_block_stop', index: 0 },
    {
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: 5 },
      brand_new: 1,
    },
    { type: 'message_stop' },
  ];

  it('every event of a stream is passed on, unknown ones and unknown fields included', async () => {
    reply = () => streamEvents(EVENTS);
    const body = { ...ask, stream: true, brand_new_parameter: 1 };
    const response = await fetch(`${service.cloud.url}/messages`, {
      method: 'POST',
      headers: { 'x-api-key': 'sk-local', 'content-type': 'application/json', 'anthropic-version': '2023-06-01' },
      body: JSON.stringify(body),
    });
    const frames = (await response.text()).trim().split('\n\n');
    const events = frames.map((frame) => JSON.parse(frame.slice(frame.indexOf('data: ') + 6)) as Fields);
    expect(frames.map((frame) => frame.split('\n')[0])).toEqual(EVENTS.map(({ type }) => `event: ${type}`));
    expect(normalize(events)).toEqual(normalize(EVENTS));
    expect(events[0]).toMatchObject({ message: { model: 'claude', id: expect.not.stringContaining('upstream') } });
    expect(lastRequest()).toEqual({ ...body, model: 'upstream-model' });
    expect(service.upstream.requests.at(-1)?.path).toBe('/v1/messages');
  });

  it('a stream that ends early is an error, for Anthropic’s client as well', async () => {
    reply = () => streamEvents(EVENTS.slice(0, 5));
    const stream = anthropic().messages.stream({ ...ask, model: 'failing-claude' });
    const texts: string[] = [];
    stream.on('text', (text) => texts.push(text));
    await expect(stream.finalMessage()).rejects.toMatchObject({ error: { error: { type: 'api_error' } } });
    expect(texts).toEqual(['Hello']);
  });

  it('requests of other endpoints are refused at once, background responses included', async () => {
    const calls = service.upstream.requests.length;
    const refusal = {
      status: 404,
      code: 'model_not_found',
      message: expect.stringContaining('only supported in /v1/messages'),
    };
    const { model, messages } = ask;
    await expect(client.chat.completions.create({ model, messages })).rejects.toMatchObject(refusal);
    await expect(client.responses.create({ model, input: 'Hi' })).rejects.toMatchObject(refusal);
    await expect(client.responses.create({ model, input: 'Hi', background: true })).rejects.toMatchObject(refusal);
    expect(service.upstream.requests.length).toBe(calls);
  });
});
