import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chatModel } from '../upstreams/chat-model.ts';
import { type Service, startService } from './service.ts';

/** Until then the model says nothing to who asks it to speak when told to. */
const told = Promise.withResolvers<void>();
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  service = await startService({
    script: async ({ body }) => {
      const asked = JSON.stringify(body);
      if (asked.includes('when told to')) await told.promise;
      return chatModel(body, { pauseMs: asked.includes('slowly') ? 600 : 0 });
    },
    environment: { JOB_DEADLINE_HOURS: '48', RETENTION_DAYS: '5' },
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
const background = true;
const refusal = (of: Promise<unknown>) => of.catch((error: unknown) => error);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until a response is none of `statuses`. */
async function past(id: string, statuses: readonly (string | undefined)[]): Promise<OpenAI.Responses.Response> {
  for (let tries = 0; tries < 200; tries += 1) {
    const response = await client.responses.retrieve(id);
    if (!statuses.includes(response.status)) return response;
    await sleep(100);
  }
  throw new Error(`${id} stays as it is`);
}
const ended = (id: string) => past(id, ['queued', 'in_progress']);

type Event = OpenAI.Responses.ResponseStreamEvent;

async function read(stream: AsyncIterable<Event>, upTo = Number.POSITIVE_INFINITY): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length >= upTo) break;
  }
  return events;
}

describe('a background response', () => {
  test('is queued at once and completed in its time', async () => {
    const response = await client.responses.create({ model, input: 'Hello', background });
    expect(response).toMatchObject({ status: 'queued', background: true, store: true, output: [] });
    expect(await ended(response.id)).toMatchObject({
      id: response.id,
      status: 'completed',
      background: true,
      output_text: 'You said: Hello',
    });
  }, 30_000);

  test('has the time that is set for queued work, and is kept the days that are set from then on', async () => {
    const { id, created_at } = await client.responses.create({ model, input: 'Hello', background });
    const table = new DynamoDBClient({
      region: 'eu-west-1',
      endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    });
    const TableName = service.cloud.resources['JOBS_TABLE'];
    const Key = { pk: { S: `local#${id}` }, sk: { S: 'job' } };
    const { Item } = await table.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
    table.destroy();
    const hoursFrom = (seconds: number) => Math.round((seconds - created_at) / 3_600);
    expect(hoursFrom(Number(Item?.['deadline']?.N) / 1000)).toBe(48);
    expect(hoursFrom(Number(Item?.['expiresAt']?.N))).toBe(48 + 5 * 24);
  });

  test('has to be stored', async () => {
    expect(await refusal(client.responses.create({ model, input: 'Hello', background, store: false }))).toMatchObject({
      status: 400,
      param: 'background',
    });
  });

  test('goes on from a chain, and is gone on from', async () => {
    const first = await client.responses.create({ model, input: 'One' });
    const second = await client.responses.create({ model, input: 'Two', background, previous_response_id: first.id });
    expect(
      await refusal(client.responses.create({ model, input: 'Three', previous_response_id: second.id })),
    ).toMatchObject({ status: 400 });
    await ended(second.id);
    await client.responses.create({ model, input: 'Three', previous_response_id: second.id });
    const body = service.upstream.requests.at(-1)?.body as { messages: { content: unknown }[] };
    expect(body.messages.map(({ content }) => content)).toEqual([
      'One',
      'You said: One',
      'Two',
      'You said: Two',
      'Three',
    ]);
  }, 30_000);

  test('adds its turn to its conversation', async () => {
    const { id } = await client.conversations.create();
    const response = await client.responses.create({ model, input: 'One', background, conversation: id });
    await ended(response.id);
    for (let tries = 0; tries < 50; tries += 1) {
      if ((await client.conversations.items.list(id)).data.length > 0) break;
      await sleep(100);
    }
    expect((await client.conversations.items.list(id, { order: 'asc' })).data).toMatchObject([
      { role: 'user' },
      { role: 'assistant' },
    ]);
  }, 30_000);

  test('is one with one idempotency key', async () => {
    const options = { headers: { 'Idempotency-Key': 'once' } };
    const first = await client.responses.create({ model, input: 'Hello', background }, options);
    expect((await client.responses.create({ model, input: 'Hello', background }, options)).id).toBe(first.id);
  });

  test('runs in the flex tier where it is asked for', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello', background, service_tier: 'flex' });
    expect(await ended(id)).toMatchObject({ status: 'completed' });
  }, 30_000);

  test('is cancelled at once, also while it runs, and stays so', async () => {
    const stream = await client.responses.create({ model, input: 'Say slowly '.repeat(40), background, stream: true });
    let id = '';
    for await (const event of stream) {
      if (event.type === 'response.created') ({ id } = event.response);
      if (event.type === 'response.output_text.delta') break;
    }
    expect(await client.responses.cancel(id)).toMatchObject({ status: 'cancelled', output: [] });
    expect(await client.responses.retrieve(id)).toMatchObject({ status: 'cancelled' });
    // The stream goes on until the model has been told.
    const last = (await read(await client.responses.retrieve(id, { stream: true }))).at(-1);
    expect(last).toMatchObject({ type: 'response.cancelled', response: { status: 'cancelled' } });
    expect(await client.responses.cancel(id)).toMatchObject({ status: 'cancelled', output: [] });
  }, 40_000);

  test('is the only kind that can be cancelled', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    expect(await refusal(client.responses.cancel(id))).toMatchObject({ status: 400 });
  });

  test('can be deleted while it runs', async () => {
    const { id } = await client.responses.create({ model, input: 'Say slowly '.repeat(20), background });
    await past(id, ['queued']);
    await client.responses.delete(id);
    expect(await refusal(client.responses.retrieve(id))).toMatchObject({ status: 404 });
  }, 30_000);
});

describe('the stream of a background response', () => {
  test('is followed to its end, and can be resumed from any event', async () => {
    const stream = await client.responses.create({ model, input: 'Tell me slowly', background, stream: true });
    const all = await read(stream);
    const numbers = all.map((event) => event.sequence_number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(all.map(({ type }) => type).slice(0, 3)).toEqual([
      'response.created',
      'response.queued',
      'response.in_progress',
    ]);
    const last = all.at(-1);
    if (last?.type !== 'response.completed') throw new Error(`ended in ${last?.type}`);
    expect(await client.responses.retrieve(last.response.id)).toMatchObject({
      output_text: 'You said: Tell me slowly',
    });
    for (const [index, event] of all.slice(0, -1).entries()) {
      const starting_after = event.sequence_number;
      const rest = await read(await client.responses.retrieve(last.response.id, { stream: true, starting_after }));
      expect(rest).toEqual(all.slice(index + 1));
    }
    expect(await read(await client.responses.retrieve(last.response.id, { stream: true }))).toEqual(all);
    expect(numbers).toEqual(all.map((_, index) => index));
  }, 60_000);

  test('ends at once after its last event, and is refused after one that it never had', async () => {
    const all = await read(await client.responses.create({ model, input: 'Hello', background, stream: true }));
    const last = all.at(-1);
    if (last?.type !== 'response.completed') throw new Error(`ended in ${last?.type}`);
    const resumed = (starting_after: number) =>
      client.responses.retrieve(last.response.id, { stream: true, starting_after });
    expect(await read(await resumed(last.sequence_number - 1))).toEqual([last]);
    for (const _ of ['once', 'again']) expect(await read(await resumed(last.sequence_number))).toEqual([]);
    for (const never of [last.sequence_number + 1, 99_999]) {
      expect(await refusal(resumed(never))).toMatchObject({ status: 400, param: 'starting_after' });
    }
  }, 60_000);

  test('is resumed while it runs, by somebody who had only the beginning', async () => {
    const stream = await client.responses.create({ model, input: 'Say it slowly to me', background, stream: true });
    const begun = await read(stream, 4);
    const first = begun[0];
    if (first?.type !== 'response.created') throw new Error(`began with ${first?.type}`);
    const starting_after = begun.at(-1)?.sequence_number ?? 0;
    const rest = await read(await client.responses.retrieve(first.response.id, { stream: true, starting_after }));
    const text = [...begun, ...rest].map((event) => (event.type === 'response.output_text.delta' ? event.delta : ''));
    expect(text.join('')).toBe('You said: Say it slowly to me');
  }, 60_000);

  test('begins at once when it is resumed before there is more, in a way that the client passes over', async () => {
    const asked = { model, input: 'Speak when told to', max_output_tokens: 1 };
    const begun = await client.responses.create({ ...asked, background, stream: true });
    const events = await read(begun, 2);
    const [first, last] = [events[0], events.at(-1)];
    if (first?.type !== 'response.created') throw new Error(`began with ${first?.type}`);
    const resume = () =>
      client.responses.retrieve(first.response.id, { stream: true, starting_after: last?.sequence_number ?? 0 });
    const raw = await resume().asResponse();
    const reader = raw.body?.getReader();
    const chunk = await reader?.read();
    expect(raw.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(Buffer.from(chunk?.value ?? []).toString()).toBe(': keep-alive\n\n');
    await reader?.cancel();
    told.resolve();
    const rest = await read(await resume());
    expect(rest[0]?.type).toBe('response.in_progress');
    expect(rest.at(-1)).toMatchObject({ type: 'response.incomplete', response: { status: 'incomplete' } });
  }, 60_000);

  test('is refused for a response that has none', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello' });
    expect(await refusal(client.responses.retrieve(id, { stream: true }))).toMatchObject({ status: 400 });
    const { id: quiet } = await client.responses.create({ model, input: 'Hello', background });
    expect(await refusal(client.responses.retrieve(quiet, { stream: true, starting_after: -7 }))).toMatchObject({
      status: 400,
    });
  });
});
