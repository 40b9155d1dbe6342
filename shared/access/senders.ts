import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { isScope } from './keys.ts';
import type { Principal, Scope } from './principal.ts';

/** Who may send to the generation queue, and for whom. */
export interface Sender {
  /** Public id, for logs. */
  readonly keyId: string;
  readonly tenants: readonly string[];
  readonly scopes: readonly Scope[];
}

/**
 * The partition key of a sender's item. SQS says who sent a message: `AIDA…` for a user, `AROA…:session` for a role,
 * whose sessions are all the same sender, and an account's number for its root.
 */
export function getSenderPartition(senderId: string): string {
  return `sender#${senderId.split(':')[0]}`;
}

/** The access table's item for a sender. */
export function createSenderItem(senderId: string, { keyId, tenants, scopes }: Sender): Item {
  return marshall({ pk: getSenderPartition(senderId), keyId, tenants: new Set(tenants), scopes: new Set(scopes) });
}

const itemSchema = v.object({
  keyId: v.string(),
  tenants: v.set(v.string()),
  scopes: v.set(v.string()),
  expiresAt: v.optional(v.number()),
});

/** Reads a sender's item; undefined for one that isn't whole, or has expired at `now` (epoch ms). */
export function parseSenderItem(item: Item, now: number): Sender | undefined {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (!result.success) return undefined;
  const { keyId, tenants, scopes, expiresAt } = result.output;
  if (expiresAt !== undefined && expiresAt * 1000 <= now) return undefined;
  return { keyId, tenants: [...tenants], scopes: [...scopes].filter(isScope) };
}

/** A sender as the tenant that it names; undefined when it may not speak for it. */
export function resolvePrincipal(sender: Sender | undefined, tenant: string): Principal | undefined {
  if (sender === undefined || !sender.tenants.includes(tenant)) return undefined;
  return { tenant, keyId: sender.keyId, scopes: sender.scopes };
}
