import Anthropic from '@anthropic-ai/sdk';
import { DeleteItemCommand, type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { createKeyItem, getKeyPartition } from '../../shared/access/keys.ts';
import type { Limits } from '../../shared/access/limit-policy.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { encodeRestrictions } from '../../shared/access/policy-schema.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { createDynamoDBCounters } from '../../shared/limits/dynamodb-counters.ts';
import { stayWithin, waitUntil } from '../wait.ts';
import { connectToTables } from './keys.ts';
import { type PricedService, startPricedService } from './priced-service.ts';

let service: PricedService;
let tables: DynamoDBClient;

beforeAll(async () => {
  service = await startPricedService({
    models: ({ baseUrl }) => ({
      vectors: { targets: [{ provider: 'openai-compatible', model: 'bge', baseUrl }], embeddings: {} },
    }),
    sections: () => ({
      guardrails: { filters: { id: 'abc123', version: '1' } },
      moderations: { 'omni-moderation-latest': { guardrail: 'filters' } },
    }),
    guardrails: { abc123: () => ({}) },
  });
  tables = connectToTables(service.cloud);
});
beforeEach(() => stayWithin('day'));
afterEach(() => service.pauseAgain());
afterAll(async () => {
  tables.destroy();
  await service[Symbol.asyncDispose]();
});

const getTable = (name: string): string => service.cloud.resources[name] ?? '';

/** Creates a key with limits of its own, and returns a client with it. */
async function createClient(tenant: string, limits: Limits, keyId = `${tenant}-key`): Promise<OpenAI> {
  const policy = encodeRestrictions('key', { limits });
  const Item = createKeyItem(`sk-${keyId}`, { tenant, keyId, scopes: TENANT_SCOPES, policy });
  await tables.send(new PutItemCommand({ TableName: getTable('ACCESS_TABLE'), Item }));
  return new OpenAI({ baseURL: service.cloud.url, apiKey: `sk-${keyId}`, maxRetries: 0 });
}

const readCounters = (tenant: string, keyId = `${tenant}-key`) =>
  createDynamoDBCounters(tables, getTable('LIMITS_TABLE')).read(`key#${tenant}#${keyId}`);

const messages = [{ role: 'user' as const, content: 'Hello' }];
const model = 'compatible';

it('responses of a limited key say what is left, and the next call is refused with the name of the limit', async () => {
  const client = await createClient('headers', { requestsPerDay: 2, tokensPerDay: 9_999 });
  const first = await client.chat.completions.create({ model, messages }).withResponse();
  expect(Object.fromEntries(first.response.headers)).toMatchObject({
    'x-ratelimit-limit-requests': '2',
    'x-ratelimit-remaining-requests': '1',
    'x-ratelimit-reset-requests': expect.stringMatching(/^(\d+h)?(\d+m)?[\d.]+s$/),
    'x-ratelimit-limit-tokens': '9999',
  });
  const second = await client.responses.create({ model, input: 'Hello' }).withResponse();
  expect(second.response.headers.get('x-ratelimit-remaining-requests')).toBe('0');
  const error = await client.chat.completions.create({ model, messages, stream: true }).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(OpenAI.RateLimitError);
  expect(error).toMatchObject({
    code: 'rate_limit_exceeded',
    message: expect.stringContaining('requestsPerDay of this key'),
  });
  expect(error.headers.get('x-ratelimit-remaining-requests')).toBe('0');
  expect(Number(error.headers.get('retry-after'))).toBeGreaterThan(0);
});

it('usage of streams and other answers counts to the token', async () => {
  const client = await createClient('usage', { tokensPerDay: 99_999, streamsInFlight: 3 });
  const { usage } = await client.chat.completions.create({ model, messages });
  let streamed: OpenAI.CompletionUsage | null | undefined;
  const stream = await client.chat.completions.create({
    ...{ model, messages, stream: true as const },
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) streamed = chunk.usage ?? streamed;
  const total = BigInt((usage?.total_tokens ?? 0) + (streamed?.total_tokens ?? 0));
  expect(total).toBeGreaterThan(0n);
  const find = async (prefix: string) =>
    Object.entries(await readCounters('usage')).find(([name]) => name.startsWith(prefix))?.[1];
  // A function settles when it has responded.
  await waitUntil('both have settled', async () => (await find('k.s.')) === 0n && (await find('k.t.')) === total);
});

it('a client of the Messages API gets the errors and headers of that API', async () => {
  await createClient('messages', { requestsPerDay: 1 });
  const client = new Anthropic({
    baseURL: service.cloud.url.replace(/\/v1$/, ''),
    apiKey: 'sk-messages-key',
    maxRetries: 0,
  });
  const body = { model, max_tokens: 50, messages };
  const { response } = await client.messages.create(body).withResponse();
  expect(response.headers.get('anthropic-ratelimit-requests-limit')).toBe('1');
  expect(response.headers.get('anthropic-ratelimit-requests-remaining')).toBe('0');
  expect(response.headers.get('x-ratelimit-limit-requests')).toBeNull();
  const error = await client.messages.create(body).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(Anthropic.RateLimitError);
  expect(error.error).toMatchObject({ type: 'error', error: { type: 'rate_limit_error' } });
  expect(error.headers.get('anthropic-ratelimit-requests-remaining')).toBe('0');
});

it('a schema above a limit is refused on every endpoint, with its field and the limit', async () => {
  const client = await createClient('schemas', { schemaBytes: 40 });
  const parameters = { type: 'object', properties: { query: { type: 'string' } } };
  const tools = [{ type: 'function' as const, name: 'find', parameters, strict: false }];
  const expected = (param: string) => ({
    status: 400,
    param,
    message: expect.stringMatching(/'find'.* bytes, but schemaBytes of this key is 40\./),
  });
  const { type, strict: _, ...tool } = { ...tools[0], type: 'function' as const, name: 'find' };
  await expect(
    client.chat.completions.create({ model, messages, tools: [{ type, function: tool }] }),
  ).rejects.toMatchObject(expected('tools[0].function.parameters'));
  for (const options of [{ store: false }, { store: true }, { background: true }])
    await expect(client.responses.create({ model, input: 'Hello', tools, ...options })).rejects.toMatchObject(
      expected('tools[0].parameters'),
    );
  const anthropic = new Anthropic({
    baseURL: service.cloud.url.replace(/\/v1$/, ''),
    apiKey: 'sk-schemas-key',
    maxRetries: 0,
  });
  const body = { model, max_tokens: 50, messages };
  const input_schema = { ...parameters, type: 'object' as const };
  await expect(anthropic.messages.create({ ...body, tools: [{ name: 'find', input_schema }] })).rejects.toMatchObject({
    status: 400,
    error: { error: { message: expect.stringMatching(/'find'.* schemaBytes of this key is 40\./) } },
  });
  await anthropic.messages.create(body);
  // These limits need no table.
  expect(await readCounters('schemas')).toEqual({});
});

it('embeddings count like other calls', async () => {
  const client = await createClient('embeddings', { requestsPerDay: 1 });
  // The upstream of this test has no embeddings: its refusal counts, too.
  await client.embeddings.create({ model: 'vectors', input: 'Hello' }).catch(() => {});
  await expect(client.embeddings.create({ model: 'vectors', input: 'Hello' })).rejects.toMatchObject({
    status: 429,
    code: 'rate_limit_exceeded',
  });
});

it('a stream that its client leaves gives back its place', async () => {
  const client = await createClient('leaving', { streamsInFlight: 1 });
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  const controller = stream.controller;
  for await (const _ of stream) break;
  controller.abort();
  await waitUntil('the stream has settled', async () => (await readCounters('leaving'))['k.s.now'] === 0n);
  for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
});

it('streams of background responses have places of their own, and a refused one leaves no response', async () => {
  const client = await createClient('resuming', { resumedStreamsInFlight: 1, streamsInFlight: 0, requestsPerDay: 99 });
  const create = (input: string, headers = {}) =>
    client.responses.create({ model, input, background: true, stream: true }, { headers });
  const headers = { 'Idempotency-Key': 'refused' };
  const refused = {
    status: 429,
    code: 'rate_limit_exceeded',
    message: expect.stringContaining('resumedStreamsInFlight of this key: limit 1, left 0'),
  };
  const first = (await create('slowly'))[Symbol.asyncIterator]();
  const { value: created } = await first.next();
  let id = created.response.id;
  const resume = () => client.responses.retrieve(id, { stream: true, starting_after: 1 });
  await expect(resume()).rejects.toMatchObject(refused);
  await expect(create('refused', headers)).rejects.toMatchObject(refused);
  const { requests } = service.upstream;
  // A later request would pause again.
  await waitUntil('the job pauses', () => requests.some(({ body }) => JSON.stringify(body).includes('slowly')));
  service.release();
  while (!(await first.next()).done);
  const isFree = async () => (await readCounters('resuming'))['k.u.now'] === 0n;
  await waitUntil('the first stream has freed its place', isFree);
  const types: string[] = [];
  for await (const { type } of await resume()) types.push(type);
  expect(types.at(-1)).toBe('response.completed');
  await waitUntil('the resumed stream has freed its place', isFree);
  expect(requests.filter(({ body }) => JSON.stringify(body).includes('refused'))).toEqual([]);
  // The refused request has left nothing that its key would find.
  for await (const event of await create('refused', headers))
    if (event.type === 'response.created') id = event.response.id;
  await expect(client.chat.completions.create({ model, messages, stream: true })).rejects.toMatchObject({
    status: 429,
  });
});

it('keys of a project share its limits, and no more calls pass than those allow', async () => {
  const administration = createPolicyAdministration(tables, getTable('ACCESS_TABLE'));
  const restrictions = { limits: { requestsPerDay: 7, models: { compatible: { requestsPerDay: 5 } } } };
  await administration.changeProject('shared', (project) => ({ ...project, restrictions }));
  const clients = await Promise.all([1, 2, 3].map((index) => createClient('shared', {}, `shared-${index}`)));
  const calls = Array.from({ length: 12 }, (_, index) =>
    clients[index % 3]?.chat.completions.create({ model, messages }).then(
      () => 'passed',
      ({ code, message }) => `${code} ${/ on (\w+ of .*?):/.exec(message)?.[1]}`,
    ),
  );
  const outcomes = await Promise.all(calls);
  expect(outcomes.filter((outcome) => outcome === 'passed')).toHaveLength(5);
  expect(new Set(outcomes)).toEqual(
    new Set(['passed', 'rate_limit_exceeded requestsPerDay of the project for this model']),
  );
});

it('a background response over a limit waits until the limit allows it', async () => {
  const client = await createClient('waiting', { requestsInFlight: 1 });
  const store = createDynamoDBCounters(tables, getTable('LIMITS_TABLE'));
  // Another call of the key is in flight.
  await store.write({ pk: 'key#waiting#waiting-key', add: { 'k.f.now': 1n } });
  const { id } = await client.responses.create({ model, input: 'Hello', background: true });
  await waitUntil('the job was refused', () =>
    service.logs.some((line) => line.includes('key.requestsInFlight') && line.includes('"tenant":"waiting"')),
  );
  expect((await client.responses.retrieve(id)).status).not.toBe('failed');
  await store.write({ pk: 'key#waiting#waiting-key', add: { 'k.f.now': -1n } });
  await waitUntil('the job was answered', async () => (await client.responses.retrieve(id)).status === 'completed');
});

it.each([
  ['dollarsPerMonth', 0.000001],
  ['tokensPerMinute', 5],
  ['requestsPerMinute', 0],
] as const)('a background response that can never run under %s fails with the name of the limit', async (name, max) => {
  const client = await createClient(`never-${name}`, { [name]: max });
  const { id } = await client.responses.create({ model: 'priced', input: 'Hello', background: true });
  const retrieve = () => client.responses.retrieve(id);
  await waitUntil('the job has failed', async () => (await retrieve()).status === 'failed');
  expect((await retrieve()).error).toEqual({
    code: 'rate_limit_exceeded',
    message: `The request is larger than ${name} of the caller's key allows.`,
  });
});

it('a job that waits while its key is revoked runs, still under the limits of that key', async () => {
  const client = await createClient('revoked', { requestsInFlight: 1 });
  const store = createDynamoDBCounters(tables, getTable('LIMITS_TABLE'));
  const pk = 'key#revoked#revoked-key';
  await store.write({ pk, add: { 'k.f.now': 1n } });
  const { id } = await client.responses.create({ model, input: 'Hello', background: true });
  await tables.send(
    new DeleteItemCommand({
      TableName: getTable('ACCESS_TABLE'),
      Key: { pk: { S: getKeyPartition('sk-revoked-key') } },
    }),
  );
  await waitUntil('the job was refused', () =>
    service.logs.some((line) => line.includes('key.requestsInFlight') && line.includes('"tenant":"revoked"')),
  );
  const other = await createClient('revoked', {}, 'revoked-other');
  expect((await other.responses.retrieve(id)).status).not.toBe('failed');
  await store.write({ pk, add: { 'k.f.now': -1n } });
  await waitUntil('the job ran', async () => (await other.responses.retrieve(id)).status === 'completed');
});

it('each text of a moderation counts as a request, whatever becomes of it', async () => {
  const client = await createClient('moderating', { requestsPerDay: 3 });
  const first = await client.moderations.create({ input: ['one', 'two'] }).withResponse();
  expect(first.response.headers.get('x-ratelimit-remaining-requests')).toBe('1');
  await expect(client.moderations.create({ input: ['three', 'four'] })).rejects.toMatchObject({
    status: 429,
    code: 'rate_limit_exceeded',
    message: expect.stringContaining('requestsPerDay'),
  });
  await client.moderations.create({ input: 'three' });
  await expect(client.moderations.create({ input: 'four' })).rejects.toMatchObject({ status: 429 });
});

it('a background response over a limit on queued jobs is refused with the name of the limit, until a job has ended', async () => {
  const client = await createClient('queued', { jobsQueued: 1, requestsInFlight: 1 });
  const store = createDynamoDBCounters(tables, getTable('LIMITS_TABLE'));
  const pk = 'key#queued#queued-key';
  // Another call of the key is in flight, so that the job keeps its place.
  await store.write({ pk, add: { 'k.f.now': 1n } });
  const create = () => client.responses.create({ model, input: 'Hello', background: true });
  await create();
  const errors = await Promise.all(
    [create(), create(), create()].map((call) => call.catch((thrown: unknown) => thrown)),
  );
  for (const error of errors) {
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error).toMatchObject({
      code: 'rate_limit_exceeded',
      message: expect.stringContaining('jobsQueued of this key: limit 1, left 0, requested 1'),
    });
    expect((error as InstanceType<typeof OpenAI.APIError>).headers?.get('retry-after')).toBe('1');
  }
  await store.write({ pk, add: { 'k.f.now': -1n } });
  await waitUntil('a job has ended', () =>
    create().then(
      () => true,
      () => false,
    ),
  );
});
