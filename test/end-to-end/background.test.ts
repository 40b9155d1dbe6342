import { GetItemCommand } from '@aws-sdk/client-dynamodb';
import type OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

/**
 * The model pauses until this settles: before its answer if a request contains `wait first`, and after its first token
 * if it contains `slowly`.
 */
let gate = Promise.withResolvers<void>();
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: async ({ body }) => {
      const question = JSON.stringify(body);
      if (question.includes('wait first')) await gate.promise;
      return replyAsChatModel(body, { gate: question.includes('slowly') ? gate.promise : undefined });
    },
    environment: { JOB_DEADLINE_HOURS: '48', RETENTION_DAYS: '5' },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());
afterEach(() => {
  gate.resolve();
  gate = Promise.withResolvers<void>();
});

const model = 'compatible';
const background = true;
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);

/** Waits until a response has none of `statuses`, and returns it. */
function waitUntilPast(id: string, statuses: readonly (string | undefined)[]): Promise<OpenAI.Responses.Response> {
  return waitUntil(`${id} is past ${statuses}`, async () => {
    const response = await client.responses.retrieve(id);
    return statuses.includes(response.status) ? undefined : response;
  });
}
const waitUntilEnded = (id: string) => waitUntilPast(id, ['queued', 'in_progress']);

type Event = OpenAI.Responses.ResponseStreamEvent;

async function readEvents(stream: AsyncIterable<Event>, atMost = Number.POSITIVE_INFINITY): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length >= atMost) break;
  }
  return events;
}

describe('a background response', () => {
  it('a background response is returned as queued at once, and completes later', async () => {
    const response = await client.responses.create({ model, input: 'Hello', background });
    expect(response).toMatchObject({ status: 'queued', background: true, store: true, output: [] });
    expect(await waitUntilEnded(response.id)).toMatchObject({
      id: response.id,
      status: 'completed',
      background: true,
      output_text: 'You said: Hello',
    });
  });

  it('a background response has the configured deadline and retention period', async () => {
    const { id, created_at } = await client.responses.create({ model, input: 'Hello', background });
    const table = connectToTables(service.cloud);
    const TableName = service.cloud.resources['JOBS_TABLE'];
    const Key = { pk: { S: `local#${id}` }, sk: { S: 'job' } };
    const { Item } = await table.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
    table.destroy();
    const hoursUntil = (seconds: number) => Math.round((seconds - created_at) / 3_600);
    expect(hoursUntil(Number(Item?.['deadline']?.N) / 1000)).toBe(48);
    expect(hoursUntil(Number(Item?.['expiresAt']?.N))).toBe(48 + 5 * 24);
  });

  it('a background response is refused with store: false', async () => {
    expect(await getError(client.responses.create({ model, input: 'Hello', background, store: false }))).toMatchObject({
      status: 400,
      param: 'background',
    });
  });

  it('a background response continues a chain, and can be continued once it has ended', async () => {
    const first = await client.responses.create({ model, input: 'One' });
    const second = await client.responses.create({
      model,
      input: 'Two: wait first',
      background,
      previous_response_id: first.id,
    });
    expect(
      await getError(client.responses.create({ model, input: 'Three', previous_response_id: second.id })),
    ).toMatchObject({ status: 400 });
    gate.resolve();
    await waitUntilEnded(second.id);
    await client.responses.create({ model, input: 'Three', previous_response_id: second.id });
    const body = service.upstream.requests.at(-1)?.body as { messages: { content: unknown }[] };
    expect(body.messages.map(({ content }) => content)).toEqual([
      'One',
      'You said: One',
      'Two: wait first',
      'You said: Two: wait first',
      'Three',
    ]);
  });

  it('a background response adds its turn to its conversation', async () => {
    const { id } = await client.conversations.create();
    await client.responses.create({ model, input: 'One', background, conversation: id });
    const items = await waitUntil('the conversation has items', async () => {
      const { data } = await client.conversations.items.list(id, { order: 'asc' });
      return data.length > 0 && data;
    });
    expect(items).toMatchObject([{ role: 'user' }, { role: 'assistant' }]);
  });

  it('a background response is created once for an idempotency key', async () => {
    const options = { headers: { 'Idempotency-Key': 'once' } };
    const first = await client.responses.create({ model, input: 'Hello', background }, options);
    expect((await client.responses.create({ model, input: 'Hello', background }, options)).id).toBe(first.id);
  });

  it('a background response completes in the flex tier', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello', background, service_tier: 'flex' });
    expect(await waitUntilEnded(id)).toMatchObject({ status: 'completed' });
  });

  it('a running background response is cancelled at once, and stays cancelled', async () => {
    const stream = await client.responses.create({ model, input: 'Say it slowly', background, stream: true });
    let id = '';
    for await (const event of stream) {
      if (event.type === 'response.created') ({ id } = event.response);
      if (event.type === 'response.output_text.delta') break;
    }
    expect(await client.responses.cancel(id)).toMatchObject({ status: 'cancelled', output: [] });
    expect(await client.responses.retrieve(id)).toMatchObject({ status: 'cancelled' });
    // The stream ends once the worker has seen the cancellation at its next heartbeat.
    const last = (await readEvents(await client.responses.retrieve(id, { stream: true }))).at(-1);
    expect(last).toMatchObject({ type: 'response.cancelled', response: { status: 'cancelled' } });
    expect(await client.responses.cancel(id)).toMatchObject({ status: 'cancelled', output: [] });
  });

  it('a response that is not in the background cannot be cancelled', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    expect(await getError(client.responses.cancel(id))).toMatchObject({ status: 400 });
  });

  it('a background response can be deleted while it runs', async () => {
    const { id } = await client.responses.create({ model, input: 'Say it slowly', background });
    await waitUntilPast(id, ['queued']);
    await client.responses.delete(id);
    expect(await getError(client.responses.retrieve(id))).toMatchObject({ status: 404 });
  });
});

describe('the stream of a background response', () => {
  it('the stream of a background response ends with the response, and can be resumed after each event', async () => {
    const all = await readEvents(await client.responses.create({ model, input: 'Tell me', background, stream: true }));
    const numbers = all.map((event) => event.sequence_number);
    expect(numbers).toEqual(all.map((_, index) => index));
    expect(all.map(({ type }) => type).slice(0, 3)).toEqual([
      'response.created',
      'response.queued',
      'response.in_progress',
    ]);
    const last = all.at(-1);
    if (last?.type !== 'response.completed') throw new Error(`The stream ended in ${last?.type}`);
    expect(await client.responses.retrieve(last.response.id)).toMatchObject({ output_text: 'You said: Tell me' });
    for (const [index, event] of all.slice(0, -1).entries()) {
      const starting_after = event.sequence_number;
      const rest = await readEvents(
        await client.responses.retrieve(last.response.id, { stream: true, starting_after }),
      );
      expect(rest).toEqual(all.slice(index + 1));
    }
    expect(await readEvents(await client.responses.retrieve(last.response.id, { stream: true }))).toEqual(all);
  });

  it('a stream is empty when resumed after its last event, and refused after an event that it never had', async () => {
    const all = await readEvents(await client.responses.create({ model, input: 'Hello', background, stream: true }));
    const last = all.at(-1);
    if (last?.type !== 'response.completed') throw new Error(`The stream ended in ${last?.type}`);
    const resume = (starting_after: number) =>
      client.responses.retrieve(last.response.id, { stream: true, starting_after });
    expect(await readEvents(await resume(last.sequence_number - 1))).toEqual([last]);
    for (const _ of ['once', 'again']) expect(await readEvents(await resume(last.sequence_number))).toEqual([]);
    for (const never of [last.sequence_number + 1, 99_999]) {
      expect(await getError(resume(never))).toMatchObject({ status: 400, param: 'starting_after' });
    }
  });

  it('a client that has only the first events of a running response can resume its stream', async () => {
    const stream = await client.responses.create({ model, input: 'Say it slowly to me', background, stream: true });
    const head = await readEvents(stream, 4);
    const first = head[0];
    if (first?.type !== 'response.created') throw new Error(`The stream began with ${first?.type}`);
    const starting_after = head.at(-1)?.sequence_number ?? 0;
    const resumed = await client.responses.retrieve(first.response.id, { stream: true, starting_after });
    gate.resolve();
    const text = [...head, ...(await readEvents(resumed))].map((event) =>
      event.type === 'response.output_text.delta' ? event.delta : '',
    );
    expect(text.join('')).toBe('You said: Say it slowly to me');
  });

  it('a stream that is resumed before there are new events begins with a comment line', async () => {
    const question = { model, input: 'Please wait first', max_output_tokens: 1 };
    const events = await readEvents(await client.responses.create({ ...question, background, stream: true }), 2);
    const [first, last] = [events[0], events.at(-1)];
    if (first?.type !== 'response.created') throw new Error(`The stream began with ${first?.type}`);
    const resume = () =>
      client.responses.retrieve(first.response.id, { stream: true, starting_after: last?.sequence_number ?? 0 });
    const raw = await resume().asResponse();
    const reader = raw.body?.getReader();
    const chunk = await reader?.read();
    expect(raw.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(Buffer.from(chunk?.value ?? []).toString()).toBe(': keep-alive\n\n');
    await reader?.cancel();
    gate.resolve();
    const rest = await readEvents(await resume());
    expect(rest[0]?.type).toBe('response.in_progress');
    expect(rest.at(-1)).toMatchObject({ type: 'response.incomplete', response: { status: 'incomplete' } });
  });

  it('a stream is refused for a response that was created without one', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    expect(await getError(client.responses.retrieve(id, { stream: true }))).toMatchObject({ status: 400 });
    const { id: unstreamed } = await client.responses.create({ model, input: 'Hello', background });
    expect(await getError(client.responses.retrieve(unstreamed, { stream: true, starting_after: -7 }))).toMatchObject({
      status: 400,
    });
  });
});
