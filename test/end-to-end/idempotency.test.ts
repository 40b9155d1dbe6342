import { DynamoDBClient, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { chatModel } from '../upstreams/chat-model.ts';
import { type Service, startService } from './service.ts';

let service: Service;
let client: OpenAI;
let failing = false;
beforeAll(async () => {
  service = await startService({
    script: ({ body }) =>
      failing
        ? { status: 400, body: { error: { message: 'no', type: 'invalid_request_error', param: null, code: null } } }
        : chatModel(body, { pauseMs: JSON.stringify(body).includes('slowly') ? 400 : 0 }),
  });
  client = service.client;
});
afterAll(() => service[Symbol.asyncDispose]());

const model = 'compatible';
let keys = 0;
const withKey = () => {
  keys += 1;
  return { idempotencyKey: `key-${keys}`, headers: { 'Idempotency-Key': `key-${keys}` } };
};
const refusal = (of: Promise<unknown>) => of.catch((error: unknown) => error);
const retryAfterOf = (error: unknown) =>
  error instanceof OpenAI.APIError ? error.headers?.get('retry-after') : undefined;
const charged = () => service.upstream.requests.length;

/** The bytes of an answer, as they came. */
async function bytes(path: string, body: unknown, key: string): Promise<string> {
  const response = await fetch(`${service.cloud.url}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(body),
  });
  return response.text();
}

/** The last event of a stream, which is read to its end. */
async function lastOf(stream: AsyncIterable<OpenAI.Responses.ResponseStreamEvent>) {
  let last: OpenAI.Responses.ResponseStreamEvent | undefined;
  for await (const event of stream) last = event;
  return last;
}

/** The jobs' table, as it is. */
function jobsTable() {
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  return { client, TableName: service.cloud.resources['JOBS_TABLE'] };
}

/** The sort keys of what the jobs' table holds of a response. */
async function leftOf(id: string): Promise<(string | undefined)[]> {
  const { client, TableName } = jobsTable();
  const { Items = [] } = await client.send(new ScanCommand({ TableName }));
  client.destroy();
  return Items.filter(({ pk }) => pk?.S?.endsWith(`#${id}`)).map(({ sk }) => sk?.S);
}

/**
 * Half a minute passes for whoever holds a key.
 * @returns for how long the last of them would still have been believed, in milliseconds
 */
async function letClaimsRunOut(): Promise<number> {
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

describe('the same key and body', () => {
  const calls: readonly [string, (options: object) => Promise<{ id: string }>][] = [
    ['a chat completion', (options) => client.chat.completions.create(chat, options)],
    ['a response', (options) => client.responses.create(question, options)],
    ['a conversation', (options) => client.conversations.create({ metadata: { a: 'b' } }, options)],
  ];

  test.each(calls)('make %s once', async (_, create) => {
    const options = withKey();
    const first = await create(options);
    const asked = charged();
    expect((await create(options)).id).toBe(first.id);
    expect(charged()).toBe(asked);
    expect((await create(withKey())).id).not.toBe(first.id);
  });

  test('add items once', async () => {
    const { id } = await client.conversations.create();
    const options = withKey();
    const items = [{ role: 'user' as const, content: 'One' }];
    const first = await client.conversations.items.create(id, { items }, options);
    expect((await client.conversations.items.create(id, { items }, options)).data).toEqual(first.data);
    expect((await client.conversations.items.list(id)).data).toHaveLength(1);
  });

  test.each([
    ['/chat/completions', chat, /data: \[DONE\]\n\n$/],
    ['/responses', question, /event: response\.completed\n.*\n\n$/],
  ])('replay a stream of %s byte by byte', async (path, body, end) => {
    const { idempotencyKey } = withKey();
    const first = await bytes(path, { ...body, stream: true }, idempotencyKey);
    expect(first).toMatch(end);
    const asked = charged();
    expect(await bytes(path, { ...body, stream: true }, idempotencyKey)).toBe(first);
    expect(charged()).toBe(asked);
  });

  test('are the same however the body’s fields are ordered', async () => {
    const { idempotencyKey } = withKey();
    const first = await bytes('/responses', { model, input: 'Hello' }, idempotencyKey);
    expect(await bytes('/responses', { input: 'Hello', model }, idempotencyKey)).toBe(first);
  });
});

describe('a key', () => {
  test('is refused with another body', async () => {
    const options = withKey();
    await client.chat.completions.create(chat, options);
    const other = { ...chat, temperature: 1 };
    expect(await refusal(client.chat.completions.create(other, options))).toMatchObject({
      status: 422,
      code: 'idempotency_key_reused',
    });
  });

  test('is another one on another route', async () => {
    const options = withKey();
    await client.chat.completions.create(chat, options);
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  test('is refused with Retry-After while its first call runs', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say this slowly' };
    const stream = await client.responses.create({ ...slowly, stream: true }, options);
    const second = await refusal(client.responses.create({ ...slowly, stream: true }, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(retryAfterOf(second)).toMatch(/^\d+$/);
    for await (const _ of stream);
  });

  test('finds the background response that its first call made, though that call still runs', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say this slowly', background: true, stream: true as const };
    const [first, second] = [
      await client.responses.create(slowly, options),
      await client.responses.create(slowly, options),
    ];
    const [firstEnd, secondEnd] = await Promise.all([lastOf(first), lastOf(second)]);
    expect(firstEnd).toMatchObject({ type: 'response.completed', response: { id: expect.any(String) } });
    expect(secondEnd).toEqual(firstEnd);
  }, 30_000);

  test('is free again half a minute after its function was killed', async () => {
    const options = withKey();
    const slowly = { model, input: 'Say that slowly', stream: true as const };
    const stream = await client.responses.create(slowly, options);
    for (const { pid, function: name, busy } of service.cloud.processes()) {
      if (name === 'chat' && busy) process.kill(pid, 'SIGKILL');
    }
    await expect(lastOf(stream)).rejects.toThrow();
    const second = await refusal(client.responses.create(slowly, options));
    expect(second).toMatchObject({ status: 409, code: 'idempotency_key_in_use' });
    expect(retryAfterOf(second)).toMatch(/^\d+$/);
    expect(await letClaimsRunOut()).toBeLessThanOrEqual(30_000);
    expect((await lastOf(await client.responses.create(slowly, options)))?.type).toBe('response.completed');
  }, 30_000);

  test('is free again after a call that failed', async () => {
    const options = withKey();
    failing = true;
    expect(await refusal(client.responses.create(question, options))).toMatchObject({ status: 400 });
    failing = false;
    expect(await client.responses.create(question, options)).toMatchObject({ status: 'completed' });
  });

  test.each([
    ['a response', (options: object) => client.responses.create({ ...question, store: false }, options)],
    ['a chat completion', (options: object) => client.chat.completions.create({ ...chat, store: false }, options)],
  ])('is refused a second time for %s that was not to be stored', async (_, create) => {
    const options = withKey();
    await create(options);
    const asked = charged();
    expect(await refusal(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    expect(charged()).toBe(asked);
  });

  const responses: readonly [string, (options: object) => Promise<{ id: string }>][] = [
    ['a response', (options) => client.responses.create(question, options)],
    [
      'a streamed response',
      async (options) => {
        const last = await lastOf(await client.responses.create({ ...question, stream: true }, options));
        return { id: last?.type === 'response.completed' ? last.response.id : '' };
      },
    ],
    [
      'a background response',
      async (options) => {
        const { id } = await client.responses.create({ ...question, background: true }, options);
        const status = async () => (await client.responses.retrieve(id)).status;
        await vi.waitFor(async () => expect(await status()).toBe('completed'), { timeout: 20_000, interval: 100 });
        return { id };
      },
    ],
  ];

  test.each(responses)(
    'gives %s no more once that was deleted, and keeps nothing of it',
    async (_, create) => {
      const options = withKey();
      const { id } = await create(options);
      expect((await create(options)).id).toBe(id);
      await client.responses.delete(id);
      expect(await leftOf(id)).toEqual(['job']);
      const asked = charged();
      expect(await refusal(create(options))).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
      expect(charged()).toBe(asked);
    },
    60_000,
  );

  test('shows a conversation and its items as they are now, and neither once they were deleted', async () => {
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
    expect(await refusal(add())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
    await client.conversations.delete(id);
    expect(await refusal(create())).toMatchObject({ status: 409, code: 'idempotent_answer_not_kept' });
  });

  test('has 1 to 255 characters', async () => {
    expect(JSON.parse(await bytes('/responses', question, 'k'.repeat(256)))).toMatchObject({
      error: { code: 'invalid_value' },
    });
  });
});
