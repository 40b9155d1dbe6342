import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { omitUndefined } from '../core/objects.ts';
import { hasExpired } from './principal.ts';
import { hasScope } from './scopes.ts';

/** An AWS identity that may send to the generation queue, and the tenants that it may act for. */
export interface Sender {
  /** Public id for logs. */
  readonly keyId: string;
  readonly tenants: readonly string[];
  readonly scopes: readonly string[];
  /** Aliases of the reply queues that the sender's messages may name, or `*` for all. */
  readonly replyQueues: readonly string[];
  /** Absent if its messages aren't limited. */
  readonly limits?: SenderLimits;
}

/** A sender with what only its administration uses. */
export interface SenderRecord extends Sender {
  /** For people. Absent: the sender has none besides its `keyId`. */
  readonly name?: string;
  /** Epoch seconds. Absent for an item that was written by hand. */
  readonly createdAt?: number;
  /** Epoch seconds. Absent: never. */
  readonly expiresAt?: number;
}

/** How many messages of a sender may become jobs. Minutes and days are those of UTC. */
export interface SenderLimits {
  readonly messagesPerMinute?: number;
  readonly messagesPerDay?: number;
}

/**
 * Returns the id of a sender: `AIDA…` for a user, `AROA…` for a role, or the account id for an account's root. All sessions of a
 * role are the same sender.
 * @param senderId SQS's attribute `SenderId`, which has the session of a role: `AROA…:session`
 */
export function getSenderId(senderId: string): string {
  return senderId.split(':')[0] ?? senderId;
}

/** Returns the partition key of a sender's item. @param senderId as for `getSenderId` */
export function getSenderPartition(senderId: string): string {
  return `sender#${getSenderId(senderId)}`;
}

/** Creates the access table's item for a sender. */
export function createSenderItem(
  senderId: string,
  { tenants, scopes, replyQueues, limits, ...fields }: SenderRecord,
): Item {
  return marshall({
    pk: getSenderPartition(senderId),
    ...fields,
    tenants: new Set(tenants),
    scopes: new Set(scopes),
    // DynamoDB has no empty sets.
    replyQueues: replyQueues.length === 0 ? undefined : new Set(replyQueues),
    ...limits,
  });
}

const messages = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const itemSchema = v.object({
  keyId: v.string(),
  tenants: v.set(v.string()),
  scopes: v.set(v.string()),
  replyQueues: v.optional(v.set(v.string()), new Set<string>()),
  messagesPerMinute: v.optional(messages),
  messagesPerDay: v.optional(messages),
  expiresAt: v.optional(v.number()),
  name: v.optional(v.string()),
  createdAt: v.optional(v.number()),
});

/** The attributes of a sender's item, besides its key. */
export const SENDER_ATTRIBUTES: readonly string[] = Object.keys(itemSchema.entries);

/** Parses a sender's item, even an expired one. Returns undefined if it is invalid. */
export function parseSenderRecord(item: Item): SenderRecord | undefined {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (!result.success) return undefined;
  const { tenants, scopes, replyQueues, messagesPerMinute, messagesPerDay, ...fields } = result.output;
  const limits = omitUndefined({ messagesPerMinute, messagesPerDay });
  return {
    ...omitUndefined(fields),
    tenants: [...tenants],
    scopes: [...scopes],
    replyQueues: [...replyQueues],
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

/**
 * Returns the sender of a record, without what only its administration uses. Returns undefined if it has expired at `now` (epoch
 * milliseconds).
 */
export function toSender(record: SenderRecord, now: number): Sender | undefined {
  if (hasExpired(record, now)) return undefined;
  const { name: _, createdAt: __, expiresAt: ___, ...sender } = record;
  return sender;
}

/** Returns whether a sender may have requests of a tenant answered. */
export function maySendFor({ tenants, scopes }: Sender, tenant: string): boolean {
  return tenants.includes(tenant) && hasScope(scopes, 'generate');
}

/** Returns whether the sender's messages may name the reply queue with this alias. */
export function mayReplyTo({ replyQueues }: Sender, alias: string): boolean {
  return replyQueues.includes(alias) || replyQueues.includes('*');
}
