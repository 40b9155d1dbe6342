import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { listen } from '../../../local/listen.ts';
import { startTables } from '../../../local/tables.ts';
import { createDynamoDBClient } from '../../../shared/aws/dynamodb.ts';
import {
  findItems,
  getItem,
  putItem,
  putItems,
  queryAllItems,
  updateAndGetItem,
  updateOrGetItem,
} from '../../../shared/aws/table.ts';
import { createTableInput } from '../../tables.ts';

const KEY = { pk: { S: 'p' }, sk: { S: '1' } };
let cleanup: AsyncDisposableStack;

beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  vi.stubEnv('AWS_REGION', 'eu-west-1');
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await cleanup.disposeAsync();
});

type Respond = (response: ServerResponse, request: IncomingMessage) => void;

/** Starts a DynamoDB that responds to its first request with the first of `responses`, and so on. The last one repeats. */
async function startScripted(...responses: [Respond, ...Respond[]]) {
  const received: IncomingMessage[] = [];
  const server = createServer(async (request, response) => {
    received.push(request);
    await buffer(request);
    (responses[received.length - 1] ?? responses.at(-1))?.(response, request);
  });
  const { port, close } = await listen(server, { port: 0 });
  cleanup.defer(close);
  vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', `http://127.0.0.1:${port}`);
  const table = { client: createDynamoDBClient(), name: 'jobs' };
  cleanup.defer(() => table.client.destroy());
  /** Whether each request is the SDK's own. */
  const bySdk = () => received.map(({ headers }) => headers['user-agent']?.startsWith('aws-sdk-js') === true);
  return { table, bySdk };
}

const succeed: Respond = (response) => response.end(JSON.stringify({ Item: KEY }));
const fail =
  (status: number, type: string): Respond =>
  (response) =>
    response
      .writeHead(status)
      .end(JSON.stringify({ __type: `com.amazonaws.dynamodb.v20120810#${type}`, message: 'no' }));
const cut: Respond = (response) => response.destroy();
const cutBody: Respond = (response) => {
  response.writeHead(200, { 'content-length': 100 }).write('{');
  setImmediate(() => response.destroy());
};

it('a request that succeeds is made once, without the SDK', async () => {
  const { table, bySdk } = await startScripted(succeed);
  expect(await getItem(table, KEY)).toEqual(KEY);
  expect(bySdk()).toEqual([false]);
});

it.for([
  ['an internal error', fail(500, 'InternalServerError')],
  ['throttling', fail(400, 'ProvisionedThroughputExceededException')],
  ['a cut connection', cut],
  ['a cut response', cutBody],
] as const)('the SDK repeats a request after %s', async ([, response]) => {
  const { table, bySdk } = await startScripted(response, succeed);
  expect(await getItem(table, KEY)).toEqual(KEY);
  expect(bySdk()).toEqual([false, true]);
});

it('a request is made three times in all, and fails with the SDK’s error', async () => {
  const { table, bySdk } = await startScripted(fail(500, 'InternalServerError'));
  const error = { name: 'InternalServerError', $metadata: { httpStatusCode: 500 } };
  await expect(getItem(table, KEY)).rejects.toMatchObject(error);
  expect(bySdk()).toEqual([false, true, true]);
});

it('a request without permission fails with the SDK’s error', async () => {
  const { table } = await startScripted(fail(400, 'AccessDeniedException'));
  await expect(getItem(table, KEY)).rejects.toMatchObject({ name: 'AccessDeniedException' });
});

it('a write whose condition does not hold is made once', async () => {
  const { table, bySdk } = await startScripted(fail(400, 'ConditionalCheckFailedException'));
  expect(await putItem(table, KEY, { condition: 'attribute_not_exists(pk)' })).toBe(false);
  expect(bySdk()).toEqual([false]);
});

it('a refused write returns the item for which its condition does not hold', async () => {
  const { table } = await startScripted((response) => {
    const body = { __type: 'x#ConditionalCheckFailedException', message: 'no', Item: { ...KEY, bytes: { B: 'AAEC' } } };
    response.writeHead(400).end(JSON.stringify(body));
  });
  expect(await updateOrGetItem(table, KEY, { change: 'SET a = b' })).toEqual({
    isWritten: false,
    item: { ...KEY, bytes: { B: new Uint8Array([0, 1, 2]) } },
  });
});

const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.record({ S: fc.string({ unit: 'grapheme' }) }),
    fc.record({ N: fc.integer().map(String) }),
    fc.record({ B: fc.uint8Array({ minLength: 1 }) }),
    fc.constantFrom(
      { BOOL: true },
      { NULL: true },
      { SS: ['a', 'b'] },
      { BS: [new Uint8Array([1]), new Uint8Array([2])] },
    ),
    fc.record({ L: fc.array(tie('value')) }),
    // Names that are also types.
    fc.record({ M: fc.dictionary(fc.constantFrom('a', 'B', 'BS', 'M', 'S'), tie('value')) }),
  ),
})).value;

it('items are written and read as the SDK writes and reads them', async () => {
  const { url, close } = await startTables({});
  cleanup.defer(close);
  vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', url);
  const [direct, sdk] = [createDynamoDBClient(), new DynamoDBClient({ endpoint: url })].map((client) => {
    cleanup.defer(() => client.destroy());
    return { client, name: 'items' };
  });
  if (direct === undefined || sdk === undefined) throw new Error('no clients');
  await sdk.client.send(new CreateTableCommand(createTableInput('items')));
  await vi.waitUntil(() =>
    getItem(sdk, KEY).then(
      () => true,
      () => false,
    ),
  );
  const query = { where: 'pk = :pk', values: { ':pk': { S: 'p' } } };
  const property = fc.asyncProperty(value, value, async (first, second) => {
    await putItem(direct, { ...KEY, first: first as never });
    const change = {
      change: 'SET #second = :second',
      names: { '#second': 'second' },
      values: { ':second': second as never },
    };
    const expected = { ...KEY, first, second };
    expect(await updateAndGetItem(direct, KEY, change)).toEqual(expected);
    await putItems(direct, [{ pk: { S: 'p' }, sk: { S: '2' }, first: first as never }]);
    const readAll = async (table: typeof direct) => [
      await getItem(table, KEY),
      await findItems(table, [KEY]),
      await queryAllItems(table, query),
    ];
    const [ours, theirs] = [await readAll(direct), await readAll(sdk)];
    expect(ours[0]).toEqual(expected);
    expect(ours).toEqual(theirs);
  });
  await fc.assert(property, { numRuns: 50 });
});
