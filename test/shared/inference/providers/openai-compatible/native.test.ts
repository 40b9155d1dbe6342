import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { OriginalRequest } from '../../../../../shared/inference/generation.ts';
import { encodeNativeChatStream } from '../../../../../shared/openai/chat/native.ts';
import { encodeNativeResponseStream } from '../../../../../shared/openai/responses/native.ts';
import { startUpstream } from '../../../../upstreams/openai-upstream.ts';
import { type Reply, streamEvents } from '../../../../upstreams/reply.ts';
import { collect, makeRequest } from '../../requests.ts';
import { KEY, makeModel, RESPONSE_OPTIONS } from './calls.ts';

const call = { signal: new AbortController().signal, streamed: true };

it('any events and fields of a response stream come through unchanged, but for what the service sets', async () => {
  let reply: Reply = {};
  await using upstream = await startUpstream(() => reply);
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  const json = fc.dictionary(fc.string(), fc.jsonValue({ depthSize: 'small' })).map((fields) => ({ ...fields }));
  const event = fc
    .tuple(json, fc.constantFrom('response.output_text.delta', 'response.novelty', 'x'))
    .map(([{ type: _, item: __, response: ___, output: ____, ...fields }, type]) => ({ ...fields, type }));
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 5 }), json, async (events, extra) => {
      const response = { ...extra, object: 'response', status: 'completed', output: [], id: 'resp_up', model: 'up' };
      const sent = [...events, { type: 'response.completed', response }];
      reply = streamEvents(sent);
      let text = '';
      for await (const frame of encodeNativeResponseStream(
        model.generate(makeRequest({ original }), call),
        RESPONSE_OPTIONS,
      ))
        text += frame;
      const received = text.split('\n\n').flatMap((frame) => {
        const at = frame.indexOf('data: ');
        return at === -1 ? [] : [JSON.parse(frame.slice(at + 6))];
      });
      const own = { id: 'resp_own', model: 'alias', store: false, background: false, metadata: {} };
      const last = { type: 'response.completed', response: { ...response, ...own, previous_response_id: null } };
      expect(received).toEqual(JSON.parse(JSON.stringify([...events, last])));
    }),
    { numRuns: 60 },
  );
});

it('any chunks and fields of a chat stream come through unchanged, but for the id and the model’s name', async () => {
  let reply: Reply = {};
  await using upstream = await startUpstream(() => reply);
  const model = makeModel(upstream.baseUrl, { passThrough: ['chat'] });
  const original: OriginalRequest = { protocol: 'chat', body: { messages: [] }, ignored: [] };
  const json = fc.dictionary(
    fc.string().map((name) => `x_${name}`),
    fc.jsonValue({ depthSize: 'small' }),
  );
  const call_1 = { index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } };
  const delta = fc.constantFrom<object>(
    { content: 'a\u2028b' },
    { role: 'assistant', content: '' },
    { reasoning_content: 'r' },
    { refusal: 'no' },
    { tool_calls: [call_1] },
    {},
  );
  const chunk = fc.tuple(json, json, json, delta).map(([top, choice, more, known]) => ({
    ...top,
    id: 'up',
    model: 'up',
    object: 'chat.completion.chunk',
    choices: [{ ...choice, index: 0, delta: { ...more, ...known }, finish_reason: null }],
  }));
  await fc.assert(
    fc.asyncProperty(fc.array(chunk, { maxLength: 6 }), json, fc.boolean(), async (chunks, extra, includeUsage) => {
      const choices = [{ ...extra, index: 0, delta: { content: 'end' }, finish_reason: 'stop' }];
      const usage = { ...extra, prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
      const sent = [...chunks, { choices }, { choices: [], usage }];
      reply = streamEvents([...sent, '[DONE]']);
      const head = { id: 'chatcmpl-own', model: 'alias', created: 1, system_fingerprint: 'fp' };
      const events = model.generate(makeRequest({ original }), call);
      let text = '';
      for await (const frame of encodeNativeChatStream(events, { head, includeUsage, includeLogprobs: false }))
        text += frame;
      const received = text.trim().split('\n\n');
      const expected = (includeUsage ? sent : sent.slice(0, -1)).map((each) => ({
        ...each,
        id: head.id,
        model: 'alias',
      }));
      expect(received.pop()).toBe('data: [DONE]');
      expect(received.map((frame) => JSON.parse(frame.slice(6)))).toEqual(JSON.parse(JSON.stringify(expected)));
    }),
    { numRuns: 60 },
  );
});

it.each([
  [{ type: 'response.completed' }],
  [{ type: 'response.completed', response: { object: 'response', status: 'in_progress', output: [] } }],
  [{ type: 'response.cancelled', response: { object: 'response', status: 'cancelled', output: [] } }],
])('a stream that ends with %j is not complete, and the caller doesn’t get this event', async (last) => {
  const delta = { type: 'response.output_text.delta', delta: 'Hi', sequence_number: 4 };
  await using upstream = await startUpstream(() => streamEvents([delta, last]));
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  let text = '';
  for await (const frame of encodeNativeResponseStream(
    model.generate(makeRequest({ original }), call),
    RESPONSE_OPTIONS,
  ))
    text += frame;
  expect(text.match(/^event: .*/gm)).toEqual([
    'event: response.output_text.delta',
    'event: error',
    'event: response.failed',
  ]);
  expect(text.match(/"sequence_number":\d+/g)).toEqual([4, 5, 6].map((number) => `"sequence_number":${number}`));
});

it('a message for Anthropic’s own API has its key, its betas and its tools, without those that are dropped', async () => {
  const message = {
    type: 'message',
    stop_reason: 'end_turn',
    content: [],
    usage: { input_tokens: 3, output_tokens: 2 },
  };
  await using upstream = await startUpstream(() => ({ body: message }));
  const model = makeModel(upstream.baseUrl, { passThrough: ['messages'] });
  const thinking = { type: 'thinking', thinking: 'T', signature: 'lambent1.e30' };
  const search = { type: 'web_search_20250305', name: 'web_search' };
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: [thinking, { type: 'text', text: 'Yes', citations: [{ type: 'new_location' }] }] },
  ];
  const original: OriginalRequest = {
    protocol: 'messages',
    betas: ['new-thing-2027-01-01'],
    ignored: [],
    body: { model: 'alias', max_tokens: 5_000, messages, tools: [null, search], brand_new: 1 },
  };
  const events = [];
  for await (const event of model.generate(makeRequest({ original, maxOutputTokens: 500 }), {
    ...call,
    streamed: false,
  }))
    events.push(event);
  expect(events).toMatchObject([
    { type: 'native', event: message },
    { type: 'finish', usage: { inputTokens: 3, outputTokens: 2 } },
  ]);
  const { path, headers, body } = upstream.requests[0] ?? {};
  expect(path).toBe('/v1/messages');
  expect(headers).toMatchObject({
    'x-api-key': KEY,
    'anthropic-version': '2023-06-01',
    'anthropic-beta': 'new-thing-2027-01-01',
  });
  expect(headers).not.toHaveProperty('authorization');
  expect(body).toEqual({
    model: 'upstream-model',
    max_tokens: 500,
    brand_new: 1,
    tools: [search],
    messages: [
      messages[0],
      { ...messages[1], content: [{ type: 'text', text: 'Yes', citations: [{ type: 'new_location' }] }] },
    ],
  });
});

it.each([
  ['standard', 'default'],
  ['priority', 'priority'],
  ['batch', undefined],
  [null, undefined],
])('a message that was served at the tier %s is of the tier %s, streamed or not', async (service_tier, expected) => {
  const usage = { input_tokens: 3, output_tokens: 0, service_tier };
  const message = { type: 'message', role: 'assistant', content: [], stop_reason: null, usage };
  const events = [
    { type: 'message_start', message },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } },
    { type: 'message_stop' },
  ];
  await using upstream = await startUpstream(({ body }) =>
    Object(body)['stream'] === true ? streamEvents(events) : { body: { ...message, stop_reason: 'end_turn' } },
  );
  const model = makeModel(upstream.baseUrl, { passThrough: ['messages'] });
  for (const streamed of [true, false]) {
    const body = { model: 'alias', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }], stream: streamed };
    const original: OriginalRequest = { protocol: 'messages', body, ignored: [] };
    const finish = (await collect(model.generate(makeRequest({ original }), { ...call, streamed }))).at(-1);
    expect(finish).toMatchObject({ type: 'finish', usage: { inputTokens: 3 } });
    expect(Object(finish)['serviceTier']).toBe(expected);
  }
});

it('a response that was served at the tier ultrafast is of the tier priority', async () => {
  const response = { object: 'response', status: 'completed', output: [], service_tier: 'ultrafast' };
  await using upstream = await startUpstream(() => streamEvents([{ type: 'response.completed', response }]));
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  const [event, finish] = await collect(model.generate(makeRequest({ original }), call));
  expect(event).toMatchObject({ type: 'native', event: { response: { service_tier: 'ultrafast' } } });
  expect(finish).toMatchObject({ type: 'finish', serviceTier: 'priority' });
});

const SYSTEM = [
  { role: 'user', content: 'Hi' },
  { role: 'system', content: 'Be brief.' },
];

it('a chat request is translated if the upstream refuses its later system messages', async () => {
  const refusal = { error: { message: 'System message must be at the beginning.' } };
  const completion = { choices: [{ message: { content: 'Yes' }, finish_reason: 'stop' }] };
  await using upstream = await startUpstream(({ body }) =>
    JSON.stringify(body).includes('brief') ? { status: 400, body: refusal } : { body: completion },
  );
  const model = makeModel(upstream.baseUrl, { passThrough: ['chat'] });
  const original: OriginalRequest = { protocol: 'chat', body: { messages: SYSTEM }, ignored: [] };
  const events = [];
  for await (const event of model.generate(makeRequest({ original }), { ...call, streamed: false })) events.push(event);
  expect(events[0]).toEqual({ type: 'text', text: 'Yes' });
});

it('a target that speaks nothing but messages is asked at no other endpoint, whatever it refuses', async () => {
  const error = { type: 'invalid_request_error', message: 'thinking: unknown parameter, max_tokens not supported' };
  await using upstream = await startUpstream(() => ({ status: 400, body: { type: 'error', error } }));
  const model = makeModel(upstream.baseUrl, { passThrough: ['messages'] });
  const thinking = { role: 'assistant', content: [{ type: 'thinking', thinking: 'T', signature: 'x' }] };
  const original: OriginalRequest = { protocol: 'messages', body: { messages: [...SYSTEM, thinking] }, ignored: [] };
  const answer = model.generate(makeRequest({ original }), { ...call, streamed: false })[Symbol.asyncIterator]();
  await expect(answer.next()).rejects.toMatchObject({ code: 'upstream_rejected' });
  expect(upstream.requests.map(({ path }) => path)).toEqual(['/v1/messages']);
});

it('only the upstream that has encrypted reasoning gets it back, under its own id', async () => {
  const item = { type: 'reasoning', id: 'rs_up', summary: [], encrypted_content: 'gAAA' };
  const response = { object: 'response', status: 'completed', output: [item] };
  await using upstream = await startUpstream(() => ({ body: response }));
  const ask = async (model: string, input: readonly object[]) => {
    const original: OriginalRequest = { protocol: 'responses', body: { input }, ignored: [] };
    const target = makeModel(upstream.baseUrl, { passThrough: ['responses'], model });
    const events = [];
    for await (const event of target.generate(makeRequest({ original }), { ...call, streamed: false }))
      events.push(event);
    return events;
  };
  const question = { role: 'user', content: 'Hi' };
  const [first] = await ask('a', [question]);
  const [own] = first?.type === 'native' ? (first.event['output'] as object[]) : [];
  expect(own).toMatchObject({ encrypted_content: { provider: 'openai-responses' } });
  const input = [{ ...own, id: 'rs_own' }, question];
  await ask('a', input);
  await ask('b', input);
  expect(upstream.requests.slice(1).map(({ body }) => Object(body).input)).toEqual([[item, question], [question]]);
});

it.each([
  [false, 'msg_up'],
  [true, 'msg_x'],
])('events name their item by its id in the answer (stored: %s)', async (stored, id) => {
  const events = [
    { type: 'response.output_item.added', output_index: 0, item: { type: 'message', id: 'msg_up' } },
    { type: 'response.output_text.delta', output_index: 0, item_id: 'msg_up', delta: 'Hi' },
    { type: 'response.completed', response: { object: 'response', status: 'completed', output: [] } },
  ];
  await using upstream = await startUpstream(() => streamEvents(events));
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  const options = { ...RESPONSE_OPTIONS, ...(stored && { stored, commit: async () => {} }) };
  let text = '';
  for await (const frame of encodeNativeResponseStream(model.generate(makeRequest({ original }), call), options))
    text += frame;
  expect(text.match(/"(item_)?id":"msg_\w+"/g)).toEqual([`"id":"${id}"`, `"item_id":"${id}"`]);
});

it('the items of a stream are stored if the upstream leaves them out at its end', async () => {
  const item = { type: 'message', id: 'msg_up', content: [{ type: 'output_text', text: 'Hi' }] };
  const done = { type: 'response.output_item.done', output_index: 0, item };
  const response = { object: 'response', status: 'completed', output: [] };
  await using upstream = await startUpstream(() => streamEvents([done, { type: 'response.completed', response }]));
  const model = makeModel(upstream.baseUrl, { passThrough: ['responses'] });
  const original: OriginalRequest = { protocol: 'responses', body: { input: 'Hi' }, ignored: [] };
  const stored: unknown[] = [];
  const options = { ...RESPONSE_OPTIONS, stored: true, commit: async (answer: unknown) => void stored.push(answer) };
  for await (const _ of encodeNativeResponseStream(model.generate(makeRequest({ original }), call), options));
  expect(stored).toMatchObject([
    { answer: { id: 'resp_own', output: [{ ...item, id: 'msg_x' }] }, upstreamIds: { msg_x: 'msg_up' } },
  ]);
});

const MESSAGE_START = { type: 'message_start', message: { usage: { input_tokens: 3 } } };

async function readMessage(reply: Reply, { body = {}, streamed = true } = {}) {
  await using upstream = await startUpstream(() => reply);
  const model = makeModel(upstream.baseUrl, { passThrough: ['messages'] });
  const messages = [{ role: 'user', content: 'Hi' }];
  const original: OriginalRequest = { protocol: 'messages', ignored: [], body: { messages, ...body } };
  const types: string[] = [];
  let error: unknown;
  try {
    const request = makeRequest({ original, maxOutputTokens: 2_000 });
    for await (const event of model.generate(request, { ...call, streamed }))
      types.push(event.type === 'native' ? String(event.event['type']) : event.type);
  } catch (thrown) {
    error = thrown;
  }
  return { types, error, sent: upstream.requests[0]?.body };
}

it('the first events of a message wait for one that says something, so that another target can be tried', async () => {
  const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  const failed = await readMessage(streamEvents([MESSAGE_START, { type: 'ping' }, overloaded]));
  expect(failed.types).toEqual([]);
  expect(failed.error).toMatchObject({ recovery: 'retry' });
  const block = { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } };
  const cut = await readMessage(streamEvents([MESSAGE_START, block]));
  expect(cut.types).toEqual(['message_start', 'content_block_start']);
  expect(cut.error).toMatchObject({ code: 'upstream_cut' });
});

it('a message in the other form than requested is refused, so that another target can be tried', async () => {
  const message = { type: 'message', stop_reason: 'end_turn', content: [] };
  const stopped = { type: 'message_delta', delta: { stop_reason: 'end_turn' } };
  for (const [reply, streamed] of [
    [{ body: message }, true],
    [streamEvents([MESSAGE_START, stopped, { type: 'message_stop' }]), false],
  ] as const) {
    const { types, error } = await readMessage(reply, { streamed });
    expect({ types, error }).toMatchObject({
      types: [],
      error: { code: 'upstream_malformed', recovery: 'nextTarget' },
    });
  }
});

it('a thinking budget is lowered below the output limit', async () => {
  const thinking = { type: 'enabled', budget_tokens: 8_000 };
  const { sent } = await readMessage({ status: 400 }, { body: { max_tokens: 9_000, thinking } });
  expect(sent).toMatchObject({ max_tokens: 1_000, thinking: { type: 'disabled' } });
});
