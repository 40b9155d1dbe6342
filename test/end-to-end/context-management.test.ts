import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { collect } from '../shared/inference/requests.ts';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

type Input = OpenAI.Responses.ResponseInputItem[];

/** A model that summarizes: it notes the words that follow `fact:` in the conversation. */
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: ({ text, body }) => {
      if (!text.includes('<conversation>')) return replyAsChatModel(body);
      if (text.includes('write nothing')) return replyWith('');
      const facts = [...text.matchAll(/fact: (\w+)/g)].map(([, fact]) => `Noted ${fact}.`);
      return replyWith(`${facts.join(' ')} End of notes.`);
    },
    alias: { contextTokens: 8_000 },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const SUMMARY_USAGE = { prompt_tokens: 1_000_000, completion_tokens: 100_000, total_tokens: 1_100_000 };
const replyWith = (content: string) => ({
  body: { choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }], usage: SUMMARY_USAGE },
});
const model = 'compatible';
const context_management = [{ type: 'compaction', compact_threshold: 1_000 }];
/** About 1,500 tokens. */
const LONG = 'fact: heron. '.padEnd(6_000, 'lorem ipsum ');
const history: Input = [
  { role: 'developer', content: 'Answer in French.' },
  { role: 'user', content: 'Find the fact.' },
  { role: 'assistant', content: LONG },
  { role: 'user', content: 'And which one now?' },
];

/** Returns the last request to the model. */
const getLastRequest = () => JSON.stringify(service.upstream.requests.at(-1)?.body);
const countSummaries = () =>
  service.upstream.requests.filter(({ body }) => JSON.stringify(body).includes('<conversation>')).length;
const waitForEnd = (id: string) =>
  waitUntil('the response has ended', async () => {
    const response = await client.responses.retrieve(id).catch(() => undefined);
    return response !== undefined && !['queued', 'in_progress'].includes(response.status ?? '') ? response : undefined;
  });

/** Expects that the model was sent the notes in place of the conversation. */
function expectCompacted(last = getLastRequest()): void {
  for (const part of ['Answer in French.', 'Find the fact.', 'Noted heron.', 'And which one now?']) {
    expect(last).toContain(part);
  }
  expect(last).not.toContain('lorem ipsum');
}

describe('a request whose input exceeds the threshold of context_management', () => {
  it('the response begins with a sealed compaction item, and its usage includes the summary', async () => {
    const response = await client.responses.create({ model, input: history, context_management });
    expect(response.output).toMatchObject([
      { type: 'compaction', id: expect.stringMatching(/^cmp_/), encrypted_content: expect.any(String) },
      { type: 'message', role: 'assistant' },
    ]);
    expect(Object.keys(response.output[0] ?? {}).sort()).toEqual(['encrypted_content', 'id', 'type']);
    expect(response.usage?.input_tokens).toBeGreaterThan(SUMMARY_USAGE.prompt_tokens);
    expect(response.usage?.output_tokens).toBeGreaterThan(SUMMARY_USAGE.completion_tokens);
    expectCompacted();
    const stored = await client.responses.retrieve(response.id);
    expect(stored.output).toEqual(response.output);
  });

  it('the stream has the events of the compaction item before those of the answer', async () => {
    const stream = await client.responses.create({ model, input: history, context_management, stream: true });
    const events = await collect(stream);
    expect(events.map(({ type }) => type).slice(0, 5)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.output_item.done',
      'response.output_item.added',
    ]);
    expect(events.slice(2, 5)).toMatchObject([
      { output_index: 0, item: { type: 'compaction' } },
      { output_index: 0, item: { type: 'compaction' } },
      { output_index: 1, item: { type: 'message' } },
    ]);
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, index) => index));
    const last = events.at(-1);
    if (last?.type !== 'response.completed') throw new Error('The stream is not complete');
    expect(last.response.output[0]).toMatchObject({ type: 'compaction' });
    expect(last.response.usage?.input_tokens).toBeGreaterThan(SUMMARY_USAGE.prompt_tokens);
  });

  it('a stateless client continues with the compaction item in place of all items before it', async () => {
    const first = await client.responses.create({ model, input: history, context_management, store: false });
    expect(first.output[0]?.type).toBe('compaction');
    const before = countSummaries();
    // The items before the compaction may be left out, or sent again.
    for (const earlier of [[], history]) {
      const input = [...earlier, ...(first.output as Input), { role: 'user' as const, content: 'Go on' }];
      const next = await client.responses.create({ model, input, context_management, store: false });
      expect(next.output.map(({ type }) => type)).toEqual(['message']);
      expectCompacted();
      expect(getLastRequest()).toContain('Go on');
    }
    expect(countSummaries()).toBe(before);
  });

  it('a chain continues from the compaction item, in the foreground and in the background', async () => {
    const first = await client.responses.create({ model, input: history, context_management });
    const second = await client.responses.create({ model, input: 'Go on', previous_response_id: first.id });
    expectCompacted();
    const third = await client.responses.create({
      model,
      input: 'Still there?',
      previous_response_id: second.id,
      background: true,
      context_management,
    });
    expect((await waitForEnd(third.id)).output.map(({ type }) => type)).toEqual(['message']);
    expectCompacted();
    expect(getLastRequest()).toContain('Go on');
  });

  it('a conversation continues from the compaction item', async () => {
    const conversation = (await client.conversations.create({ items: history.slice(0, 3) })).id;
    const input = 'And which one now?';
    const first = await client.responses.create({ model, input, conversation, context_management });
    expect(first.output[0]?.type).toBe('compaction');
    expectCompacted();
    // What precedes the compaction no longer counts, although it is more than the model's context together.
    for (const turn of [1, 2, 3]) {
      await client.responses.create({ model, input: `${turn} ${LONG.repeat(3)}`, conversation, context_management });
    }
    await client.responses.create({ model, input: 'Go on', conversation, context_management });
    expect(getLastRequest()).toContain('Answer in French.');
    expect(getLastRequest()).toContain('Noted heron.');
    const items = await collect(client.conversations.items.list(conversation));
    expect(items.filter(({ type }) => type === 'compaction').length).toBeGreaterThan(1);
  });

  it.each([false, true])('a background response is compacted as well (streamed: %s)', async (stream) => {
    const body = { model, input: history, context_management, background: true };
    const events = stream ? await collect(await client.responses.create({ ...body, stream: true })) : [];
    const [created] = events;
    const { id } = created?.type === 'response.created' ? created.response : await client.responses.create(body);
    const response = await waitForEnd(id);
    expect(response.output.map(({ type }) => type)).toEqual(['compaction', 'message']);
    expect(response.usage?.input_tokens).toBeGreaterThan(SUMMARY_USAGE.prompt_tokens);
    expectCompacted();
    if (stream) {
      expect(events).toContainEqual(expect.objectContaining({ type: 'response.output_item.done', output_index: 0 }));
    }
  });

  it('calls whose outputs the model has not seen are kept unchanged', async () => {
    const input: Input = [
      ...history,
      { type: 'function_call', call_id: 'call_1', name: 'weather', arguments: '{"city":"Rome"}' },
      { type: 'function_call_output', call_id: 'call_1', output: 'Old and seen' },
      { type: 'function_call', call_id: 'call_2', name: 'weather', arguments: '{"city":"Oslo"}' },
      { type: 'function_call', call_id: 'call_3', name: 'weather', arguments: '{"city":"Bern"}' },
      { type: 'function_call_output', call_id: 'call_2', output: 'Cold' },
      { type: 'function_call_output', call_id: 'call_3', output: 'Mild' },
    ];
    const response = await client.responses.create({ model, input, context_management });
    expect(response.output[0]?.type).toBe('compaction');
    for (const part of ['Oslo', 'Bern', 'Cold', 'Mild', 'Noted heron.']) expect(getLastRequest()).toContain(part);
    expect(getLastRequest()).not.toContain('lorem ipsum');
  });

  it('a call is kept with its output although the model has written a text after it', async () => {
    const input: Input = [
      ...history,
      { type: 'function_call', call_id: 'call_2', name: 'weather', arguments: '{"city":"Oslo"}' },
      { role: 'assistant', content: 'And the other one.' },
      { type: 'function_call', call_id: 'call_3', name: 'weather', arguments: '{"city":"Bern"}' },
      { type: 'function_call_output', call_id: 'call_2', output: 'Cold' },
      { type: 'function_call_output', call_id: 'call_3', output: 'Mild' },
    ];
    const response = await client.responses.create({ model, input, context_management });
    expect(response.output[0]?.type).toBe('compaction');
    for (const part of ['Oslo', 'other one', 'Bern', 'Cold', 'Mild']) expect(getLastRequest()).toContain(part);
  });

  it('what a tool search has just found is kept, and an older search is an answered call', async () => {
    const tools = [{ type: 'function' as const, name: 'found_tool', parameters: {}, strict: false }];
    const search = (call_id: string): Input => [
      { type: 'tool_search_call', call_id, execution: 'client', arguments: { query: 'q' } },
      { type: 'tool_search_output', call_id, execution: 'client', tools },
    ];
    const { output } = await client.responses.create({
      model,
      input: [...history, ...search('s1')],
      context_management,
    });
    expect(output[0]?.type).toBe('compaction');
    expect(JSON.stringify(Object(service.upstream.requests.at(-1)?.body).tools)).toContain('found_tool');
    const input = [...history.slice(0, 1), ...search('s2'), ...history.slice(1)];
    const compacted = await client.responses.compact({ model, input });
    const next = [...(compacted.output as Input), { role: 'user' as const, content: 'Go on' }];
    expect((await client.responses.create({ model, input: next })).status).toBe('completed');
    expect(getLastRequest()).not.toContain('s2');
  });
});

describe('a compaction item in a message of the queue', () => {
  it('a compaction item in a queue message reaches the model opened, and its context can be compacted again', async () => {
    const { output } = await client.responses.compact({ model, input: history });
    const sqs = new SQSClient({
      endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
      region: 'eu-west-1',
      credentials: service.cloud.credentials,
    });
    const send = async (idempotencyKey: string, body: object) => {
      const message = {
        version: 1,
        type: 'generate',
        tenant: 'local',
        idempotencyKey,
        endpoint: '/v1/responses',
        body,
      };
      const QueueUrl = service.cloud.resources['GENERATION_QUEUE_URL'];
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(message) }));
      return waitForEnd(deriveResponseId('local', idempotencyKey));
    };
    const tools = [{ type: 'function', name: 'weather', parameters: { type: 'object', properties: {} } }];
    const input = [...output, { role: 'user', content: 'Go on' }];
    const first = await send('compacted', { model, input, tools });
    expect(first).toMatchObject({ status: 'completed', output: [{ type: 'function_call' }] });
    expect(getLastRequest()).toContain('Noted heron.');
    const long = [...input, { role: 'assistant', content: LONG }, { role: 'user', content: 'And now?' }];
    const second = await send('compacted again', { model, input: long, context_management });
    expect(second.output.map(({ type }) => type)).toEqual(['compaction', 'message']);
    expect(getLastRequest()).not.toContain('lorem ipsum');
    const forged = await send('forged', { model, input: [{ type: 'compaction', encrypted_content: 'lambentc1.x' }] });
    expect(forged).toMatchObject({ status: 'failed' });
    sqs.destroy();
  });
});

describe('a request that is not compacted', () => {
  const hello = [{ role: 'user' as const, content: 'Hello' }];

  it.each([
    ['below the threshold', { input: hello, context_management }],
    ['with one long message only', { input: [{ role: 'user' as const, content: LONG }], context_management }],
    ['below three quarters of the context', { input: history, context_management: [{ type: 'compaction' }] }],
    ['without entries', { input: history, context_management: [] }],
    ['with null', { input: history, context_management: null }],
  ])('a request %s is answered as it is', async (_, body) => {
    const before = countSummaries();
    const response = await client.responses.create({ model, ...body });
    expect(response.output.map(({ type }) => type)).toEqual(['message']);
    expect(countSummaries()).toBe(before);
  });

  it('entries of context_management with an unknown type have no effect, and a header names them', async () => {
    const { data, response } = await client.responses
      .create({ model, input: history, context_management: [{ type: 'prune', compact_threshold: 1_000 }] })
      .withResponse();
    expect(data.output.map(({ type }) => type)).toEqual(['message']);
    expect(response.headers.get('x-lambent-ignored')).toBe('context_management[prune]');
  });

  it.each([
    [{ type: 'compaction', compact_threshold: 999 }, 'context_management[0].compact_threshold'],
    [{ type: 'compaction', compact_threshold: 'x' }, 'context_management[0].compact_threshold'],
    [{ compact_threshold: 1_000 }, 'context_management[0].type'],
    ['compaction', 'context_management[0]'],
  ])('the entry %j is refused', async (entry, param) => {
    const call = client.responses.create({ model, input: 'Hi', context_management: [entry as never] });
    await expect(call).rejects.toMatchObject({ status: 400, param });
  });

  it('a compaction item whose prefix was replaced by that of the other kind is refused', async () => {
    const { output } = await client.responses.create({ model, input: history, context_management });
    const [item] = output;
    if (item?.type !== 'compaction') throw new Error('There is no compaction');
    const encrypted_content = item.encrypted_content.replace(/^lambentw1/, 'lambentc1');
    const call = client.responses.create({ model, input: [{ type: 'compaction', encrypted_content }] });
    await expect(call).rejects.toMatchObject({ status: 400, param: 'input' });
  });

  it('a response whose summary fails is refused with the error', async () => {
    const input: Input = [...history.slice(0, 3), { role: 'user', content: 'write nothing' }];
    const long: Input = [{ role: 'user', content: 'write nothing' }, ...input];
    const call = client.responses.create({ model, input: long, context_management });
    await expect(call).rejects.toMatchObject({ status: 502, code: 'upstream_malformed' });
  });
});
