import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import type { ConversationHead, ConversationKey, CountedRow, ItemRow } from './conversation-records.ts';

/** Sort key of a conversation's head. */
export const HEAD = 'head';
/** A position has nine digits in the sort key. */
export const MAX_POSITION = 999_999_999;

/** Returns the partition key of a conversation's head and items. */
export function toPartitionKey({ tenant, id }: ConversationKey): string {
  return `${tenant}#${id}`;
}

/** Returns the DynamoDB key of a conversation's head or of one of its items. */
export function toTableKey(key: ConversationKey, sk: string): Item {
  return marshall({ pk: toPartitionKey(key), sk });
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

/** Converts epoch milliseconds to epoch seconds, the unit of expiry. */
export function toSeconds(now: number): number {
  return Math.floor(now / 1000);
}

const bytes = v.instance(Uint8Array);

// Attributes that a newer version added are ignored.
const headSchema = v.object({
  createdAt: v.number(),
  nextPosition: v.number(),
  lockEpoch: v.number(),
  metadata: v.exactOptional(bytes),
});
const countedSchema = v.object({ countedBytes: v.number(), countedUntil: v.number() });
const rowSchema = v.object({
  itemId: v.string(),
  epoch: v.number(),
  turn: v.string(),
  sealed: v.exactOptional(bytes),
  countedBytes: v.exactOptional(v.number()),
  countedUntil: v.exactOptional(v.number()),
});
const expirySchema = v.object({ expiresAt: v.number() });
const sortKeySchema = v.object({ sk: v.pipe(v.string(), v.regex(/^item#\d{9}$/)) });

/** Parses a conversation's head. Throws `ValiError` for any other item. */
export function parseHead(item: Item): ConversationHead {
  return v.parse(headSchema, unmarshall(item));
}

/** Parses an item of a conversation; undefined for an item that was deleted or has expired. */
export function parseRow(item: Item, now: number): ItemRow | undefined {
  const fields = unmarshall(item);
  const row = v.safeParse(rowSchema, fields);
  if (!row.success || isPastExpiry(fields, now)) return undefined;
  return { ...row.output, position: parsePosition(fields) };
}

/** Parses the tombstone of an item. Throws `ValiError` for any other item. */
export function parseDeletedRow(item: Item): Pick<ItemRow, 'position' | 'epoch'> {
  const fields = unmarshall(item);
  return { position: parsePosition(fields), epoch: v.parse(rowSchema.entries.epoch, fields['epoch']) };
}

/** Returns what is counted for a deleted row: nothing or one. */
export function listCounted(item: Item | undefined): readonly CountedRow[] {
  const counted = v.safeParse(countedSchema, unmarshall(item ?? {}));
  return counted.success ? [counted.output] : [];
}

function parsePosition(fields: object): number {
  return Number(v.parse(sortKeySchema, fields).sk.slice('item#'.length));
}

/** True for an item that has expired. DynamoDB deletes it within days; until then, reads must ignore it. */
export function hasExpired(item: Item, now: number): boolean {
  return isPastExpiry(unmarshall(item), now);
}

function isPastExpiry(fields: object, now: number): boolean {
  const expiry = v.safeParse(expirySchema, fields);
  return expiry.success && expiry.output.expiresAt * 1000 <= now;
}
