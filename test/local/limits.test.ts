/** The limits of AWS's services at both sides: the stand-ins accept what AWS accepts, and refuse what it refuses. */
import { request } from 'node:http';
import { BatchWriteItemCommand, CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { CreateBucketCommand, HeadObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SendMessageBatchCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { startInvokeApi } from '../../local/lambda/invoke-api.ts';
import { startObjects } from '../../local/objects.ts';
import { startQueues } from '../../local/queues.ts';
import { startTables } from '../../local/tables.ts';
import { createRoute, startTestGateway } from './gateway/gateways.ts';
import { closeAfterwards, defineFunction, startTestRunner, useCleanup } from './runners.ts';

useCleanup();

const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
const connect = (endpoint: string) => ({ endpoint, region: 'eu-west-1', credentials, maxAttempts: 1 });

function keep<C extends { destroy(): void }>(client: C): C {
  closeAfterwards({ close: async () => client.destroy() });
  return client;
}

describe('S3', () => {
  const Bucket = 'bodies';

  async function start() {
    const objects = await startObjects();
    closeAfterwards(objects);
    const client = keep(new S3Client(connect(objects.url)));
    await client.send(new CreateBucketCommand({ Bucket }));
    return { client, url: objects.url };
  }

  /** Begins to upload an object of this size. Returns the response, or `reading` if the body is awaited. */
  async function beginUpload(url: string, bytes: number): Promise<string> {
    const upload = request(`${url}/${Bucket}/large`, { method: 'PUT', headers: { 'Content-Length': bytes } });
    const outcome = new Promise<string>((resolve) => {
      upload.on('error', () => undefined);
      upload.on('response', (response) => {
        response.on('error', () => undefined);
        response.on('data', (chunk) => resolve(`${response.statusCode} ${/<Code>(\w+)/.exec(String(chunk))?.[1]}`));
      });
      // More than the connection buffers, so that it is sent only if it is read.
      upload.write('x'.repeat(50_000_000), (error) => error ?? resolve('reading'));
    });
    const result = await outcome;
    upload.destroy();
    return result;
  }

  it('S3 accepts an object of 30 MB in one request', async () => {
    const { client } = await start();
    const Body = Buffer.alloc(30_000_000, 'x');
    await client.send(new PutObjectCommand({ Bucket, Key: 'large', Body }));
    const { ContentLength } = await client.send(new HeadObjectCommand({ Bucket, Key: 'large' }));
    expect(ContentLength).toBe(Body.length);
  });

  it('S3 refuses an object above 5 GiB in one request, and no smaller one', async () => {
    const { url } = await start();
    expect(await beginUpload(url, 5 * 1024 ** 3)).toBe('reading');
    expect(await beginUpload(url, 5 * 1024 ** 3 + 1)).toBe('400 EntityTooLarge');
  });
});

describe('SQS', () => {
  const MAX_BYTES = 1_048_576;

  async function start() {
    const queues = await startQueues();
    closeAfterwards(queues);
    const client = keep(new SQSClient(connect(queues.url)));
    const { QueueUrl = '' } = await client.send(new CreateQueueCommand({ QueueName: 'limits' }));
    // The stand-in's own host names don't resolve.
    return { client, QueueUrl: `${queues.url}${new URL(QueueUrl).pathname}` };
  }

  it('SQS accepts a message of 1 MiB, also one that JSON doubles, and refuses a larger one', async () => {
    const { client, QueueUrl } = await start();
    for (const character of ['x', '"'])
      await client.send(new SendMessageCommand({ QueueUrl, MessageBody: character.repeat(MAX_BYTES) }));
    const tooLarge = new SendMessageCommand({ QueueUrl, MessageBody: 'x'.repeat(MAX_BYTES + 1) });
    await expect(client.send(tooLarge)).rejects.toThrow(/1048576 bytes/);
  });

  it('SQS accepts a batch of 1 MiB in all, and refuses a larger one', async () => {
    const { client, QueueUrl } = await start();
    const makeBatch = (last: number) =>
      new SendMessageBatchCommand({
        QueueUrl,
        Entries: [MAX_BYTES - 1_000, last].map((bytes, index) => ({ Id: `m${index}`, MessageBody: 'x'.repeat(bytes) })),
      });
    expect((await client.send(makeBatch(1_000))).Successful).toHaveLength(2);
    await expect(client.send(makeBatch(1_001))).rejects.toMatchObject({
      name: expect.stringContaining('BatchRequestTooLong'),
    });
  });
});

describe('DynamoDB', () => {
  const MAX_ITEM_BYTES = 409_600;
  const TableName = 'limits';

  async function start() {
    const tables = await startTables({});
    closeAfterwards(tables);
    const client = keep(new DynamoDBClient(connect(tables.url)));
    await client.send(
      new CreateTableCommand({
        TableName,
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
      }),
    );
    return client;
  }

  /** An item of this size, names included. */
  const makeItem = (pk: string, bytes: number) => ({
    pk: { S: pk },
    b: { B: new Uint8Array(bytes - 'pk'.length - pk.length - 'b'.length) },
  });

  it('DynamoDB accepts an item of 400 KB, and refuses a larger one', async () => {
    const client = await start();
    await client.send(new PutItemCommand({ TableName, Item: makeItem('a', MAX_ITEM_BYTES) }));
    const tooLarge = new PutItemCommand({ TableName, Item: makeItem('a', MAX_ITEM_BYTES + 1) });
    await expect(client.send(tooLarge)).rejects.toThrow('Item size has exceeded the maximum allowed size');
  });

  it('DynamoDB accepts a batch of 25 items of 400 KB each, and refuses 26 items', async () => {
    const client = await start();
    const makeBatch = (count: number, bytes: number) =>
      new BatchWriteItemCommand({
        RequestItems: {
          [TableName]: Array.from({ length: count }, (_, index) => ({
            PutRequest: { Item: makeItem(`${index}`, bytes) },
          })),
        },
      });
    expect((await client.send(makeBatch(25, MAX_ITEM_BYTES))).UnprocessedItems).toEqual({});
    await expect(client.send(makeBatch(26, 100))).rejects.toThrow(/25/);
  });
});

describe('Lambda', () => {
  const MAX_BYTES = 6_291_456;

  it('Lambda accepts a request of 6 MiB, and refuses a larger one', async () => {
    const runner = await startTestRunner({ functions: [defineFunction('stream')] });
    const api = await startInvokeApi(runner);
    closeAfterwards(api);
    const client = keep(new LambdaClient(connect(api.url)));
    const makePayload = (bytes: number) => Buffer.from(`{"pad":"${'x'.repeat(bytes - '{"pad":""}'.length)}"}`);
    const invoke = (bytes: number) =>
      client.send(new InvokeCommand({ FunctionName: 'stream', Payload: makePayload(bytes) }));
    expect((await invoke(MAX_BYTES)).FunctionError).toBeUndefined();
    await expect(invoke(MAX_BYTES + 1)).rejects.toMatchObject({ name: 'RequestTooLargeException' });
  });

  it('Lambda accepts a buffered response of 6 MiB and 100 bytes, and refuses a larger one', async () => {
    const runner = await startTestRunner({ functions: [defineFunction('echo')] });
    const api = await startInvokeApi(runner);
    closeAfterwards(api);
    const client = keep(new LambdaClient(connect(api.url)));
    // The function responds with a text of this size, in quotation marks.
    const invoke = (bytes: number) =>
      client.send(new InvokeCommand({ FunctionName: 'echo', Payload: Buffer.from(JSON.stringify({ bytes })) }));
    expect((await invoke(6_291_554)).Payload).toHaveLength(6_291_556);
    expect((await invoke(6_291_555)).FunctionError).toBe('Unhandled');
  });

  it('Lambda streams 200 MiB, and cuts a longer stream', async () => {
    // Longer than any machine takes.
    const timeoutMs = 600_000;
    const { gateway } = await startTestGateway(
      { routes: [createRoute('POST', '/stream', { function: 'stream', streamed: true, timeoutMs })] },
      { functions: [defineFunction('stream', { timeoutMs })] },
    );
    const readStream = async (bytes: number) => {
      const body = JSON.stringify({ chunks: [], bytes });
      const response = await fetch(`${gateway.url}/stream`, { method: 'POST', body });
      let received = 0;
      for await (const chunk of response.body ?? []) received += chunk.length;
      return received;
    };
    expect(await readStream(200 * 1024 ** 2)).toBe(200 * 1024 ** 2);
    await expect(readStream(200 * 1024 ** 2 + 1)).rejects.toThrow('terminated');
  });
});
