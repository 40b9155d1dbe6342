import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem } from '../aws/table.ts';
import { BoundedMap } from '../core/bounded-map.ts';
import { getSenderPartition, parseSenderRecord, type Sender, type SenderRecord, toSender } from './senders.ts';

/** Looks up queue senders in the access table. */
export interface SenderTable {
  /**
   * Finds a sender by the id that SQS reports. Returns undefined if it is unknown, or expired at `now` (epoch
   * milliseconds). Throws DynamoDB's errors.
   */
  find(senderId: string, now: number): Promise<Sender | undefined>;
}

/** Equal to the time for which API Gateway caches a key's policy, so that senders and keys are revoked equally fast. */
const TTL_MS = 30_000;

/** More than a service has in practice. Unknown senders are cached too, so their number has no natural limit. */
const MAX_SENDERS = 1_000;

/** Creates the sender table in DynamoDB. Caches results, unknown senders included, for 30 s per environment. */
export function createSenderTable(client: DynamoDBClient, name: string): SenderTable {
  const table = { client, name };
  const cache = new BoundedMap<string, { readonly record: SenderRecord | undefined; readonly freshUntil: number }>(
    MAX_SENDERS,
  );
  return {
    async find(senderId, now) {
      const pk = getSenderPartition(senderId);
      const cached = cache.get(pk);
      // A cached sender may have expired since it was read.
      if (cached !== undefined && now < cached.freshUntil) return cached.record && toSender(cached.record, now);
      const item = await getItem(table, marshall({ pk }), { eventual: true });
      const record = item && parseSenderRecord(item);
      cache.set(pk, { record, freshUntil: now + TTL_MS });
      return record && toSender(record, now);
    },
  };
}
