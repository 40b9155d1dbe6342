import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem } from '../aws/table.ts';
import { BoundedMap } from '../core/bounded-map.ts';
import { getSenderPartition, parseSenderItem, type Sender } from './senders.ts';

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
  const cache = new BoundedMap<string, { readonly sender: Sender | undefined; readonly freshUntil: number }>(
    MAX_SENDERS,
  );
  return {
    async find(senderId, now) {
      const pk = getSenderPartition(senderId);
      const cached = cache.get(pk);
      if (cached !== undefined && now < cached.freshUntil) return cached.sender;
      const item = await getItem(table, marshall({ pk }), { eventual: true });
      const sender = item && parseSenderItem(item, now);
      cache.set(pk, { sender, freshUntil: now + TTL_MS });
      return sender;
    },
  };
}
