import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { omitUndefined } from '../core/objects.ts';
import { type FederatedRules, federatedRulesSchema } from './federation/federated-rules.ts';
import { hasExpired, ORGANIZATION, type Principal } from './principal.ts';

/** For how long a new key works unless its creator says otherwise. */
export const DEFAULT_LIFETIME_SECONDS = 90 * 86_400;

/** The contents of a key's item in the access table. */
export interface KeyRecord extends Omit<Principal, 'policy'> {
  /** The key's restrictions, as `encodeRestrictions` returns them. Default: none. */
  readonly policy?: string | undefined;
  /** The rules by which an access token was issued. It is refused when they no longer grant its scopes. Absent for keys. */
  readonly federated?: FederatedRules;
  /** The day on which it was last logged that the key expires soon: `2027-01-31`. */
  readonly warnedOn?: string;
}

/**
 * Returns the partition key of an API key's item: its SHA-256 hash. The key itself is not stored. API keys are long and
 * random, so an unsalted hash can't be reversed, and a lookup needs only one read.
 */
export function getKeyPartition(key: string): string {
  return `key#${createHash('sha256').update(key).digest('hex')}`;
}

/** Creates the access table's item for a key. */
export function createKeyItem(key: string, { scopes, ...fields }: KeyRecord): Item {
  return marshall({ pk: getKeyPartition(key), scopes: new Set(scopes), ...fields });
}

const id = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/));

const itemSchema = v.object({
  tenant: v.union([id, v.literal(ORGANIZATION)]),
  keyId: id,
  scopes: v.set(v.string()),
  expiresAt: v.optional(v.number()),
  policy: v.optional(v.string()),
  federated: v.optional(federatedRulesSchema),
  warnedOn: v.optional(v.string()),
});

/** True if `text` may be the name of a tenant or the id of a key. */
export function isPrincipalId(text: string): boolean {
  return v.is(id, text);
}

/**
 * Parses a key's item, even an expired one. Only the organization's keys have scopes of the administration, and they have
 * no others.
 * @returns undefined if the item is invalid
 */
export function parseKeyRecord(item: Item): KeyRecord | undefined {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (!result.success) return undefined;
  const { scopes, ...record } = result.output;
  const isAdmin = record.tenant === ORGANIZATION;
  return { ...omitUndefined(record), scopes: [...scopes].filter((scope) => scope.startsWith('admin.') === isAdmin) };
}

/** Parses a key's item. Returns undefined if it is invalid, or expired at `now` (epoch milliseconds). */
export function parseKeyItem(item: Item, now: number): KeyRecord | undefined {
  const record = parseKeyRecord(item);
  return record && hasExpired(record, now) ? undefined : record;
}
