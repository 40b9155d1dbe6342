import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem } from '../aws/table.ts';
import { BoundedMap } from '../core/bounded-map.ts';
import { getSenderPartition, parseSenderItem, type Sender } from './senders.ts';

/** Looks senders up in the access table. */
export interface SenderTable {
  /** The sender that SQS names, if it is known at `now` (epoch ms). Throws what DynamoDB throws. */
  find(senderId: string, now: number): Promise<Sender | undefined>;
}

/** As long as the authorizer's answer is good for a key: a sender that is taken away is out as soon as a key is. */
const FRESH_MS = 30_000;

/** More than a service has in practice. Unknown senders are cached too, so their number has no natural limit. */
const MAX_SENDERS = 1_000;

/** The access table in DynamoDB: one eventually consistent read a sender, environment and half minute. */
export function createSenderTable(client: DynamoDBClient, name: string): SenderTable {
  const table = { client, name };
  const known = new BoundedMap<string, { readonly sender: Sender | undefined; readonly freshUntil: number }>(
    MAX_SENDERS,
  );
  return {
    async find(senderId, now) {
      const pk = getSenderPartition(senderId);
      const fresh = known.get(pk);
      if (fresh !== undefined && now < fresh.freshUntil) return fresh.sender;
      const item = await getItem(table, marshall({ pk }), { eventual: true });
      const sender = item && parseSenderItem(item, now);
      known.set(pk, { sender, freshUntil: now + FRESH_MS });
      return sender;
    },
  };
}
