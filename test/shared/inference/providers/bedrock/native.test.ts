import { InvokeModelCommand } from '@aws-sdk/client-bedrock-runtime';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Frame, Responder } from '../../../../../local/bedrock/frames.ts';
import { parseMessagesRequest } from '../../../../../shared/anthropic/request.ts';
import { createTestRegistry, TENANT } from '../../../api/service.ts';
import { catchUpstreamError, makeTarget, script, start, stop, text, Upstream, usage, wholeAnswer } from './upstream.ts';

const SONNET_4_6 = 'eu.anthropic.claude-sonnet-4-6';
const OPUS_4_8 = 'global.anthropic.claude-opus-4-8';
const registry = createTestRegistry();

let respond: Responder;
let upstream: Upstream;
beforeAll(async () => {
  upstream = await Upstream.start((call) => respond(call));
});
afterAll(() => upstream[Symbol.asyncDispose]());
beforeEach(() => {
  respond = script(...wholeAnswer);
  upstream.calls.length = 0;
});

/** Sends a body of the Messages API to a model, and returns the events. */
function send(changes: object = {}, model = SONNET_4_6, streamed = true) {
  const body = { model: 'default', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }], ...changes };
  const { generation } = parseMessagesRequest(body, { registry, tenant: TENANT, headers: {} });
  return upstream.generate(generation, { target: makeTarget({ model }), streamed });
}

/** Sends a body and returns the one that reached Bedrock. */
async function capture(changes: object = {}, model = SONNET_4_6): Promise<Record<string, unknown>> {
  await send(changes, model);
  return JSON.parse(upstream.calls.at(-1)?.json ?? '');
}

const isNative = (body: Record<string, unknown>): boolean => 'anthropic_version' in body;

describe('the answer', () => {
  it('a streamed answer consists of Claude’s own events, with the usage of all', async () => {
    const events = await send();
    expect(events.map((each) => (each.type === 'native' ? each.event['type'] : each.type))).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
      'finish',
    ]);
    expect(JSON.stringify(events)).not.toContain('amazon-bedrock');
    expect(events.at(-1)).toMatchObject({ type: 'finish', reason: 'stop', usage: { inputTokens: 7, outputTokens: 5 } });
  });

  it('a buffered answer is one event', async () => {
    const [answer, finish] = await send({}, SONNET_4_6, false);
    expect(answer).toMatchObject({ type: 'native', event: { content: [{ type: 'text', text: 'Hello' }] } });
    expect(finish).toMatchObject({ type: 'finish', usage: { inputTokens: 7, outputTokens: 5 } });
  });

  it.each([true, false])('the answer has the service tier that Bedrock reports: streamed %s', async (streamed) => {
    upstream.client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        Object(result.response).headers['x-amzn-bedrock-service-tier'] = 'priority';
        return result;
      },
      { step: 'deserialize', name: 'reportTier', priority: 'low', override: true },
    );
    onTestFinished(() => void upstream.client.middlewareStack.remove('reportTier'));
    expect((await send({}, SONNET_4_6, streamed)).at(-1)).toMatchObject({ type: 'finish', serviceTier: 'priority' });
  });

  it.each<[string, readonly Frame[]]>([
    ['cut', [start, text('x'), { type: 'cut' }]],
    [
      'ended by an exception',
      [start, text('x'), { type: 'exception', name: 'modelStreamErrorException', message: 'x' }],
    ],
  ])('an answer that is %s is an error', async (_, frames) => {
    respond = script(...frames);
    expect(await catchUpstreamError(send())).toMatchObject({ code: 'upstream_cut' });
  });

  it('a refused call is an error before the first event', async () => {
    respond = script({ type: 'error', status: 429, name: 'ThrottlingException', message: 'Too many requests' });
    expect(await catchUpstreamError(send())).toMatchObject({ code: 'rate_limit_exceeded', recovery: 'retry' });
  });

  it('a failure after the first event of the stream, but before content, yields nothing', async () => {
    respond = script(start, { type: 'exception', name: 'throttlingException', message: 'x' });
    const events: unknown[] = [];
    const failure = await catchUpstreamError(
      (async () => {
        const body = { model: 'default', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
        const { generation } = parseMessagesRequest(body, { registry, tenant: TENANT, headers: {} });
        const { createBedrockModel } = await import('../../../../../shared/inference/providers/bedrock/bedrock.ts');
        const model = createBedrockModel(makeTarget({ model: SONNET_4_6 }), upstream.client, { maxOutputTokens: 9 });
        const signal = new AbortController().signal;
        for await (const event of model.generate(generation, { signal, streamed: true })) events.push(event);
      })(),
    );
    expect(failure.code).toBe('rate_limit_exceeded');
    expect(events).toEqual([]);
  });
});

describe('the request', () => {
  it('the caller’s body is sent, without what Bedrock refuses', async () => {
    const cache_control = { type: 'ephemeral', ttl: '1h', scope: 'global' };
    const body = await capture({
      system: [
        { type: 'text', text: 'x-anthropic-billing-header: a' },
        { type: 'text', text: 'S', cache_control },
      ],
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: [{ type: 'text', text: 'Yes', citations: null }] },
        { role: 'user', content: 'Go' },
      ],
      tools: [
        {
          name: 'f',
          input_schema: { type: 'object' },
          defer_loading: true,
          eager_input_streaming: true,
          cache_control,
        },
        { type: 'web_search_20250305', name: 'web_search' },
      ],
      thinking: { type: 'adaptive', display: 'summarized' },
      output_config: { effort: 'high' },
      metadata: { user_id: 'u' },
      context_management: { edits: [] },
      inference_geo: 'eu',
    });
    const mark = { type: 'ephemeral', ttl: '1h' };
    expect(body).toEqual({
      anthropic_version: 'bedrock-2023-05-31',
      max_tokens: 100,
      system: [{ type: 'text', text: 'S', cache_control: mark }],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
        { role: 'assistant', content: [{ type: 'text', text: 'Yes' }] },
        { role: 'user', content: [{ type: 'text', text: 'Go' }] },
      ],
      tools: [{ name: 'f', input_schema: { type: 'object' }, cache_control: mark }],
      thinking: { type: 'adaptive', display: 'summarized' },
      output_config: { effort: 'high' },
      metadata: { user_id: 'u' },
    });
  });

  it('null members and empty citations, which Bedrock refuses in places, are left out', async () => {
    const body = await capture({
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi', citations: [] }] }],
      output_config: { effort: 'high', format: null },
    });
    expect(body).toMatchObject({ output_config: { effort: 'high' } });
    expect(body['output_config']).not.toHaveProperty('format');
    expect(body['messages']).toEqual([{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }]);
  });

  it('a tool of a server with the name of another tool declares nothing', async () => {
    const tools = [
      { type: 'web_search_20250305', name: 'f' },
      { name: 'f', input_schema: { type: 'object' } },
      { type: 'code_execution_20250522', name: 'edit' },
      { type: 'text_editor_20250124', name: 'edit' },
      { type: 'memory_20250818', name: 'memory' },
      { type: 'tool_search_tool_bm25', name: 'memory' },
    ];
    const body = await capture({ tools });
    expect(body['tools']).toMatchObject([{ name: 'f' }, { type: 'text_editor_20250124' }, { name: 'memory' }]);
  });

  it.each([
    ['an assistant message', [{ role: 'assistant', content: 'Yes' }]],
    [
      'a blank message',
      [
        { role: 'user', content: ' ' },
        { role: 'assistant', content: 'Yes' },
        { role: 'user', content: 'Go' },
      ],
    ],
    ['nothing but a system message', [{ role: 'system', content: 'Be kind' }]],
  ])('a conversation that begins with %s is translated, which adds a user message', async (_, messages) => {
    expect(isNative(await capture({ messages }))).toBe(false);
  });

  it('a mark of the whole request becomes one of its last block', async () => {
    const body = await capture({ cache_control: { type: 'ephemeral' } });
    expect(body['messages']).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: { type: 'ephemeral' } }] },
    ]);
  });

  it('system messages in mid-conversation keep their role from version 4.8 on, and are moved to the next user message before', async () => {
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Yes' },
      { role: 'system', content: 'Be kind' },
      { role: 'user', content: 'Go' },
    ];
    expect((await capture({ messages }, OPUS_4_8))['messages']).toMatchObject([{}, {}, { role: 'system' }, {}]);
    expect((await capture({ messages }))['messages']).toMatchObject([
      {},
      {},
      { role: 'user', content: [{ text: 'Go' }, { text: 'Be kind' }] },
    ]);
  });

  it('Claude’s own thinking is sent back, that of another target is not', async () => {
    const thinking = (signature: string) => ({ type: 'thinking', thinking: 'T', signature });
    const redacted = (data: string) => ({ type: 'redacted_thinking', data });
    const content = [
      ...[thinking('c2ln'), redacted('cmVk'), thinking('lambent1.e30'), redacted('lambent1.e30'), redacted('')],
      { type: 'text', text: 'Yes' },
    ];
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content },
      { role: 'user', content: 'Go' },
    ];
    const body = await capture({ messages, thinking: { type: 'adaptive' } });
    expect(body['messages']).toMatchObject([
      {},
      { content: [{ signature: 'c2ln' }, { data: 'cmVk' }, { type: 'text' }] },
      {},
    ]);
  });

  it.each([
    ['document', 'application/pdf', 'JVBERi0='],
    ['image', 'image/png', 'iVBORw0KGgo='],
  ])('a message may consist of one %s', async (type, media_type, data) => {
    const content = [{ type, source: { type: 'base64', media_type, data } }];
    expect((await capture({ messages: [{ role: 'user', content }] }))['messages']).toEqual([{ role: 'user', content }]);
  });

  it.each([
    ['thinking that the version doesn’t know', { thinking: { type: 'adaptive' } }, 'eu.anthropic.claude-sonnet-4-5'],
    [
      'an output format',
      { output_config: { format: { type: 'json_schema', schema: { type: 'object', additionalProperties: false } } } },
      SONNET_4_6,
    ],
    ['two sampling parameters', { temperature: 0.5, top_p: 1 }, SONNET_4_6],
    ['a model other than Claude', {}, 'amazon.nova-pro-v1:0'],
  ])('a request is translated because of %s', async (_, changes, model) => {
    expect(isNative(await capture(changes, model))).toBe(false);
  });

  it('strict tools have the schemas of a translated request, and citations of servers’ tools are left out', async () => {
    const input_schema = {
      type: 'object',
      properties: { n: { type: 'integer', minimum: 1 } },
      required: ['n'],
      additionalProperties: false,
    };
    const found = { type: 'web_search_result_location', url: 'https://example.com' };
    const body = await capture({
      tools: [{ name: 'f', input_schema, strict: true }],
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: [{ type: 'text', text: 'Yes', citations: [found] }] },
        { role: 'user', content: 'Go' },
      ],
    });
    expect(body['tools']).toMatchObject([
      { strict: true, input_schema: { properties: { n: { type: 'integer', description: '(minimum: 1)' } } } },
    ]);
    expect(JSON.stringify(body['tools'])).not.toContain('"minimum"');
    expect(JSON.stringify(body['messages'])).not.toContain('citations');
  });

  it('the service tier is the caller’s, and without one the target’s', async () => {
    const tiers: unknown[] = [];
    upstream.client.middlewareStack.add(
      (next) => (args) => {
        tiers.push(Object(args.request).headers['x-amzn-bedrock-service-tier']);
        return next(args);
      },
      { step: 'finalizeRequest', name: 'recordTier', override: true },
    );
    const target = { ...makeTarget({ model: SONNET_4_6 }), serviceTier: 'priority' as const };
    for (const service_tier of ['standard_only', 'auto', undefined]) {
      const body = { model: 'default', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }], service_tier };
      const { generation } = parseMessagesRequest(body, { registry, tenant: TENANT, headers: {} });
      const [first] = await upstream.generate(generation, { target });
      expect(first?.type).toBe('native');
    }
    expect(tiers).toEqual(['default', 'priority', 'priority']);
  });

  it('a budget stays below the output limit', async () => {
    const thinking = { type: 'enabled', budget_tokens: 8_000 };
    expect((await capture({ thinking, max_tokens: 4_000 }))['thinking']).toMatchObject({ budget_tokens: 3_999 });
    expect((await capture({ thinking, max_tokens: 900 }))['thinking']).toEqual({ type: 'disabled' });
  });

  it('the stand-in refuses what Bedrock refuses', async () => {
    const body = {
      anthropic_version: 'bedrock-2023-05-31',
      anthropic_beta: ['oauth-2025-04-20'],
      max_tokens: 9,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }] }],
    };
    const command = new InvokeModelCommand({ modelId: SONNET_4_6, body: JSON.stringify(body) });
    await expect(upstream.client.send(command)).rejects.toThrow('invalid beta flag');
  });

  it('usage of the cache is read from all events', async () => {
    const chunk = (event: object): Frame => ({ type: 'event', event: event as never });
    respond = script(
      start,
      text('x'),
      stop('end_turn'),
      chunk({ metadata: { usage: { inputTokens: 3, outputTokens: 1 } } }),
      usage,
    );
    expect((await send()).at(-1)).toMatchObject({ usage: { cachedInputTokens: 0, cacheWriteTokens: 0 } });
  });
});
