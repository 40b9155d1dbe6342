import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CAPABILITIES } from '../../../../../shared/inference/capabilities.ts';
import type { AssistantMessage, GenerationRequest, Message } from '../../../../../shared/inference/generation.ts';
import {
  findDialect,
  getOpenAICompatibleCapabilities,
} from '../../../../../shared/inference/providers/openai-compatible/dialect.ts';
import { createRequestWriter } from '../../../../../shared/inference/providers/openai-compatible/request.ts';
import type { OpenAICompatibleTarget } from '../../../../../shared/inference/registry.ts';
import { type ReceivedRequest, startUpstream, type Upstream } from '../../../../upstreams/openai-upstream.ts';
import { EVENT_STREAM, type Reply } from '../../../../upstreams/reply.ts';
import { makeRequest } from '../../requests.ts';
import { call, collectOutcome, expectUpstreamError, KEY, makeModel, makeTarget, readRecording } from './calls.ts';

let upstream: Upstream;
let answer: (body: Record<string, unknown>) => Reply;

beforeAll(async () => {
  upstream = await startUpstream(({ body }) => answer(Object(body)));
});
afterAll(() => upstream.close());

const OK: Reply = { body: { choices: [{ message: { content: 'ok' }, finish_reason: 'stop' }] } };

/** Calls the upstream and returns the request that reached it. */
async function captureRequest(
  request: Partial<GenerationRequest> = {},
  target: Partial<OpenAICompatibleTarget> = {},
): Promise<ReceivedRequest> {
  answer = () => OK;
  const { error } = await call(upstream.baseUrl, { request, target, streamed: false });
  if (error !== undefined) throw error;
  const last = upstream.requests.at(-1);
  if (last === undefined) throw new Error('The upstream received no request');
  return last;
}

/** Returns the body of a request to `baseUrl`, without sending it. */
function writeBody(
  baseUrl: string,
  request: Partial<GenerationRequest>,
  changes: Partial<OpenAICompatibleTarget> = {},
) {
  const target = makeTarget(baseUrl, changes);
  const capabilities = getOpenAICompatibleCapabilities(target);
  const write = createRequestWriter(target, { capabilities, maxOutputTokens: 1_000, upstream: 'this-one' });
  return write(makeRequest(request), false, []);
}

describe('the request’s body', () => {
  it('the body of a plain request contains no optional fields', async () => {
    expect((await captureRequest()).body).toEqual({
      model: 'upstream-model',
      messages: [{ role: 'user', content: 'Hello' }],
      max_tokens: 1_000,
    });
  });

  it('the body of a streamed request asks for usage', async () => {
    answer = () => ({ headers: EVENT_STREAM, body: readRecording('openai-text') });
    await call(upstream.baseUrl);
    expect(upstream.requests.at(-1)?.body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
  });

  it('the body contains every setting of the request', async () => {
    const { body } = await captureRequest({
      temperature: 0,
      topP: 0.9,
      stop: ['END'],
      seed: 7,
      frequencyPenalty: 0.5,
      presencePenalty: -1,
      logitBias: { '50256': -100 },
      topLogprobs: 3,
      reasoningEffort: 'high',
      verbosity: 'low',
      maxOutputTokens: 50,
    });
    expect(body).toEqual({
      model: 'upstream-model',
      messages: [{ role: 'user', content: 'Hello' }],
      temperature: 0,
      top_p: 0.9,
      stop: ['END'],
      seed: 7,
      frequency_penalty: 0.5,
      presence_penalty: -1,
      logit_bias: { '50256': -100 },
      logprobs: true,
      top_logprobs: 3,
      reasoning_effort: 'high',
      verbosity: 'low',
      max_tokens: 50,
    });
  });

  it('the body omits default values', async () => {
    const { body } = await captureRequest({
      frequencyPenalty: 0,
      presencePenalty: 0,
      logitBias: {},
      verbosity: 'medium',
      serviceTier: 'auto',
      toolChoice: 'none',
      topLogprobs: 0,
    });
    expect(Object.keys(Object(body)).sort()).toEqual(['logprobs', 'max_tokens', 'messages', 'model']);
  });

  it('the body never exceeds the alias’s output limit', async () => {
    expect((await captureRequest({ maxOutputTokens: 5_000 })).body).toMatchObject({ max_tokens: 1_000 });
  });

  it('the body contains unknown fields unchanged, and they don’t override known fields', async () => {
    const { body } = await captureRequest({ unknown: { top_k: 40, chat_template_kwargs: { a: [1] }, model: 'other' } });
    expect(body).toMatchObject({ top_k: 40, chat_template_kwargs: { a: [1] }, model: 'upstream-model' });
  });

  it('the body contains tools, the tool choice and strictness', async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } } };
    const { body } = await captureRequest({
      tools: [
        { name: 'weather', description: 'Tells it', parameters, strict: true },
        { name: 'time', parameters: {}, strict: false },
      ],
      toolChoice: { name: 'weather' },
      parallelToolCalls: false,
    });
    expect(body).toMatchObject({
      tools: [
        { type: 'function', function: { name: 'weather', description: 'Tells it', parameters, strict: true } },
        { type: 'function', function: { name: 'time', parameters: {} } },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: false,
    });
    const required = await captureRequest({
      tools: [{ name: 't', parameters: {}, strict: false }],
      toolChoice: 'required',
    });
    expect(required.body).toMatchObject({ tool_choice: 'required' });
  });

  it('the body contains the output format', async () => {
    expect((await captureRequest({ format: { type: 'json' } })).body).toMatchObject({
      response_format: { type: 'json_object' },
    });
    const schema = { type: 'object', properties: {}, additionalProperties: false };
    expect(
      (await captureRequest({ format: { type: 'jsonSchema', name: 'n', schema, strict: true } })).body,
    ).toMatchObject({
      response_format: { type: 'json_schema', json_schema: { name: 'n', schema, strict: true } },
    });
  });

  it('the body keeps text unchanged, lone surrogates included', async () => {
    const text = 'a\u0000b\ud800c 👩‍👩‍👧 "quoted"\n';
    const { body } = await captureRequest({ messages: [{ role: 'user', content: [{ type: 'text', text }] }] });
    expect(body).toMatchObject({ messages: [{ role: 'user', content: text }] });
  });
});

describe('messages', () => {
  const captureMessages = async (messages: readonly Message[]) =>
    Object(Object((await captureRequest({ messages })).body))['messages'];
  const text = (content: string) => ({ type: 'text', text: content }) as const;

  it('messages of every role are converted, names included', async () => {
    const messages = await captureMessages([
      { role: 'system', content: [text('Be brief.'), text('Be kind.')], name: 'rules' },
      { role: 'user', content: [text('Weather?')], name: 'ann' },
      {
        role: 'assistant',
        content: [text('Let me see.'), { type: 'toolCall', id: 'c1', name: 'weather', arguments: '{"city": "Rome"}' }],
      },
      { role: 'tool', toolCallId: 'c1', content: [text('Sunny')] },
      { role: 'assistant', content: [{ type: 'refusal', text: 'No.' }], name: 'bot' },
    ]);
    expect(messages).toEqual([
      { role: 'system', content: 'Be brief.\nBe kind.', name: 'rules' },
      { role: 'user', content: 'Weather?', name: 'ann' },
      {
        role: 'assistant',
        content: 'Let me see.',
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"city": "Rome"}' } }],
      },
      { role: 'tool', tool_call_id: 'c1', content: 'Sunny' },
      { role: 'assistant', content: 'No.', name: 'bot' },
    ]);
  });

  it('messages with only tool calls have null content and valid JSON arguments', async () => {
    const [message] = await captureMessages([
      { role: 'assistant', content: [{ type: 'toolCall', id: 'c', name: 'now', arguments: '' }] },
    ]);
    expect(message).toEqual({
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'now', arguments: '{}' } }],
    });
  });

  it('images keep their position: bytes become a data URL, remote images keep their URL', async () => {
    const [message] = await captureMessages([
      {
        role: 'user',
        content: [
          { type: 'image', mediaType: 'image/png', base64: 'iVBORw0=', detail: 'high', param: 'p' },
          text('Compare with'),
          { type: 'image', url: 'https://images.example.com/a.jpg', param: 'p' },
        ],
      },
    ]);
    expect(message).toEqual({
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0=', detail: 'high' } },
        { type: 'text', text: 'Compare with' },
        { type: 'image_url', image_url: { url: 'https://images.example.com/a.jpg' } },
      ],
    });
  });

  it('PDFs become files, and text documents become text', async () => {
    const note = { type: 'document', mediaType: 'text/plain', text: 'Body', title: 'Note', param: 'p' } as const;
    const pdf = { type: 'document', mediaType: 'application/pdf', base64: 'JVBERi0=', param: 'p' } as const;
    const { body } = await captureRequest({
      messages: [
        { role: 'user', content: [note] },
        { role: 'user', content: [{ ...pdf, title: 'a.pdf' }, note] },
      ],
    });
    expect((body as { messages: unknown }).messages).toEqual([
      { role: 'user', content: 'Note\n\nBody' },
      {
        role: 'user',
        content: [
          { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0=' } },
          { type: 'text', text: 'Note\n\nBody' },
        ],
      },
    ]);
  });

  it('only hosts that document files get PDFs', () => {
    const canRead = (baseUrl: string) => getOpenAICompatibleCapabilities(makeTarget(baseUrl)).has('documents');
    expect(['https://api.openai.com/v1', 'https://openrouter.ai/api/v1'].map(canRead)).toEqual([true, true]);
    expect(['https://api.groq.com/openai/v1', 'http://10.0.0.1:8000/v1'].map(canRead)).toEqual([false, false]);
  });

  it('the text of a failed tool result says that it failed', async () => {
    const messages: readonly Message[] = [
      { role: 'user', content: [{ type: 'text', text: 'Go' }] },
      { role: 'assistant', content: [{ type: 'toolCall', id: 'a', name: 'f', arguments: '{}' }] },
      { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: 'no such file' }], isError: true },
    ];
    const { body } = await captureRequest({ messages });
    expect((body as { messages: unknown[] }).messages[2]).toMatchObject({ content: 'Error: no such file' });
  });

  it('images of tool results follow the last tool message of the turn', async () => {
    const image = { type: 'image', mediaType: 'image/png', base64: 'AA==', param: 'p' } as const;
    const messages = await captureMessages([
      {
        role: 'assistant',
        content: ['a', 'b'].map((id) => ({ type: 'toolCall', id, name: 'shot', arguments: '{}' }) as const),
      },
      { role: 'tool', toolCallId: 'a', content: [text('one'), image] },
      { role: 'tool', toolCallId: 'b', content: [image] },
      { role: 'user', content: [text('Well?')] },
    ]);
    expect(messages.map(({ role }: { role: string }) => role)).toEqual(['assistant', 'tool', 'tool', 'user', 'user']);
    expect(messages[3].content.filter(({ type }: { type: string }) => type === 'image_url')).toHaveLength(2);
    expect(messages[4]).toEqual({ role: 'user', content: 'Well?' });
  });
});

describe('reasoning of earlier turns', () => {
  const createTurn = (upstreamName?: string, withCall = true): Message => ({
    role: 'assistant',
    content: [
      {
        type: 'reasoning',
        text: 'Hm.',
        ...(upstreamName && {
          continuation: { provider: 'openai-compatible', data: { field: 'reasoning', upstream: upstreamName } },
        }),
      },
      { type: 'text', text: 'So' },
      ...(withCall ? [{ type: 'toolCall', id: 'c', name: 'f', arguments: '{}' } as const] : []),
    ],
  });
  const writeFirstMessage = (baseUrl: string, message: Message) =>
    Object(writeBody(baseUrl, { messages: [message] })['messages'])[0];

  it('reasoning of turns with tool calls is sent back to the upstream that made it', () => {
    expect(writeFirstMessage('http://gpu.internal/v1', createTurn('this-one'))).toMatchObject({ reasoning: 'Hm.' });
    expect(writeFirstMessage('http://gpu.internal/v1', createTurn('this-one', false))).toEqual({
      role: 'assistant',
      content: 'So',
    });
  });

  it('reasoning is not sent to another upstream', () => {
    for (const message of [createTurn(), createTurn('another-one')]) {
      expect(Object.keys(writeFirstMessage('https://api.openai.com/v1', message))).toEqual([
        'role',
        'content',
        'tool_calls',
      ]);
    }
  });

  it('reasoning survives a round trip through the provider', async () => {
    answer = () => ({ headers: EVENT_STREAM, body: readRecording('deepseek-tools') });
    const model = makeModel(upstream.baseUrl);
    const signal = new AbortController().signal;
    const { events } = await collectOutcome(model.generate(makeRequest(), { signal, streamed: true }));
    const end = events.find((event) => event.type === 'reasoningEnd');
    if (end?.continuation === undefined) throw new Error('No continuation');
    const content = [
      { type: 'reasoning', text: 'I need the date.', continuation: end.continuation },
      { type: 'toolCall', id: 'c', name: 'get_date', arguments: '{}' },
    ] as const;
    await collectOutcome(
      model.generate(makeRequest({ messages: [{ role: 'assistant', content }] }), { signal, streamed: true }),
    );
    expect(upstream.requests.at(-1)?.body).toMatchObject({ messages: [{ reasoning_content: 'I need the date.' }] });
  });

  const REASONING_BY_HOST = [
    ['http://gpu.internal/v1', { content: 'So', reasoning_content: 'Hm.', reasoning: 'Hm.' }],
    ['https://api.deepseek.com/v1', { content: 'So', reasoning_content: 'Hm.' }],
    ['https://api.moonshot.ai/v1', { content: 'So', reasoning_content: 'Hm.' }],
    ['https://api.z.ai/api/paas/v4', { content: 'So', reasoning_content: 'Hm.' }],
    ['https://dashscope-intl.aliyuncs.com/compatible-mode/v1', { content: 'So', reasoning_content: 'Hm.' }],
    ['https://openrouter.ai/api/v1', { content: 'So', reasoning: 'Hm.' }],
    ['https://api.groq.com/openai/v1', { content: 'So', reasoning: 'Hm.' }],
    ['https://api.minimax.io/v1', { content: '<think>Hm.</think>\n\nSo' }],
    [
      'https://api.mistral.ai/v1',
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] },
          { type: 'text', text: 'So' },
        ],
      },
    ],
    ['https://api.openai.com/v1', { content: 'So' }],
    ['https://generativelanguage.googleapis.com/v1beta/openai', { content: 'So' }],
  ] as const;

  it.each(REASONING_BY_HOST)('reasoning that the caller has as text goes to %s as it expects it', (baseUrl, fields) => {
    const { role, tool_calls: calls, ...sent } = writeFirstMessage(baseUrl, createTurn());
    expect(sent).toEqual(fields);
    expect(calls).toHaveLength(1);
  });

  it('only MiniMax gets the reasoning of turns without tool calls', () => {
    for (const [baseUrl] of REASONING_BY_HOST) {
      const content = baseUrl.includes('minimax') ? '<think>Hm.</think>\n\nSo' : 'So';
      expect(writeFirstMessage(baseUrl, createTurn(undefined, false))).toEqual({ role: 'assistant', content });
    }
  });

  it.each([
    [
      'reasoning_details',
      { reasoning: 'Hm.', reasoning_details: [{ type: 'reasoning.text', text: 'Hm.', signature: 's' }] },
    ],
    ['encrypted details', { reasoning_details: [{ type: 'reasoning.encrypted', data: 'secret', format: 'f' }] }],
    ['think tags', { content: '<think>\nHm.\n</think>\n\nSo' }],
    [
      'parts',
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] },
          { type: 'text', text: 'So' },
        ],
      },
    ],
  ])('reasoning in %s comes back to its upstream as it was', async (_, message) => {
    const calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }];
    answer = () => ({
      body: { choices: [{ message: { ...message, tool_calls: calls }, finish_reason: 'tool_calls' }] },
    });
    const model = makeModel(upstream.baseUrl);
    const options = { signal: new AbortController().signal, streamed: false };
    const { events } = await collectOutcome(model.generate(makeRequest(), options));
    const content = events.flatMap((event): AssistantMessage['content'] => {
      if (event.type === 'reasoningEnd') {
        const text = events.map((each) => (each.type === 'reasoning' ? each.text : '')).join('');
        return [{ type: 'reasoning', text, ...(event.continuation && { continuation: event.continuation }) }];
      }
      if (event.type === 'text') return [{ type: 'text', text: event.text }];
      return event.type === 'toolCall' ? [{ type: 'toolCall', id: event.id, name: event.name, arguments: '{}' }] : [];
    });
    await collectOutcome(model.generate(makeRequest({ messages: [{ role: 'assistant', content }] }), options));
    const { reasoning: __, ...lossless } = Object(message);
    expect(upstream.requests.at(-1)?.body).toMatchObject({ messages: [{ ...lossless, tool_calls: calls }] });
  });

  it.each([
    "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is unsupported",
    "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning' is unsupported)]",
    'messages[1].reasoning: reasoning is not supported with this model',
  ])('an upstream that refuses reasoning gets the request without it: %s', async (message) => {
    answer = ({ messages }) =>
      JSON.stringify(messages).includes('"reasoning') ? { status: 400, body: { error: { message } } } : OK;
    const model = makeModel(upstream.baseUrl);
    const request = makeRequest({ messages: [createTurn()] });
    const options = { signal: new AbortController().signal, streamed: false };
    const before = upstream.requests.length;
    for (let time = 0; time < 2; time += 1)
      expect((await collectOutcome(model.generate(request, options))).error).toBeUndefined();
    // The second request knows it.
    expect(upstream.requests.length - before).toBe(3);
  });

  it('turns with tool calls always contain reasoning for DeepSeek, which requires it', () => {
    expect(writeFirstMessage('https://api.deepseek.com/v1', createTurn())).toMatchObject({ reasoning_content: 'Hm.' });
    const bare: Message = { role: 'assistant', content: [{ type: 'toolCall', id: 'c', name: 'f', arguments: '{}' }] };
    expect(writeFirstMessage('https://api.deepseek.com', bare)).toMatchObject({ reasoning_content: '' });
  });
});

describe('system messages', () => {
  const system = (text: string): Message => ({ role: 'system', content: [{ type: 'text', text }] });
  const say = (role: 'user' | 'assistant', text: string): Message => ({ role, content: [{ type: 'text', text }] });

  it('system messages at the front become one, and later ones stay in their places', () => {
    const messages = [system('Be brief.'), system('Be kind.'), say('user', 'Hi'), system('Now be formal.')];
    expect(writeBody('http://gpu.internal/v1', { messages })['messages']).toEqual([
      { role: 'system', content: 'Be brief.\n\nBe kind.' },
      { role: 'user', content: 'Hi' },
      { role: 'system', content: 'Now be formal.' },
    ]);
  });

  it('a conversation of system messages only becomes one message', () => {
    const messages = [system('Be brief.'), system('Be kind.')];
    expect(writeBody('http://gpu.internal/v1', { messages })['messages']).toEqual([
      { role: 'system', content: 'Be brief.\n\nBe kind.' },
    ]);
  });

  it.each([
    'System message must be at the beginning.',
    'Only the first message can be a system message',
    'Conversation roles must alternate; the system message is accepted only in first place',
  ])('later ones go to the front for an upstream that refuses them there: %s', async (message) => {
    answer = (body) => {
      const roles: string[] = Object(body).messages.map(({ role }: { role: string }) => role);
      return roles.lastIndexOf('system') > 0 ? { status: 400, body: { error: { message } } } : OK;
    };
    const model = makeModel(upstream.baseUrl);
    const messages = [say('user', 'q'), say('assistant', 'a'), system('Be brief.'), say('user', 'Hello')];
    const options = { signal: new AbortController().signal, streamed: false };
    const before = upstream.requests.length;
    for (let time = 0; time < 2; time += 1)
      expect((await collectOutcome(model.generate(makeRequest({ messages }), options))).error).toBeUndefined();
    expect(Object(upstream.requests.at(-1)?.body).messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'q' },
      { role: 'assistant', content: 'a' },
      { role: 'user', content: 'Hello' },
    ]);
    // The second request knows it.
    expect(upstream.requests.length - before).toBe(3);
  });

  it('an error that isn’t about system messages is reported', async () => {
    answer = () => ({ status: 400, body: { error: { message: 'The system prompt is too long' } } });
    const messages = [say('user', 'q'), system('Be brief.')];
    const { error } = await call(upstream.baseUrl, { request: { messages }, streamed: false });
    expect(error).toMatchObject({ message: expect.stringContaining('too long') });
  });
});

describe('ids of tool calls', () => {
  const id = 'tooluse_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjKlMn';
  const messages: Message[] = [
    { role: 'assistant', content: [{ type: 'toolCall', id, name: 'f', arguments: '{}' }] },
    { role: 'tool', toolCallId: id, content: [{ type: 'text', text: 'done' }] },
  ];
  const getIds = (body: object) => {
    const [call, result] = Object(body).messages;
    return [call.tool_calls[0].id, result.tool_call_id];
  };

  it('Mistral gets ids of nine letters and digits, the same for a call and its result', () => {
    const [call, result] = getIds(writeBody('https://api.mistral.ai/v1', { messages }));
    expect(call).toMatch(/^[a-zA-Z0-9]{9}$/);
    expect(result).toBe(call);
  });

  it('OpenAI gets ids of at most 40 characters, and its own ids unchanged', () => {
    const [call, result] = getIds(writeBody('https://api.openai.com/v1', { messages }));
    expect(call.length).toBeLessThanOrEqual(40);
    expect(result).toBe(call);
    const own = JSON.parse(JSON.stringify(messages).replaceAll(id, 'call_0123456789abcdefghijklmn'));
    expect(getIds(writeBody('https://api.openai.com/v1', { messages: own }))[0]).toBe('call_0123456789abcdefghijklmn');
  });

  it('other hosts get ids unchanged, until they refuse them', async () => {
    const message = `Tool call id was ${id} but must be a-z, A-Z, 0-9, with a length of 9.`;
    answer = (body) => (getIds(body)[0] === id ? { status: 400, body: { message, code: '3280' } } : OK);
    const before = upstream.requests.length;
    const { error } = await call(upstream.baseUrl, { request: { messages }, streamed: false });
    expect(error).toBeUndefined();
    const [first, second] = upstream.requests.slice(before).map(({ body }) => getIds(Object(body)));
    expect(first).toEqual([id, id]);
    expect(second?.[0]).toMatch(/^[a-zA-Z0-9]{9}$/);
    expect(second?.[1]).toBe(second?.[0]);
  });
});

describe('a dialect', () => {
  const hints = { user: 'u', safetyIdentifier: 's', promptCacheKey: 'p', metadata: { a: 'b' } };

  it('hints are sent only to dialects that support them', () => {
    const body = writeBody('https://api.openai.com/v1', { hints, serviceTier: 'flex' });
    expect(body).toMatchObject({ user: 'u', safety_identifier: 's', prompt_cache_key: 'p', service_tier: 'flex' });
    expect(body).not.toHaveProperty('metadata');
    expect(writeBody('https://api.mistral.ai/v1', { hints, serviceTier: 'flex' })).toEqual({
      ...writeBody('https://api.mistral.ai/v1', {}),
      prompt_cache_key: 'p',
    });
    expect(writeBody('http://gpu.internal/v1', { hints, serviceTier: 'flex' })).toEqual(
      writeBody('http://gpu.internal/v1', {}),
    );
  });

  it('OpenAI’s models get the options of their own cache only', () => {
    const write = (model: string, request: object, host = 'api.openai.com') => {
      const { prompt_cache_retention: retention, prompt_cache_options: options } = writeBody(
        `https://${host}/v1`,
        request,
        { model },
      );
      return { retention, options };
    };
    const hints = { promptCacheRetention: '24h', cachesMarksOnly: true } as const;
    const off = { mode: 'explicit' };
    expect(write('gpt-5.2', { hints })).toEqual({ retention: '24h', options: undefined });
    expect(write('gpt-5.6', { hints })).toEqual({ retention: undefined, options: off });
    expect(write('gpt-6', { hints: { promptCacheKey: 'k' } })).toEqual({ retention: undefined, options: undefined });
    expect(write('gpt-5.6', { hints }, 'openai.example.org')).toEqual({ retention: undefined, options: undefined });
  });

  it('a dialect is detected by host and subdomains, not by a similar name', () => {
    expect(findDialect(makeTarget('https://api.deepseek.com')).requiresReasoning).toBe(true);
    expect(findDialect(makeTarget('https://deepseek.com.example.org/v1')).requiresReasoning).toBeUndefined();
    expect(findDialect(makeTarget('https://notdeepseek.com/v1')).requiresReasoning).toBeUndefined();
  });

  it('a dialect with its own switch disables reasoning by it, and a model without reasoning gets no field', () => {
    const off = { reasoningEffort: 'none' } as const;
    expect(writeBody('https://api.openai.com/v1', off)).toMatchObject({ reasoning_effort: 'none' });
    expect(writeBody('https://api.deepseek.com', off)).toMatchObject({ thinking: { type: 'disabled' } });
    expect(writeBody('http://gpu.internal/v1', off, { capabilities: ['tools'] })).not.toHaveProperty(
      'reasoning_effort',
    );
  });

  it('Gemini gets a placeholder signature on the first tool call of each turn', () => {
    const calls = ['a', 'b'].map((id) => ({ type: 'toolCall', id, name: 'f', arguments: '{}' }) as const);
    const body = writeBody('https://generativelanguage.googleapis.com/v1beta/openai', {
      messages: [{ role: 'assistant', content: calls }],
    });
    const [one, two] = Object(body['messages'])[0].tool_calls;
    expect(one).toHaveProperty('extra_content.google.thought_signature');
    expect(two).not.toHaveProperty('extra_content');
  });

  it('a custom tool and its calls are sent as such to OpenAI, and as a function to other upstreams', () => {
    const custom = { description: 'Edits.', grammar: { syntax: 'lark', definition: 'start: "a"' } } as const;
    const parameters = { type: 'object', properties: { input: { type: 'string' } } };
    const request: Partial<GenerationRequest> = {
      tools: [{ name: 'edit', description: 'Edits. (grammar)', parameters, strict: false, custom }],
      toolChoice: { name: 'edit' },
      messages: [
        {
          role: 'assistant',
          content: [{ type: 'toolCall', id: 'c1', name: 'edit', arguments: '{"input":"a\\n"}', isCustom: true }],
        },
        { role: 'tool', toolCallId: 'c1', content: [{ type: 'text', text: 'ok' }] },
      ],
    };
    expect(writeBody('https://api.openai.com/v1', request)).toMatchObject({
      tools: [
        {
          type: 'custom',
          custom: { name: 'edit', description: 'Edits.', format: { type: 'grammar', grammar: custom.grammar } },
        },
      ],
      tool_choice: { type: 'custom', custom: { name: 'edit' } },
      messages: [{ tool_calls: [{ id: 'c1', type: 'custom', custom: { name: 'edit', input: 'a\n' } }] }, {}],
    });
    expect(writeBody('https://other.example.com/v1', request)).toMatchObject({
      tools: [{ type: 'function', function: { name: 'edit', description: 'Edits. (grammar)', parameters } }],
      tool_choice: { type: 'function', function: { name: 'edit' } },
      messages: [{ tool_calls: [{ function: { name: 'edit', arguments: '{"input":"a\\n"}' } }] }, {}],
    });
  });

  it('hosted tools are sent as the caller sent them', () => {
    const search = { type: 'web_search', max_uses: 2 };
    const request = { hostedTools: { tools: [search], choice: { type: 'web_search' } } };
    expect(writeBody('https://other.example.com/v1', request)).toMatchObject({
      tools: [search],
      tool_choice: { type: 'web_search' },
    });
  });

  it('the options of a web search are sent beside the tools', () => {
    const request = { hostedTools: { tools: [], webSearch: { search_context_size: 'low' } } };
    const body = writeBody('https://other.example.com/v1', request);
    expect(body).toMatchObject({ web_search_options: { search_context_size: 'low' } });
    expect(body).not.toHaveProperty('tools');
  });

  it('a target has the capabilities that it declares, or else those of its dialect', () => {
    expect(getOpenAICompatibleCapabilities(makeTarget('http://x/v1', { capabilities: ['tools', 'json'] }))).toEqual(
      new Set(['tools', 'json']),
    );
    const withoutDocuments = CAPABILITIES.filter(
      (capability) => !['documents', 'customTools', 'hostedTools', 'serviceTiers'].includes(capability),
    );
    expect(getOpenAICompatibleCapabilities(makeTarget('http://x/v1'))).toEqual(new Set(withoutDocuments));
    expect(getOpenAICompatibleCapabilities(makeTarget('https://api.deepseek.com')).has('strictJsonSchema')).toBe(false);
  });

  it('an upstream that refuses stream_options gets requests without it, immediately and from then on', async () => {
    answer = (body) =>
      body['stream_options'] === undefined
        ? { headers: EVENT_STREAM, body: readRecording('openai-text') }
        : {
            status: 422,
            body: { detail: [{ loc: ['body', 'stream_options'], msg: 'Extra inputs are not permitted' }] },
          };
    const model = makeModel(upstream.baseUrl);
    const before = upstream.requests.length;
    for (let round = 0; round < 2; round += 1) {
      const outcome = await collectOutcome(
        model.generate(makeRequest(), { signal: new AbortController().signal, streamed: true }),
      );
      expect(outcome.error).toBeUndefined();
    }
    const withStreamOptions = upstream.requests.slice(before).map(({ body }) => 'stream_options' in Object(body));
    expect(withStreamOptions).toEqual([true, false, false]);
  });

  it.each([
    ['stream_options', 'Cannot find field stream_options in #/$defs'],
    ['max_tokens', 'unknown keyword in #/$defs/max_tokens'],
  ])(
    'an upstream gets all fields again after an error that may have quoted %s from the request',
    async (field, message) => {
      // Only the first request fails, so that the request without the field is accepted.
      let tripped = false;
      answer = () => {
        if (tripped) return { headers: EVENT_STREAM, body: readRecording('openai-text') };
        tripped = true;
        return { status: 400, body: { error: { message } } };
      };
      const model = makeModel(upstream.baseUrl);
      const signal = new AbortController().signal;
      const schema = { $ref: `#/$defs/${field}` };
      const format = { type: 'jsonSchema', name: 'n', schema, strict: true } as const;
      const outcome = await collectOutcome(model.generate(makeRequest({ format }), { signal, streamed: true }));
      expect(outcome.error).toBeUndefined();
      await collectOutcome(model.generate(makeRequest(), { signal, streamed: true }));
      expect(upstream.requests.at(-1)?.body).toMatchObject({ stream_options: {}, max_tokens: 1_000 });
    },
  );

  it('an upstream that refuses a request with and without a field gets the field again', async () => {
    answer = () => ({ status: 400, body: { error: { message: 'stream_options: unknown field' } } });
    const model = makeModel(upstream.baseUrl);
    const signal = new AbortController().signal;
    await collectOutcome(model.generate(makeRequest(), { signal, streamed: true }));
    answer = () => ({ headers: EVENT_STREAM, body: readRecording('openai-text') });
    await collectOutcome(model.generate(makeRequest(), { signal, streamed: true }));
    expect(upstream.requests.at(-1)?.body).toMatchObject({ stream_options: { include_usage: true } });
  });

  it('an upstream that refuses one name of the output limit gets the other', async () => {
    const message =
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    answer = (body) =>
      body['max_tokens'] === undefined ? OK : { status: 400, body: { error: { message, param: 'max_tokens' } } };
    expect((await call(upstream.baseUrl, { streamed: false })).error).toBeUndefined();
    expect(upstream.requests.at(-1)?.body).toMatchObject({ max_completion_tokens: 1_000 });
  });

  it('the error of an upstream that refuses both names of the output limit is reported', async () => {
    answer = () => ({
      status: 400,
      body: { error: { message: 'max_tokens and max_completion_tokens are not supported' } },
    });
    const before = upstream.requests.length;
    expect(expectUpstreamError(await call(upstream.baseUrl, { streamed: false })).code).toBe('upstream_rejected');
    expect(upstream.requests.length - before).toBe(2);
  });
});

describe('the request to the upstream', () => {
  it('the URL is /chat/completions under the base URL, before its query', async () => {
    expect((await captureRequest()).path).toBe('/v1/chat/completions');
    const azure = await captureRequest(
      {},
      { baseUrl: `${upstream.baseUrl}/openai/deployments/d?api-version=2024-10-21` },
    );
    expect(azure.path).toBe('/v1/openai/deployments/d/chat/completions?api-version=2024-10-21');
  });

  it('the request carries the key as a bearer token, and the target’s headers by value or by reference', async () => {
    const { headers } = await captureRequest(
      {},
      { headers: { 'HTTP-Referer': 'https://example.com', 'api-key': 'env:OTHER' } },
    );
    expect(headers).toMatchObject({
      authorization: `Bearer ${KEY}`,
      'http-referer': 'https://example.com',
      'api-key': KEY,
      'content-type': 'application/json',
    });
  });

  it('a target needs no key', async () => {
    answer = () => OK;
    const { apiKey: _, ...open } = makeTarget(upstream.baseUrl);
    const { createOpenAICompatibleModel } = await import(
      '../../../../../shared/inference/providers/openai-compatible/openai-compatible.ts'
    );
    const model = createOpenAICompatibleModel(open, {
      maxOutputTokens: 10,
      secret: () => Promise.reject(new Error('asked')),
    });
    await collectOutcome(model.generate(makeRequest(), { signal: new AbortController().signal, streamed: false }));
    expect(upstream.requests.at(-1)?.headers).not.toHaveProperty('authorization');
  });
});
