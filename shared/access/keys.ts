import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { UNRESTRICTED } from './policy.ts';
import { type Principal, SCOPES, type Scope } from './principal.ts';

/** The contents of a key's item in the access table. */
export interface KeyRecord extends Omit<Principal, 'policy'> {
  /** Epoch seconds at which the key expires. Default: never. */
  readonly expiresAt?: number;
}

/**
 * Returns the partition key of an API key's item: its SHA-256 hash. The key itself is not stored. API keys are long and
 * random, so an unsalted hash can't be reversed, and a lookup needs only one read.
 */
export function getKeyPartition(key: string): string {
  return `key#${createHash('sha256').update(key).digest('hex')}`;
}

/** Creates the access table's item for a key. */
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

/** True if `text` may be the name of a tenant or the id of a key. */
export function isPrincipalId(text: string): boolean {
  return v.is(id, text);
}

/**
 * Parses a key's item, even an expired one. Ignores unknown scopes, because a newer version that runs beside this one
 * may have written them.
 * @returns undefined if the item is invalid
 */
export function parseKeyRecord(item: Item): KeyRecord | undefined {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (!result.success) return undefined;
  const { tenant, keyId, scopes, expiresAt } = result.output;
  return { tenant, keyId, scopes: [...scopes].filter(isScope), ...(expiresAt === undefined ? {} : { expiresAt }) };
}

/**
 * Parses a key's item into its principal.
 * @returns undefined if the item is invalid, or expired at `now` (epoch milliseconds)
 */
export function parseKeyItem(item: Item, now: number): Principal | undefined {
  const record = parseKeyRecord(item);
  if (record === undefined) return undefined;
  const { expiresAt, ...principal } = record;
  return expiresAt !== undefined && expiresAt * 1000 <= now ? undefined : { ...principal, policy: UNRESTRICTED };
}

/** True if this version knows a scope with this name. */
export function isScope(name: string): name is Scope {
  return SCOPES.some((scope) => scope === name);
}

/** The headers of an authorizer's event. */
export interface HeaderFields {
  readonly headers?: Readonly<Record<string, string | undefined>> | null;
  readonly multiValueHeaders?: Readonly<Record<string, readonly string[] | undefined>> | null;
}

/** The fields of an authorizer's event that name its route. */
export interface RouteFields {
  /** The path as defined: `/v1/models/{id+}`. */
  readonly resource?: string;
}

/**
 * Returns whether API Gateway calls the authorizer with each request of a route, instead of caching policies by the
 * header `Authorization`. `serverless.yml` sets it; a test compares the two.
 */
export function isCalledEachTime({ resource = '' }: RouteFields): boolean {
  return /^\/v1\/(messages|models)(\/|$)/.test(resource);
}

/**
 * Returns the distinct values of a request's headers that hold a key, in whatever case their names are written, as values
 * of `Authorization`. `x-api-key` counts only where policies aren't cached: one that it allows would be cached under the
 * `Authorization` of the request, and let that in by itself.
 */
export function collectKeyValues(event: HeaderFields & RouteFields): string[] {
  const values = (wanted: string): string[] =>
    [...Object.entries(event.headers ?? {}), ...Object.entries(event.multiValueHeaders ?? {})]
      .filter(([name]) => name.toLowerCase() === wanted)
      .flatMap(([, value]) => value ?? []);
  const keys = isCalledEachTime(event) ? values('x-api-key').map((key) => `Bearer ${key}`) : [];
  return [...new Set([...values('authorization'), ...keys])];
}

/**
 * Returns the key in an `Authorization: Bearer …` header.
 * @returns undefined if the header is absent, has another scheme, or its key isn't 1 to 256 visible ASCII characters
 */
export function parseKey(header: string | undefined): string | undefined {
  return /^Bearer +([\x21-\x7e]{1,256}) *$/i.exec(header ?? '')?.[1];
}

/** Converts a principal to the authorizer's context, in which API Gateway allows only flat strings. */
export function toAuthorizerContext({ tenant, keyId, scopes }: Omit<Principal, 'policy'>): Record<string, string> {
  return { tenant, keyId, scopes: scopes.join(' ') };
}

const contextSchema = v.object({ tenant: id, keyId: id, scopes: v.string() });

/** Parses the authorizer's context into a principal. Returns undefined if it is invalid. */
export function parseAuthorizerContext(context: unknown): Principal | undefined {
  const result = v.safeParse(contextSchema, context);
  if (!result.success) return undefined;
  const { tenant, keyId, scopes } = result.output;
  return { tenant, keyId, scopes: scopes.split(' ').filter(isScope), policy: UNRESTRICTED };
}
