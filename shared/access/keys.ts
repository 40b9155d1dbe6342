import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { type Principal, SCOPES, type Scope } from './principal.ts';

/** A key as the access table holds it: its hash, and whom it stands for. */
export interface KeyRecord extends Principal {
  /** Epoch seconds after which it is refused; absent means never. */
  readonly expiresAt?: number;
}

/**
 * The partition key of an API key's item. Keys are random and long, so a plain SHA-256 can't be searched backwards and
 * is what lets a lookup be one read; the key itself is stored nowhere.
 */
export function getKeyPartition(key: string): string {
  return `key#${createHash('sha256').update(key).digest('hex')}`;
}

/** The table item for a key. */
export function createKeyItem(key: string, { tenant, keyId, scopes, expiresAt }: KeyRecord): Item {
  return marshall({ pk: getKeyPartition(key), tenant, keyId, scopes: new Set(scopes), expiresAt });
}

const id = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/));

const itemSchema = v.object({
  tenant: id,
  keyId: id,
  scopes: v.set(v.string()),
  expiresAt: v.optional(v.number()),
});

/**
 * Reads a key's item. Scopes that this version doesn't know are left out: a newer version, side by side with this one,
 * may have written them.
 * @returns undefined for an item that isn't a whole key, or one that has expired at `now` (epoch ms)
 */
export function parseKeyItem(item: Item, now: number): Principal | undefined {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (!result.success) return undefined;
  const { tenant, keyId, scopes, expiresAt } = result.output;
  if (expiresAt !== undefined && expiresAt * 1000 <= now) return undefined;
  return { tenant, keyId, scopes: [...scopes].filter(isScope) };
}

/** Whether this version knows a scope of that name. */
export function isScope(name: string): name is Scope {
  return SCOPES.some((scope) => scope === name);
}

/**
 * The key of an `Authorization: Bearer …` header.
 * @returns undefined when the header is absent, of another scheme, or no plausible key (1 to 256 visible characters)
 */
export function parseBearerKey(header: string | undefined): string | undefined {
  return /^Bearer +([\x21-\x7e]{1,256}) *$/i.exec(header ?? '')?.[1];
}

/** The principal as the authorizer hands it on: API Gateway's context holds flat strings only. */
export function toAuthorizerContext({ tenant, keyId, scopes }: Principal): Record<string, string> {
  return { tenant, keyId, scopes: scopes.join(' ') };
}

const contextSchema = v.object({ tenant: id, keyId: id, scopes: v.string() });

/** The principal that the authorizer handed on; undefined for anything else. */
export function parseAuthorizerContext(context: unknown): Principal | undefined {
  const result = v.safeParse(contextSchema, context);
  if (!result.success) return undefined;
  const { tenant, keyId, scopes } = result.output;
  return { tenant, keyId, scopes: scopes.split(' ').filter(isScope) };
}
