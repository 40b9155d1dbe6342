import { ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { waitUntil } from '../wait.ts';
import { addKeys, connectToTables } from './keys.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
let failing = false;
/** If a request contains `slowly`, the model pauses after its first token until this settles. */
let gate = Promise.withResolvers<void>();
beforeAll(async () => {
  service = await startService({
    script: ({ body }) =>
      failing
        ? { status: 400, body: { error: { message: 'no', type: 'invalid_request_error', param: null, code: null } } }
        : replyAsChatModel(body, { gate: JSON.stringify(body).includes('slowly') ? gate.promise : undefined }),
    // A lease lasts as long as in AWS, so that it hasn't expired when a busy machine has started a process after a kill.
    environment: { TIMINGS_DIVISOR: '1' },
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
const createKeyOptions = () => {
  keys += 1;
  return { idempotencyKey: `key-${keys}`, headers: { 'Idempotency-Key': `key-${keys}` } };
};
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);
const getRetryAfter = (error: unknown) =>
  error instanceof OpenAI.APIError ? error.headers?.get('retry-after') : undefined;
const countModelCalls = () => service.upstream.requests.length;

/** Posts `body` and returns the text of the response. */
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

/** Returns a client for the jobs' table, and the table's name. */
function connectToJobsTable() {
  const client = connectToTables(service.cloud);
  return { client, TableName: service.cloud.resources['JOBS_TABLE'] };
}

/** Returns the sort keys of a response's items in the jobs' table. */
async function readSortKeys(id: string): Promise<(string | undefined)[]> {
  const { client, TableName } = connectToJobsTable();
  const { Items = [] } = await client.send(new ScanCommand({ TableName }));
  client.destroy();
  return Items.filter(({ pk }) => pk?.S?.endsWith(`#${id}`)).map(({ sk }) => sk?.S);
}

/**
 * Expires the lease of every idempotency record, as if time had passed.
 * @returns the remaining time of the longest of them, in milliseconds
 */
async function expireKeyLeases(): Promise<number> {
  const { client, TableName } = connectToJobsTable();
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

  it.each(calls)('a repeated call creates %s once', async (_, create) => {
    const options = createKeyOptions();
    const first = await create(options);
    const before = countModelCalls();
    expect((await create(options)).id).toBe(first.id);
    expect(countModelCalls()).toBe(before);
    expect((await create(createKeyOptions())).id).not.toBe(first.id);
  });

  it('a repeated call adds items once', async () => {
    const { id } = await client.conversations.create();
    const options = createKeyOptions();
    const items = [{ role: 'user' as const, content: 'One' }];
    const first = await client.conversations.items.create(id, { items }, options);
    expect((await client.conversations.items.create(id, { items }, options)).data).toEqual(first.data);
    expect((await client.conversations.items.list(id)).data).toHaveLength(1);
  });

  it.each([
    ['/chat/completions', chat, /data: \[DONE\]\n\n$/],
    ['/responses', question, /event: response\.completed\n.*\n\n$/],
  ])('a repeated call of %s replays the stream byte by byte', async (path, body, end) => {
    const { idempotencyKey } = createKeyOptions();
    const first = await post(path, { ...body, stream: true }, idempotencyKey);
    expect(first).toMatch(end);
    const before = countModelCalls();
    expect(await post(path, { ...body, stream: true }, idempotencyKey)).toBe(first);
    expect(countModelCalls()).toBe(before);
  });

  it('a repeated call is recognized whatever the order of the body’s fields', async () => {
    const { idempotencyKey } = createKeyOptions();
    const first = await post('/responses', { model, input: 'Hello' }, idempotencyKey);
    expect(await post('/responses', { input: 'Hello', model }, idempotencyKey)).toBe(first);
  });
});

describe('an idempotency key', () => {
  it('an idempotency key is refused with another body', async () => {
    const options = createKeyOptions();
    await client.chat.completions.create(chat, options);
    const other = { ...chat, temperature: 1 };
    expect(await getError(client.chat.completions.create(other, options))).toMatchObject({
      status: 422,
      code: 'idempotency_key_reused',
    });
  });

  it('an idempotency key can also be used on another route', async () => {
    const options = createKeyOptions();
    await client.chat.completions.create(chat, options);
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  it('an idempotency key is refused with Retry-After while its first call runs', async () => {
    const options = createKeyOptions();
    const slowly = { model, input: 'Say this slowly' };
    const stream = await client.responses.create({ ...slowly, stream: true }, options);
    const second = await getError(client.responses.create({ ...slowly, stream: true }, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(getRetryAfter(second)).toMatch(/^\d+$/);
    gate.resolve();
    for await (const _ of stream);
  });

  it('a repeated call streams the background response of the first call while that call still streams', async () => {
    const options = createKeyOptions();
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

  it('an idempotency key can be used again once the lease of a killed function has expired', async () => {
    const options = createKeyOptions();
    const slowly = { model, input: 'Say that slowly', stream: true as const };
    const stream = await client.responses.create(slowly, options);
    for (const { pid, function: name, busy } of service.cloud.processes()) {
      if (name === 'chat' && busy) process.kill(pid, 'SIGKILL');
    }
    await expect(readLast(stream)).rejects.toThrow();
    const second = await getError(client.responses.create(slowly, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(getRetryAfter(second)).toMatch(/^\d+$/);
    gate.resolve();
    expect(await expireKeyLeases()).toBeLessThanOrEqual(30_000);
    expect((await readLast(await client.responses.create(slowly, options)))?.type).toBe('response.completed');
  });

  it('an idempotency key can be used again after a failed call', async () => {
    const options = createKeyOptions();
    failing = true;
    expect(await getError(client.responses.create(question, options))).toMatchObject({ status: 400 });
    failing = false;
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  it.each([
    ['a response', (options: object) => client.responses.create({ ...question, store: false }, options)],
    ['a chat completion', (options: object) => client.chat.completions.create({ ...chat, store: false }, options)],
  ])('an idempotency key is refused the second time for %s with store: false', async (_, create) => {
    const options = createKeyOptions();
    await create(options);
    const before = countModelCalls();
    expect(await getError(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    expect(countModelCalls()).toBe(before);
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

  it.each(responses)(
    'a repeated call does not replay %s after its deletion, and only its tombstone remains stored',
    async (_, create) => {
      const options = createKeyOptions();
      const { id } = await create(options);
      expect((await create(options)).id).toBe(id);
      await client.responses.delete(id);
      expect(await readSortKeys(id)).toEqual(['job']);
      const before = countModelCalls();
      expect(await getError(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
      expect(countModelCalls()).toBe(before);
    },
  );

  it('a conversation and its items are replayed in their current state, and not after their deletion', async () => {
    const [made, added] = [createKeyOptions(), createKeyOptions()];
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
    expect(await getError(add())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    await client.conversations.delete(id);
    expect(await getError(create())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
  });

  it('an API key that may not use the model gets no answer to the request of another API key', async () => {
    const policy = JSON.stringify({ models: { mode: 'deny', models: [model] } });
    await addKeys(service.cloud, { 'sk-denied': { tenant: 'local', keyId: 'denied', scopes: ['inference'], policy } });
    const denied = new OpenAI({ baseURL: service.cloud.url, apiKey: 'sk-denied', maxRetries: 0 });
    const options = createKeyOptions();
    const refusal = { status: 404, code: 'model_not_found' };
    await client.chat.completions.create(chat, options);
    await expect(denied.chat.completions.create(chat, options)).rejects.toMatchObject(refusal);
    await client.responses.create(question, options);
    await expect(denied.responses.create(question, options)).rejects.toMatchObject(refusal);
  });

  it('an idempotency key of more than 255 characters is refused', async () => {
    expect(JSON.parse(await post('/responses', question, 'k'.repeat(256)))).toMatchObject({
      error: { code: 'invalid_value' },
    });
  });
});
