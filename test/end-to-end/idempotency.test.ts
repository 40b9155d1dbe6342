import { DynamoDBClient, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
let failing = false;
/** A model that is asked to speak slowly stops after its first token until this settles. */
let gate = Promise.withResolvers<void>();
beforeAll(async () => {
  service = await startService({
    script: ({ body }) =>
      failing
        ? { status: 400, body: { error: { message: 'no', type: 'invalid_request_error', param: null, code: null } } }
        : replyAsChatModel(body, { gate: JSON.stringify(body).includes('slowly') ? gate.promise : undefined }),
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());
afterEach(() => {
  gate.resolve();
  gate = Promise.withResolvers<void>();
});

const model = 'compatible';
let keys = 0;
const withKey = () => {
  keys += 1;
  return { idempotencyKey: `key-${keys}`, headers: { 'Idempotency-Key': `key-${keys}` } };
};
const rejection = (call: Promise<unknown>) => call.catch((error: unknown) => error);
const retryAfterOf = (error: unknown) =>
  error instanceof OpenAI.APIError ? error.headers?.get('retry-after') : undefined;
const modelCalls = () => service.upstream.requests.length;

/** Posts `body` and returns the unparsed answer. */
async function post(path: string, body: unknown, key: string): Promise<string> {
  const response = await fetch(`${service.cloud.url}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(body),
  });
  return response.text();
}

/** Reads a stream to its end and returns its last event. */
async function readLast(stream: AsyncIterable<OpenAI.Responses.ResponseStreamEvent>) {
  let last: OpenAI.Responses.ResponseStreamEvent | undefined;
  for await (const event of stream) last = event;
  return last;
}

/** A client for the jobs' table, and the table's name. */
function jobsTable() {
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  return { client, TableName: service.cloud.resources['JOBS_TABLE'] };
}

/** Returns the sort keys of a response's items in the jobs' table. */
async function sortKeysOf(id: string): Promise<(string | undefined)[]> {
  const { client, TableName } = jobsTable();
  const { Items = [] } = await client.send(new ScanCommand({ TableName }));
  client.destroy();
  return Items.filter(({ pk }) => pk?.S?.endsWith(`#${id}`)).map(({ sk }) => sk?.S);
}

/**
 * Expires the lease of every held idempotency key, as time would.
 * @returns the longest time that any of them still had, in milliseconds
 */
async function expireKeyLeases(): Promise<number> {
  const { client, TableName } = jobsTable();
  const { Items = [] } = await client.send(
    new ScanCommand({ TableName, FilterExpression: 'attribute_exists(claimUntil)' }),
  );
  const left = Items.map(({ claimUntil }) => Number(claimUntil?.N) - Date.now());
  for (const { pk, sk } of Items) {
    if (pk === undefined || sk === undefined) continue;
    const now = { ':now': { N: String(Date.now()) } };
    await client.send(
      new UpdateItemCommand({
        TableName,
        Key: { pk, sk },
        UpdateExpression: 'SET claimUntil = :now',
        ExpressionAttributeValues: now,
      }),
    );
  }
  client.destroy();
  return Math.max(...left);
}

const chat = { model, messages: [{ role: 'user' as const, content: 'Hello' }] };
const question = { model, input: 'Hello' };

describe('a repeated call with the same idempotency key and body', () => {
  const calls: readonly [string, (options: object) => Promise<{ id: string }>][] = [
    ['a chat completion', (options) => client.chat.completions.create(chat, options)],
    ['a response', (options) => client.responses.create(question, options)],
    ['a conversation', (options) => client.conversations.create({ metadata: { a: 'b' } }, options)],
  ];

  it.each(calls)('creates %s once', async (_, create) => {
    const options = withKey();
    const first = await create(options);
    const before = modelCalls();
    expect((await create(options)).id).toBe(first.id);
    expect(modelCalls()).toBe(before);
    expect((await create(withKey())).id).not.toBe(first.id);
  });

  it('adds items once', async () => {
    const { id } = await client.conversations.create();
    const options = withKey();
    const items = [{ role: 'user' as const, content: 'One' }];
    const first = await client.conversations.items.create(id, { items }, options);
    expect((await client.conversations.items.create(id, { items }, options)).data).toEqual(first.data);
    expect((await client.conversations.items.list(id)).data).toHaveLength(1);
  });

  it.each([
    ['/chat/completions', chat, /data: \[DONE\]\n\n$/],
    ['/responses', question, /event: response\.completed\n.*\n\n$/],
  ])('replays a stream of %s byte by byte', async (path, body, end) => {
    const { idempotencyKey } = withKey();
    const first = await post(path, { ...body, stream: true }, idempotencyKey);
    expect(first).toMatch(end);
    const before = modelCalls();
    expect(await post(path, { ...body, stream: true }, idempotencyKey)).toBe(first);
    expect(modelCalls()).toBe(before);
  });

  it('is recognised whatever the order of the body’s fields', async () => {
    const { idempotencyKey } = withKey();
    const first = await post('/responses', { model, input: 'Hello' }, idempotencyKey);
    expect(await post('/responses', { input: 'Hello', model }, idempotencyKey)).toBe(first);
  });
});

describe('an idempotency key', () => {
  it('is refused with another body', async () => {
    const options = withKey();
    await client.chat.completions.create(chat, options);
    const other = { ...chat, temperature: 1 };
    expect(await rejection(client.chat.completions.create(other, options))).toMatchObject({
      status: 422,
      code: 'idempotency_key_reused',
    });
  });

  it('does not collide with the same key on another route', async () => {
    const options = withKey();
    await client.chat.completions.create(chat, options);
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  it('is refused with Retry-After while its first call runs', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say this slowly' };
    const stream = await client.responses.create({ ...slowly, stream: true }, options);
    const second = await rejection(client.responses.create({ ...slowly, stream: true }, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(retryAfterOf(second)).toMatch(/^\d+$/);
    gate.resolve();
    for await (const _ of stream);
  });

  it('returns the background response of its first call while that call still streams', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say this slowly', background: true, stream: true as const };
    const [first, second] = [
      await client.responses.create(slowly, options),
      await client.responses.create(slowly, options),
    ];
    gate.resolve();
    const [firstEnd, secondEnd] = await Promise.all([readLast(first), readLast(second)]);
    expect(firstEnd).toMatchObject({ type: 'response.completed', response: { id: expect.any(String) } });
    expect(secondEnd).toEqual(firstEnd);
  });

  it('can be used again once the lease of a killed function has expired', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say that slowly', stream: true as const };
    const stream = await client.responses.create(slowly, options);
    for (const { pid, function: name, busy } of service.cloud.processes()) {
      if (name === 'chat' && busy) process.kill(pid, 'SIGKILL');
    }
    await expect(readLast(stream)).rejects.toThrow();
    const second = await rejection(client.responses.create(slowly, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(retryAfterOf(second)).toMatch(/^\d+$/);
    gate.resolve();
    expect(await expireKeyLeases()).toBeLessThanOrEqual(30_000);
    expect((await readLast(await client.responses.create(slowly, options)))?.type).toBe('response.completed');
  });

  it('can be used again after a failed call', async () => {
    const options = withKey();
    failing = true;
    expect(await rejection(client.responses.create(question, options))).toMatchObject({ status: 400 });
    failing = false;
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  it.each([
    ['a response', (options: object) => client.responses.create({ ...question, store: false }, options)],
    ['a chat completion', (options: object) => client.chat.completions.create({ ...chat, store: false }, options)],
  ])('is refused the second time for %s with store: false', async (_, create) => {
    const options = withKey();
    await create(options);
    const before = modelCalls();
    expect(await rejection(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    expect(modelCalls()).toBe(before);
  });

  const responses: readonly [string, (options: object) => Promise<{ id: string }>][] = [
    ['a response', (options) => client.responses.create(question, options)],
    [
      'a streamed response',
      async (options) => {
        const last = await readLast(await client.responses.create({ ...question, stream: true }, options));
        return { id: last?.type === 'response.completed' ? last.response.id : '' };
      },
    ],
    [
      'a background response',
      async (options) => {
        const { id } = await client.responses.create({ ...question, background: true }, options);
        const status = async () => (await client.responses.retrieve(id)).status;
        await waitUntil(`${id} is completed`, async () => (await status()) === 'completed');
        return { id };
      },
    ],
  ];

  it.each(responses)('does not replay %s after its deletion, and nothing of it remains stored', async (_, create) => {
    const options = withKey();
    const { id } = await create(options);
    expect((await create(options)).id).toBe(id);
    await client.responses.delete(id);
    expect(await sortKeysOf(id)).toEqual(['job']);
    const before = modelCalls();
    expect(await rejection(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    expect(modelCalls()).toBe(before);
  });

  it('replays a conversation and its items in their current state, and not after their deletion', async () => {
    const [made, added] = [withKey(), withKey()];
    const create = () => client.conversations.create({ metadata: { bird: 'canary' } }, made);
    const { id } = await create();
    await client.conversations.update(id, { metadata: { bird: 'wren' } });
    expect(await create()).toMatchObject({ id, metadata: { bird: 'wren' } });
    const items = [
      { role: 'user' as const, content: 'One' },
      { role: 'user' as const, content: 'Two' },
    ];
    const add = () => client.conversations.items.create(id, { items }, added);
    const first = (await add()).data[0]?.id ?? '';
    expect((await add()).data).toHaveLength(2);
    await client.conversations.items.delete(first, { conversation_id: id });
    expect(await rejection(add())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    await client.conversations.delete(id);
    expect(await rejection(create())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
  });

  it('is refused when longer than 255 characters', async () => {
    expect(JSON.parse(await post('/responses', question, 'k'.repeat(256)))).toMatchObject({
      error: { code: 'invalid_value' },
    });
  });
});
