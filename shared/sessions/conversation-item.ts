import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import type { ConversationHead, ConversationKey, ItemRow } from './conversation-records.ts';

/** An item of the conversations table. */
export type Item = Record<string, AttributeValue>;

/** Sort key of a conversation's head. */
export const HEAD = 'head';
/** A position has nine integer in the sort key. */
export const MAX_POSITION = 999_999_999;

/** Returns the partition key of a conversation's head and items. */
export function toPartitionKey({ tenant, id }: ConversationKey): string {
  return `${tenant}#${id}`;
}

/** Returns the DynamoDB key of a conversation's head or of one of its items. */
export function toTableKey(key: ConversationKey, sk: string): Item {
  return { pk: { S: toPartitionKey(key) }, sk: { S: sk } };
}

/** Returns the sort key of the item at a position. */
export function toItemSortKey(position: number): string {
  return `item#${String(position).padStart(9, '0')}`;
}

/** Returns the prefix of the bucket keys of a conversation's items. */
export function toObjectPrefix({ tenant, id }: ConversationKey): string {
  return `${tenant}/conversation/${id}/`;
}

/** Returns the bucket key of an item that is too large for the table: its position and the epoch that wrote it. */
export function toObjectKey(key: ConversationKey, position: number, epoch: number): string {
  return `${toObjectPrefix(key)}${position}-${epoch}`;
}

/** Returns a number as a DynamoDB attribute. */
export function toNumberAttribute(value: number): AttributeValue {
  return { N: String(value) };
}

/** Converts epoch milliseconds to an attribute in epoch seconds, the unit of expiry. */
export function toSecondsAttribute(now: number): AttributeValue {
  return toNumberAttribute(Math.floor(now / 1000));
}

const integer = v.pipe(
  v.object({ N: v.pipe(v.string(), v.regex(/^\d+$/)) }),
  v.transform(({ N }) => Number(N)),
);
const text = v.pipe(
  v.object({ S: v.string() }),
  v.transform(({ S }) => S),
);
const bytes = v.pipe(
  v.object({ B: v.instance(Uint8Array) }),
  v.transform(({ B }) => B),
);

// Attributes that a newer version added are ignored.
const headSchema = v.object({
  createdAt: integer,
  nextPosition: integer,
  lockEpoch: integer,
  metadata: v.exactOptional(bytes),
});
const rowSchema = v.object({ itemId: text, epoch: integer, turn: text, sealed: v.exactOptional(bytes) });
const expirySchema = v.object({ expiresAt: integer });
const sortKeySchema = v.object({ sk: v.pipe(text, v.regex(/^item#\d{9}$/)) });

/** Parses a conversation's head. Throws if it is not one. */
export function parseHead(item: Item): ConversationHead {
  return v.parse(headSchema, item);
}

/** Parses an item of a conversation; undefined for an item that was deleted or has expired. */
export function parseRow(item: Item, now: number): ItemRow | undefined {
  if (hasExpired(item, now)) return undefined;
  const row = v.safeParse(rowSchema, item);
  if (!row.success) return undefined;
  return { ...row.output, position: parsePosition(item) };
}

function parsePosition(item: Item): number {
  return Number(v.parse(sortKeySchema, item).sk.slice('item#'.length));
}

/** True for an item that has expired. DynamoDB deletes it within days; until then, reads must ignore it. */
export function hasExpired(item: Item, now: number): boolean {
  const expiry = v.safeParse(expirySchema, item);
  return expiry.success && expiry.output.expiresAt * 1000 <= now;
}
