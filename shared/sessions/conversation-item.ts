import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import type { ConversationHead, ConversationKey, ItemRow } from './conversation-records.ts';

/** An item of the conversations' table. */
export type Item = Record<string, AttributeValue>;

/** Sort key of a conversation's own item. */
export const HEAD = 'head';
/** A position has nine digits. */
export const MAX_POSITION = 999_999_999;

/** The partition key of a conversation and all its items. */
export function toPartitionKey({ tenant, id }: ConversationKey): string {
  return `${tenant}#${id}`;
}

/** The key of an item. */
export function toTableKey(key: ConversationKey, sk: string): Item {
  return { pk: { S: toPartitionKey(key) }, sk: { S: sk } };
}

/** Sort key of the item at a position. */
export function toItemSortKey(position: number): string {
  return `item#${String(position).padStart(9, '0')}`;
}

/** What the bucket's keys of a conversation's items begin with. */
export function toObjectPrefix({ tenant, id }: ConversationKey): string {
  return `${tenant}/conversation/${id}/`;
}

/** The bucket's key of an item that is too large for the table: a place and who wrote there name it, as its seal does. */
export function toObjectKey(key: ConversationKey, position: number, epoch: number): string {
  return `${toObjectPrefix(key)}${position}-${epoch}`;
}

/** A number as DynamoDB has it. */
export function toNumberAttribute(value: number): AttributeValue {
  return { N: String(value) };
}

/** Epoch milliseconds as the epoch seconds that expiry is counted in. */
export function toSecondsAttribute(now: number): AttributeValue {
  return toNumberAttribute(Math.floor(now / 1000));
}

const digits = v.pipe(
  v.object({ N: v.pipe(v.string(), v.regex(/^\d+$/)) }),
  v.transform(({ N }) => Number(N)),
);
const words = v.pipe(
  v.object({ S: v.string() }),
  v.transform(({ S }) => S),
);
const bytes = v.pipe(
  v.object({ B: v.instance(Uint8Array) }),
  v.transform(({ B }) => B),
);

// A newer version may write more than this one knows: what is not named here is left alone.
const headSchema = v.object({
  createdAt: digits,
  nextPosition: digits,
  lockEpoch: digits,
  metadata: v.exactOptional(bytes),
});
const rowSchema = v.object({ itemId: words, epoch: digits, turn: words, sealed: v.exactOptional(bytes) });
const expirySchema = v.object({ expiresAt: digits });
const sortKeySchema = v.object({ sk: v.pipe(words, v.regex(/^item#\d{9}$/)) });

/** Reads a conversation's own item. Throws for anything else. */
export function parseHead(item: Item): ConversationHead {
  return v.parse(headSchema, item);
}

/** Reads an item of a conversation; undefined for one that was deleted or has expired. */
export function parseRow(item: Item, now: number): ItemRow | undefined {
  if (hasExpired(item, now)) return undefined;
  const row = v.safeParse(rowSchema, item);
  if (!row.success) return undefined;
  return { ...row.output, position: positionOf(item) };
}

function positionOf(item: Item): number {
  return Number(v.parse(sortKeySchema, item).sk.slice('item#'.length));
}

/** DynamoDB removes what has expired within days; until then it is not there for anybody who reads. */
export function hasExpired(item: Item, now: number): boolean {
  const expiry = v.safeParse(expirySchema, item);
  return expiry.success && expiry.output.expiresAt * 1000 <= now;
}
