import * as v from 'valibot';
import { generateKey } from '../access/api-key.ts';
import { DEFAULT_LIFETIME_SECONDS, getKeyPartition } from '../access/keys.ts';
import { BUILT_IN_ROLES } from '../access/roles.ts';
import { ADMIN_SCOPES, type Scope, TENANT_SCOPES } from '../access/scopes.ts';
import { arrayOf, integer, string } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import { createObjectId } from './object-table.ts';

const LONGEST_LIFETIME_SECONDS = 10 * 366 * 86_400;

/** Seconds until a key expires, or null for never. */
export const expiresInSeconds = v.optional(v.nullable(integer(1, LONGEST_LIFETIME_SECONDS)));

/** Returns the epoch seconds at which a new key expires, or null for never. The default is 90 days. */
export function computeExpiry(expiresInSeconds: number | null | undefined, now: number): number | null {
  return expiresInSeconds === null ? null : Math.floor(now / 1000) + (expiresInSeconds ?? DEFAULT_LIFETIME_SECONDS);
}

/**
 * Generates a key. Returns its value, which can't be read again, and the fields of its object that all keys have.
 * @param now epoch milliseconds
 */
export function makeKey(kind: Parameters<typeof generateKey>[0], name: string, now: number) {
  const value = generateKey(kind);
  const fields = {
    id: createObjectId('key', now),
    createdAt: Math.floor(now / 1000),
    name,
    redacted: redactKey(value),
    partition: getKeyPartition(value),
  };
  return { value, fields };
}

export const scopeNames = v.optional(arrayOf(string, 'strings', { max: 100 }));

/** OpenAI's names for sets of scopes, and those of the built-in roles. */
const SETS: Readonly<Record<string, readonly Scope[]>> = {
  'api.all': TENANT_SCOPES,
  'api.all.read': TENANT_SCOPES.filter((scope) => scope.endsWith('.read')),
  ...Object.fromEntries(Object.entries(BUILT_IN_ROLES).map(([name, { scopes }]) => [name, scopes])),
};

/** Returns the scopes that a name stands for: its own, or those of a set. Returns undefined if it is neither a scope's nor a set's name. */
export function findNamedScopes(name: string): readonly Scope[] | undefined {
  if (Object.hasOwn(SETS, name)) return SETS[name];
  const scope = [...TENANT_SCOPES, ...ADMIN_SCOPES].find((each) => each === name);
  return scope && [scope];
}

/** Returns a sentence that lists the names of scopes and of sets that have some of `allowed`. */
export function describeScopeNames(allowed: readonly Scope[]): string {
  const sets = Object.keys(SETS).filter((set) => SETS[set]?.some((scope) => allowed.includes(scope)));
  return `Scopes and sets of scopes are: ${[...allowed, ...sets].join(', ')}.`;
}

/**
 * Returns the scopes that a request names, each by itself or as part of a set, as far as `allowed` has them. No names, or an
 * empty list, mean all of `allowed`.
 * @param param the field of the request that has the names
 * @throws LambentError `invalid_value` for an unknown name, and for one that has nothing in `allowed`
 */
export function parseScopes(
  names: readonly string[] = [],
  allowed: readonly Scope[],
  param = 'scopes',
): readonly Scope[] {
  if (names.length === 0) return allowed;
  const scopes = names.flatMap((name, index) => {
    const permitted = allowed.filter((scope) => findNamedScopes(name)?.includes(scope));
    if (permitted.length > 0) return permitted;
    throw invalidValueError(
      `${param}[${index}]`,
      `Invalid '${param}[${index}]': '${name.slice(0, 64)}' is not a scope of such a key. ${describeScopeNames(allowed)}`,
    );
  });
  return allowed.filter((scope) => scopes.includes(scope));
}

/** Returns what may be shown of a key: its beginning, by which its kind is recognised, and its last characters. */
function redactKey(key: string): string {
  return `${key.slice(0, key.lastIndexOf('-') + 1)}...${key.slice(-4)}`;
}
