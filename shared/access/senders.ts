import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
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
export function senderPartition(senderId: string): string {
  return `sender#${senderId.split(':')[0]}`;
}

/** The access table's item for a sender. */
export function senderItem(senderId: string, { keyId, tenants, scopes }: Sender): Record<string, AttributeValue> {
  return {
    pk: { S: senderPartition(senderId) },
    keyId: { S: keyId },
    tenants: { SS: [...tenants] },
    scopes: { SS: [...scopes] },
  };
}

const itemSchema = v.object({
  keyId: v.object({ S: v.string() }),
  tenants: v.object({ SS: v.array(v.string()) }),
  scopes: v.object({ SS: v.array(v.string()) }),
  expiresAt: v.optional(v.object({ N: v.pipe(v.string(), v.regex(/^\d+$/)) })),
});

/** Reads a sender's item; undefined for one that isn't whole, or has expired at `now` (epoch ms). */
export function parseSenderItem(item: unknown, now: number): Sender | undefined {
  const result = v.safeParse(itemSchema, item);
  if (!result.success) return undefined;
  const { keyId, tenants, scopes, expiresAt } = result.output;
  if (expiresAt !== undefined && Number(expiresAt.N) * 1000 <= now) return undefined;
  return { keyId: keyId.S, tenants: tenants.SS, scopes: scopes.SS.filter(isScope) };
}

/** A sender as the tenant that it names; undefined when it may not speak for it. */
export function principalFor(sender: Sender | undefined, tenant: string): Principal | undefined {
  if (sender === undefined || !sender.tenants.includes(tenant)) return undefined;
  return { tenant, keyId: sender.keyId, scopes: sender.scopes };
}
