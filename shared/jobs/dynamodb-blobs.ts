import {
  type AttributeValue,
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import type { createBucket } from '../aws/bucket.ts';
import { TABLE_LIMIT_BYTES } from '../aws/dynamodb.ts';
import type { BlobName, Blobs } from './blobs.ts';
import { jobKey } from './keys.ts';

export interface DynamoDBBlobsOptions {
  readonly tableName: string;
  readonly bucket: ReturnType<typeof createBucket>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

type Item = Record<string, AttributeValue>;

/** DynamoDB's limit for one batch of writes. */
const BATCH_SIZE = 25;

/** Sealed bytes as items beside the job's, or as objects of the bucket above 300 KB. Throws what AWS throws. */
export function createDynamoDBBlobs(
  client: DynamoDBClient,
  { tableName, bucket, now = Date.now }: DynamoDBBlobsOptions,
): Blobs {
  const isOver = (item: Item) => Number(item['expiresAt']?.N) * 1000 <= now();

  async function putItem(name: BlobName, content: Item, expiresAt: number, onlyIfNew: boolean): Promise<boolean> {
    try {
      await client.send(
        new PutItemCommand({
          TableName: tableName,
          Item: { ...keyOf(name), ...content, expiresAt: { N: String(expiresAt) } },
          ...(onlyIfNew
            ? {
                ConditionExpression: 'attribute_not_exists(pk) OR expiresAt <= :now',
                ExpressionAttributeValues: { ':now': { N: String(Math.floor(now() / 1000)) } },
              }
            : {}),
        }),
      );
      return true;
    } catch (thrown) {
      if (thrown instanceof ConditionalCheckFailedException) return false;
      throw thrown;
    }
  }

  /** All items of a query, however many pages it takes. */
  async function query(key: string, condition: string, values: Item, fields?: string): Promise<Item[]> {
    const found: Item[] = [];
    let from: Item | undefined;
    do {
      const { Items = [], LastEvaluatedKey } = await client.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: `pk = :pk AND ${condition}`,
          ExpressionAttributeValues: { ':pk': { S: key }, ...values },
          ConsistentRead: true,
          ...(fields === undefined ? {} : { ProjectionExpression: fields }),
          ...(from === undefined ? {} : { ExclusiveStartKey: from }),
        }),
      );
      found.push(...Items);
      from = LastEvaluatedKey;
    } while (from !== undefined);
    return found;
  }

  async function bytesOf(name: BlobName, item: Item): Promise<Uint8Array | undefined> {
    return item['bytes']?.B ?? bucket.get(objectKey(name));
  }

  return {
    async put(name, bytes, expiresAt) {
      if (bytes.byteLength <= TABLE_LIMIT_BYTES) {
        await putItem(name, { bytes: { B: bytes } }, expiresAt, false);
        return 'table';
      }
      await bucket.put(objectKey(name), bytes, false);
      // Events are found by their items.
      if (name.part === 'event') await putItem(name, {}, expiresAt, false);
      return 's3';
    },
    async putNew(name, bytes, expiresAt) {
      if (bytes.byteLength <= TABLE_LIMIT_BYTES) {
        return (await putItem(name, { bytes: { B: bytes } }, expiresAt, true)) ? 'table' : undefined;
      }
      return (await bucket.put(objectKey(name), bytes, true)) ? 's3' : undefined;
    },
    async get(name, place) {
      if (place === 's3') return bucket.get(objectKey(name));
      const { Item } = await client.send(
        new GetItemCommand({ TableName: tableName, Key: keyOf(name), ConsistentRead: true }),
      );
      return Item === undefined || isOver(Item) ? undefined : bytesOf(name, Item);
    },
    async events(tenant, id, from) {
      const items = await query(jobKey(tenant, id), 'sk BETWEEN :from AND :end', {
        ':from': { S: eventKey(from) },
        ':end': { S: EVENT_END },
      });
      const found = items.filter((item) => !isOver(item)).map((item) => ({ item, name: eventName(tenant, id, item) }));
      const blobs = await Promise.all(
        found.map(async ({ item, name }) => ({ name, bytes: await bytesOf(name, item) })),
      );
      return blobs.flatMap(({ name, bytes }) => (bytes === undefined ? [] : [{ name, bytes }]));
    },
    async chunkBefore(tenant, id, sequence) {
      const { Items = [] } = await client.send(
        new QueryCommand({
          TableName: tableName,
          KeyConditionExpression: 'pk = :pk AND sk BETWEEN :start AND :until',
          ExpressionAttributeValues: {
            ':pk': { S: jobKey(tenant, id) },
            ':start': { S: eventKey(0) },
            ':until': { S: `${eventKey(sequence)}$` },
          },
          ProjectionExpression: 'sk',
          ConsistentRead: true,
          ScanIndexForward: false,
          Limit: 1,
        }),
      );
      return Items[0] === undefined ? undefined : eventName(tenant, id, Items[0]).sequence;
    },
    async removeOne(name, place) {
      if (place === 's3') await bucket.remove([objectKey(name)]);
      else await removeItems([keyOf(name)]);
    },
    async remove(tenant, id, keepEpoch) {
      const key = jobKey(tenant, id);
      const kept = keepEpoch === undefined ? undefined : outputKey(keepEpoch);
      const conditions = kept === undefined ? ['sk < :job', 'sk > :job'] : ['begins_with(sk, :job)'];
      const value = kept === undefined ? 'job' : 'output#';
      const found = await Promise.all(
        conditions.map((condition) => query(key, condition, { ':job': { S: value } }, 'pk, sk')),
      );
      await removeItems(found.flat().filter(({ sk }) => sk?.S !== kept));
      const keptObject =
        keepEpoch === undefined ? undefined : objectKey({ tenant, id, part: 'output', epoch: keepEpoch, sequence: 0 });
      const objects = await bucket.list(`${tenant}/job/${id}/`);
      await bucket.remove(
        objects.filter((object) => keptObject === undefined || (object.endsWith('/output') && object !== keptObject)),
      );
    },
  };

  async function removeItems(keys: readonly Item[]): Promise<void> {
    let left: WriteRequest[] = keys.map((Key) => ({ DeleteRequest: { Key } }));
    while (left.length > 0) {
      const { UnprocessedItems } = await client.send(
        new BatchWriteItemCommand({ RequestItems: { [tableName]: left.slice(0, BATCH_SIZE) } }),
      );
      left = [...left.slice(BATCH_SIZE), ...(UnprocessedItems?.[tableName] ?? [])];
    }
  }
}

function keyOf(name: BlobName): Item {
  return { pk: { S: jobKey(name.tenant, name.id) }, sk: { S: sortKey(name) } };
}

function sortKey({ part, epoch, sequence }: BlobName): string {
  switch (part) {
    case 'input':
      return 'input';
    case 'output':
      return outputKey(epoch);
    case 'replay':
      return `replay#${epoch}`;
    case 'event':
      return `${eventKey(sequence)}#${digits(epoch, 6)}`;
  }
}

function outputKey(epoch: number): string {
  return `output#${epoch}`;
}

/**
 * The number comes before the epoch: it rises over epochs, so that both order chunks alike, and a reader that knows
 * only the number finds its place.
 */
function eventKey(sequence: number): string {
  return `event#${digits(sequence, 12)}`;
}

/** Above every event's key: `$` follows `#`. */
const EVENT_END = 'event$';

function eventName(tenant: string, id: string, { sk }: Item): BlobName {
  const [, sequence, epoch] = (sk?.S ?? '').split('#');
  return { tenant, id, part: 'event', epoch: Number(epoch), sequence: Number(sequence) };
}

function digits(number: number, length: number): string {
  return String(number).padStart(length, '0');
}

function objectKey({ tenant, id, part, epoch, sequence }: BlobName): string {
  return `${tenant}/job/${id}/${epoch}/${part === 'event' ? `event-${sequence}` : part}`;
}
