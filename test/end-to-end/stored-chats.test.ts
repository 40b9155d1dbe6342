import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { streamEvents } from '../upstreams/reply.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: ({ text, body }) =>
      text.includes('please cut')
        ? streamEvents([{ choices: [{ delta: { content: 'Well' } }] }], 'cut')
        : replyAsChatModel(body),
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const getError = (call: PromiseLike<unknown>) => Promise.resolve(call).catch((error: unknown) => error);
const say = (content: string, more: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {}) =>
  client.chat.completions.create({ model, messages: [{ role: 'user', content }], store: true, ...more });
const countModelCalls = () => service.upstream.requests.length;

async function listIds(query: OpenAI.ChatCompletionListParams): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of client.chat.completions.list(query)) ids.push(id);
  return ids;
}

describe('a stored chat completion', () => {
  it('a chat completion with store is retrieved as it was returned, with the parameters of its request', async () => {
    const created = await say('Hello', { metadata: { topic: 'sea' }, temperature: 0.5, seed: 7, user: 'u1' });
    const { _request_id: _, ...answered } = created;
    expect(await client.chat.completions.retrieve(created.id)).toMatchObject({
      ...answered,
      metadata: { topic: 'sea' },
      temperature: 0.5,
      seed: 7,
      input_user: 'u1',
      tools: null,
    });
    for (const store of [false, null, undefined]) {
      const { id } = await say('Hello', { store: store as boolean });
      expect(await getError(client.chat.completions.retrieve(id))).toMatchObject({ status: 404, code: 'not_found' });
    }
  });

  it('a streamed chat completion is stored when its last frame arrives', async () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const stream = await client.chat.completions.create({
      model,
      messages,
      store: true,
      stream: true,
      stream_options: { include_usage: true },
    });
    let id = '';
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      id = chunk.id;
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage;
      if (chunk.choices[0]?.finish_reason != null) break;
    }
    const stored = await client.chat.completions.retrieve(id);
    expect(stored).toMatchObject({ object: 'chat.completion', choices: [{ message: { content: text } }] });
    expect(stored.usage?.total_tokens).toBeGreaterThan(0);
    expect(usage).toBe(null);
  });

  it('a stream that breaks off stores nothing', async () => {
    const { length } = await listIds({});
    const messages = [{ role: 'user' as const, content: 'please cut' }];
    const stream = await client.chat.completions.create({ model, messages, store: true, stream: true });
    const read = async () => {
      for await (const _ of stream);
    };
    await expect(read()).rejects.toThrow();
    expect(await listIds({})).toHaveLength(length);
  });

  it('update replaces the metadata of a chat completion, and null removes it', async () => {
    const { id } = await say('Hello', { metadata: { topic: 'sea', lang: 'en' } });
    expect(await client.chat.completions.update(id, { metadata: { topic: 'land' } })).toMatchObject({
      id,
      metadata: { topic: 'land' },
    });
    expect(await client.chat.completions.retrieve(id)).toMatchObject({ metadata: { topic: 'land' } });
    await client.chat.completions.update(id, { metadata: null });
    expect(await client.chat.completions.retrieve(id)).toMatchObject({ metadata: {} });
    const invalid: [unknown, string][] = [
      [{}, 'missing_required_parameter'],
      [{ metadata: 'x' }, 'invalid_type'],
      [{ metadata: { a: 1 } }, 'invalid_value'],
      [[], 'invalid_type'],
    ];
    for (const [body, code] of invalid) {
      const call = client.chat.completions.update(id, body as OpenAI.ChatCompletionUpdateParams);
      expect(await getError(call)).toMatchObject({ status: 400, code });
    }
  });

  it('a deleted chat completion is in no list and can be neither retrieved nor updated nor deleted again', async () => {
    const { id } = await say('Hello', { metadata: { kept: 'no' } });
    expect(await client.chat.completions.delete(id)).toEqual({ id, object: 'chat.completion.deleted', deleted: true });
    const calls = [
      () => client.chat.completions.retrieve(id),
      () => client.chat.completions.update(id, { metadata: {} }),
      () => client.chat.completions.delete(id),
      () => client.chat.completions.messages.list(id),
    ];
    for (const call of calls) expect(await getError(call())).toMatchObject({ status: 404, code: 'not_found' });
    expect(await listIds({ metadata: { kept: 'no' } })).toEqual([]);
    expect(await getError(client.chat.completions.list({ after: id }))).toMatchObject({ status: 404, param: 'after' });
  });

  it('chat completions are listed page by page in either order, filtered by model and metadata', async () => {
    const run = `run-${Date.now()}`;
    const ids: string[] = [];
    for (const index of [0, 1, 2, 3, 4]) {
      const even = index % 2 === 0 ? 'yes' : 'no';
      const { id } = await say(`Line ${index}`, {
        model: index === 4 ? 'gpt-4o' : model,
        metadata: { run, even },
      });
      ids.push(id);
    }
    const metadata = { run };
    expect(await listIds({ metadata })).toEqual(ids);
    expect(await listIds({ metadata, order: 'desc', limit: 2 })).toEqual(ids.toReversed());
    expect(await listIds({ metadata, order: 'asc', limit: 2, after: ids[1] as string })).toEqual(ids.slice(2));
    expect(await listIds({ metadata: { run, even: 'no' }, limit: 1 })).toEqual([ids[1], ids[3]]);
    expect(await listIds({ metadata, model: 'gpt-4o' })).toEqual([ids[4]]);
    expect(await listIds({ metadata, model: 'other' })).toEqual([]);
    const page = await client.chat.completions.list({ metadata, limit: 2 });
    expect(page).toMatchObject({ has_more: true });
    expect(page.data[0]).toMatchObject({ object: 'chat.completion', metadata: { run, even: 'yes' } });
    await client.chat.completions.update(ids[0] as string, { metadata: {} });
    expect(await listIds({ metadata })).toEqual(ids.slice(1));
    const invalid = { limit: 0 } as OpenAI.ChatCompletionListParams;
    expect(await getError(client.chat.completions.list(invalid))).toMatchObject({ status: 400, param: 'limit' });
  });

  it('the messages of a chat completion are those of its request, with ids of their own', async () => {
    const image = 'data:image/png;base64,iVBORw0KGgo=';
    const parts: OpenAI.ChatCompletionContentPart[] = [
      { type: 'text', text: 'What is it?' },
      { type: 'image_url', image_url: { url: image } },
    ];
    const { id } = await client.chat.completions.create({
      model,
      store: true,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: parts, name: 'Ann' },
        { role: 'user', content: 'Well?' },
      ],
    });
    const all = [];
    for await (const message of client.chat.completions.messages.list(id, { limit: 2 })) all.push(message);
    expect(all).toMatchObject([
      { id: `${id}-0`, role: 'system', content: 'Be brief.', content_parts: null, name: null },
      { id: `${id}-1`, role: 'user', content: null, content_parts: parts, name: 'Ann' },
      { id: `${id}-2`, role: 'user', content: 'Well?', content_parts: null },
    ]);
    const newest = await client.chat.completions.messages.list(id, { order: 'desc', limit: 1 });
    expect(newest.data).toMatchObject([{ id: `${id}-2` }]);
  });

  it('a repeated request gets the stored chat completion, and is refused once it is deleted', async () => {
    for (const stream of [false, true]) {
      const options = { headers: { 'Idempotency-Key': `stored-${stream}` } };
      const body = { model, store: true, stream, messages: [{ role: 'user' as const, content: 'Hello' }] };
      const read = async () => {
        const { data, response } = await client.chat.completions.create(body, options).withResponse();
        if (!('choices' in data)) {
          let id = '';
          for await (const chunk of data) id = chunk.id;
          return { id, replayed: response.headers.get('idempotent-replayed') };
        }
        return { id: data.id, replayed: response.headers.get('idempotent-replayed') };
      };
      const first = await read();
      const calls = countModelCalls();
      expect(await read()).toEqual({ id: first.id, replayed: 'true' });
      expect(countModelCalls()).toBe(calls);
      await client.chat.completions.delete(first.id);
      expect(await getError(read())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
      expect(countModelCalls()).toBe(calls);
    }
  });

  it('a stored chat completion is no response', async () => {
    const { id } = await say('Hello');
    expect(await getError(client.responses.retrieve(id))).toMatchObject({ status: 404 });
    expect(await getError(client.responses.delete(id))).toMatchObject({ status: 404 });
    expect(await getError(client.responses.create({ model, input: 'Hi', previous_response_id: id }))).toMatchObject({
      status: 400,
      code: 'previous_response_not_found',
    });
    const response = await client.responses.create({ model, input: 'Hello' });
    expect(await getError(client.chat.completions.retrieve(response.id))).toMatchObject({ status: 404 });
  });
});
