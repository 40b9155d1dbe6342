import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall } from '../aws/attributes.ts';
import type { createBucket } from '../aws/bucket.ts';
import { deleteItems, getItem, putItem, queryAllItems, queryPage } from '../aws/table.ts';
import type { BlobName, Blobs } from './blobs.ts';
import { jobKey } from './keys.ts';

/**
 * The most sealed bytes of a body that are stored in an item. A larger body costs less as an object.
 *
 * At list prices (US East, on demand, November 2026: see `bench/prices.ts`), a million bodies of `k` KB that are written once
 * and read `r` times cost $0.625 per KB written and $0.125 per 4 KB read in DynamoDB, and $5 written and $0.40 per read in S3:
 * `0.625 k + r · 0.125 ⌈k / 4⌉` against `5 + 0.4 r`. Read once or twice, an item of 8 KB costs $5.25 or $5.50 and an object $5.40
 * or $5.80; an item of 9 KB costs $6.00 or $6.38. So items have up to 8 KB, of which keys and names take less than 192 bytes.
 *
 * Storage is left out because it depends on the retention: a month of it would lower the limit to 6 KB. A chunk of events has
 * an item besides its object, which would raise it to 9 KB. An object takes some milliseconds longer to write and to read.
 */
export const BODY_ITEM_BYTES = 8_000;

export interface DynamoDBBlobsOptions {
  readonly tableName: string;
  readonly bucket: ReturnType<typeof createBucket>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Default: `BODY_ITEM_BYTES`. */
  readonly maxItemBytes?: number;
}

/**
 * Sealed bytes as items beside the job's, or as objects of the bucket above `BODY_ITEM_BYTES`. Items that an earlier version
 * wrote may have up to 300 KB. Throws what AWS throws.
 */
export function createDynamoDBBlobs(
  client: DynamoDBClient,
  { tableName, bucket, now = Date.now, maxItemBytes = BODY_ITEM_BYTES }: DynamoDBBlobsOptions,
): Blobs {
  const table = { client, name: tableName };
  const isOver = (item: Item) => Number(item['expiresAt']?.N) * 1000 <= now();

  function putBlob(name: BlobName, content: { readonly bytes?: Uint8Array }, expiresAt: number, onlyIfNew: boolean) {
    const item = { ...keyOf(name), ...marshall({ ...content, expiresAt }) };
    if (!onlyIfNew) return putItem(table, item);
    return putItem(table, item, {
      condition: 'attribute_not_exists(pk) OR expiresAt <= :now',
      values: marshall({ ':now': Math.floor(now() / 1000) }),
    });
  }

  async function bytesOf(name: BlobName, item: Item): Promise<Uint8Array | undefined> {
    return item['bytes']?.B ?? bucket.get(objectKey(name));
  }

  return {
    async put(name, bytes, expiresAt) {
      // A result is written while the table is not available. Neither needs an item to be found.
      if (bytes.byteLength <= maxItemBytes && name.part !== 'result' && name.part !== 'compaction') {
        await putBlob(name, { bytes }, expiresAt, false);
        return 'table';
      }
      await bucket.put(objectKey(name), bytes, false);
      // Events are found by their items.
      if (name.part === 'event') await putBlob(name, {}, expiresAt, false);
      return 's3';
    },
    async putNew(name, bytes, expiresAt) {
      if (bytes.byteLength <= maxItemBytes) {
        return { place: 'table', isNew: await putBlob(name, { bytes }, expiresAt, true) };
      }
      return { place: 's3', isNew: await bucket.put(objectKey(name), bytes, true) };
    },
    async get(name, place) {
      if (place === 's3') return bucket.get(objectKey(name));
      const item = await getItem(table, keyOf(name));
      return item === undefined || isOver(item) ? undefined : bytesOf(name, item);
    },
    async events(tenant, id, from) {
      const items = await queryAllItems(table, {
        where: 'pk = :pk AND sk BETWEEN :from AND :end',
        values: marshall({ ':pk': jobKey(tenant, id), ':from': eventKey(from), ':end': EVENT_END }),
      });
      const found = items.filter((item) => !isOver(item)).map((item) => ({ item, name: eventName(tenant, id, item) }));
      const blobs = await Promise.all(
        found.map(async ({ item, name }) => ({ name, bytes: await bytesOf(name, item) })),
      );
      return blobs.flatMap(({ name, bytes }) => (bytes === undefined ? [] : [{ name, bytes }]));
    },
    async chunkBefore(tenant, id, sequence) {
      const [item] = await queryPage(table, {
        where: 'pk = :pk AND sk BETWEEN :start AND :until',
        values: marshall({ ':pk': jobKey(tenant, id), ':start': eventKey(0), ':until': `${eventKey(sequence)}$` }),
        fields: 'sk',
        newestFirst: true,
        pageSize: 1,
      });
      return item && eventName(tenant, id, item).sequence;
    },
    async removeOne(name, place) {
      if (place === 's3') await bucket.remove([objectKey(name)]);
      else await deleteItems(table, [keyOf(name)]);
    },
    async remove(tenant, id, keepEpoch) {
      const key = jobKey(tenant, id);
      const kept = keepEpoch === undefined ? undefined : outputKey(keepEpoch);
      const conditions = kept === undefined ? ['sk < :job', 'sk > :job'] : ['begins_with(sk, :job)'];
      const value = kept === undefined ? 'job' : 'output#';
      const found = await Promise.all(
        conditions.map((condition) =>
          queryAllItems(table, {
            where: `pk = :pk AND ${condition}`,
            values: marshall({ ':pk': key, ':job': value }),
            fields: 'pk, sk',
          }),
        ),
      );
      await deleteItems(
        table,
        found.flat().filter(({ sk }) => sk?.S !== kept),
      );
      const keptObject =
        keepEpoch === undefined ? undefined : objectKey({ tenant, id, part: 'output', epoch: keepEpoch, sequence: 0 });
      const objects = await bucket.list(`${tenant}/job/${id}/`);
      await bucket.remove(
        objects.filter(
          (object) =>
            keptObject === undefined || (/\/(output|result|compaction)$/.test(object) && object !== keptObject),
        ),
      );
    },
  };
}

function keyOf(name: BlobName): Item {
  return marshall({ pk: jobKey(name.tenant, name.id), sk: sortKey(name) });
}

function sortKey({ part, epoch, sequence }: BlobName): string {
  switch (part) {
    case 'input':
      return 'input';
    case 'output':
      return outputKey(epoch);
    case 'result':
    case 'compaction':
    case 'replay':
      return `${part}#${epoch}`;
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
