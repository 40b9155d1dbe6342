import { CreateTableCommand, DynamoDBClient, ScanCommand, waitUntilTableExists } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { startObjects } from '../../../local/objects.ts';
import { startQueues } from '../../../local/queues.ts';
import { startTables } from '../../../local/tables.ts';
import type { Vault } from '../../../shared/vault/vault.ts';

/** The jobs' table, the bucket and queues, as real clients see them over the wire. */
export interface Services extends AsyncDisposable {
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  readonly bucketName: string;
  readonly urls: { readonly dynamodb: string; readonly s3: string; readonly sqs: string };
  /** A new table. */
  newTable(): Promise<string>;
  /** The URL of a new queue. A message that a test has received comes back only if its visibility is changed. */
  newQueue(): Promise<string>;
  /** Receives up to ten visible messages of a queue and deletes them. */
  messagesOf(queueUrl: string): Promise<{ body: string; attributes: Record<string, string | undefined> }[]>;
  /** Everything in a table, as text: binary attributes as the bytes they are. */
  textOf(tableName: string): Promise<string>;
}

/** Longer than any test file takes, so that no test on a busy machine receives what an earlier one has left hidden. */
const VISIBILITY_SECONDS = '3600';

/** Starts DynamoDB's, S3's and SQS's stand-ins. */
export async function startServices(): Promise<Services> {
  const region = 'eu-west-1';
  const [tables, objects, queues] = await Promise.all([startTables({}), startObjects(), startQueues()]);
  const client = { region, credentials: { accessKeyId: 'test', secretAccessKey: 'test' } };
  const dynamodb = new DynamoDBClient({ ...client, endpoint: tables.url });
  const s3 = new S3Client({ ...client, endpoint: objects.url, forcePathStyle: true });
  const sqs = new SQSClient({ ...client, endpoint: queues.url, useQueueUrlAsEndpoint: false });
  const bucketName = 'bodies';
  await s3.send(new CreateBucketCommand({ Bucket: bucketName }));
  let made = 0;
  return {
    dynamodb,
    s3,
    sqs,
    bucketName,
    urls: { dynamodb: tables.url, s3: objects.url, sqs: queues.url },
    async newTable() {
      made += 1;
      const TableName = `jobs-${made}`;
      await dynamodb.send(
        new CreateTableCommand({
          TableName,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [
            { AttributeName: 'pk', AttributeType: 'S' },
            { AttributeName: 'sk', AttributeType: 'S' },
            { AttributeName: 'duePartition', AttributeType: 'S' },
            { AttributeName: 'dueAt', AttributeType: 'N' },
          ],
          KeySchema: [
            { AttributeName: 'pk', KeyType: 'HASH' },
            { AttributeName: 'sk', KeyType: 'RANGE' },
          ],
          GlobalSecondaryIndexes: [
            {
              IndexName: 'due',
              KeySchema: [
                { AttributeName: 'duePartition', KeyType: 'HASH' },
                { AttributeName: 'dueAt', KeyType: 'RANGE' },
              ],
              Projection: { ProjectionType: 'KEYS_ONLY' },
            },
          ],
        }),
      );
      await exists(dynamodb, TableName);
      return TableName;
    },
    async newQueue() {
      made += 1;
      const QueueName = `queue-${made}`;
      await sqs.send(new CreateQueueCommand({ QueueName, Attributes: { VisibilityTimeout: VISIBILITY_SECONDS } }));
      // Its own host names don't resolve.
      return `${queues.url}/000000000000/${QueueName}`;
    },
    async messagesOf(QueueUrl) {
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'] }),
      );
      for (const { ReceiptHandle } of Messages) await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
      return Messages.map(({ Body = '', MessageAttributes = {} }) => ({
        body: Body,
        attributes: Object.fromEntries(
          Object.entries(MessageAttributes).map(([name, { StringValue }]) => [name, StringValue]),
        ),
      }));
    },
    async textOf(TableName) {
      const { Items = [] } = await dynamodb.send(new ScanCommand({ TableName }));
      return JSON.stringify(Items, (_key, value: unknown) =>
        value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
      );
    },
    async [Symbol.asyncDispose]() {
      for (const each of [dynamodb, s3, sqs]) each.destroy();
      await Promise.all([tables, objects, queues].map((each) => each.close()));
    },
  };
}

/** Waits until a table that was just made can be used. */
export async function exists(client: DynamoDBClient, TableName: string): Promise<void> {
  await waitUntilTableExists({ client, maxWaitTime: 100, minDelay: 0.01, maxDelay: 0.1 }, { TableName });
}

/**
 * A vault that only shows whether it was used rightly: its records differ from the text, and open only under their names. The
 * real one has tests of its own.
 */
export function aVault(): Vault {
  const invert = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
  const prefixOf = (name: Parameters<Vault['seal']>[0]) =>
    Buffer.from(`${JSON.stringify(Object.entries(name).sort())}|`);
  return {
    openReceived: () => {
      throw new Error('not used by jobs');
    },
    async seal(name, plaintext) {
      return Buffer.concat([prefixOf(name), invert(plaintext)]);
    },
    async prepareSeal(name) {
      let isUsed = false;
      return (plaintext) => {
        if (isUsed) throw new Error("A record's key was used for a second record");
        isUsed = true;
        return Buffer.concat([prefixOf(name), invert(plaintext)]);
      };
    },
    async open(name, sealed) {
      const prefix = prefixOf(name);
      if (!prefix.equals(sealed.subarray(0, prefix.length))) throw new Error('opened under another name');
      return invert(sealed.subarray(prefix.length));
    },
    sealStream: () => {
      throw new Error('not used by jobs');
    },
    openStream: () => {
      throw new Error('not used by jobs');
    },
  };
}
