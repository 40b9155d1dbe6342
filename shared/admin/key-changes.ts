import * as v from 'valibot';
import type { ExpiringKeys } from '../access/expiring-keys.ts';
import type { KeyRecord } from '../access/keys.ts';
import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { integer, object } from '../openai/schema.ts';
import type { EnforcedKeys } from './enforced-keys.ts';
import { computeExpiry } from './key-fields.ts';
import type { Collection, Owner } from './object-table.ts';

/** What keys of projects and admin keys have in common. */
export const keyFields = {
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  redacted: v.string(),
  /** The key's partition in the access table. */
  partition: v.string(),
  /** Epoch seconds. Null for never. */
  expiresAt: v.nullable(v.number()),
  /** Id of the key that it was created from, by a rotation. */
  replaces: v.optional(v.string()),
  /** Id of the key that has replaced it. Absent until the rotation is complete. */
  successor: v.optional(v.string()),
  /** Seconds for which it would have worked without its rotation. Null for ever, absent if its expiry says so. */
  lifetimeSeconds: v.optional(v.nullable(v.number())),
};
const storedKeySchema = v.object(keyFields);
/** Keys of projects are stored with their scopes, admin keys are not. */
export type StoredKey = v.InferOutput<typeof storedKeySchema> & { readonly scopes?: readonly string[] };

/** The keys of a project, or the admin keys. Methods throw DynamoDB's errors. */
export interface KeyStore<K extends StoredKey> {
  readonly owner: Owner;
  readonly collection: Collection<K>;
  readonly enforced: EnforcedKeys;
  readonly expiring: ExpiringKeys;
  /** Stores a new key, then makes the authorizer accept its value. Throws LambentError `not_found` if it was deleted meanwhile. */
  create(key: K, value: string, record: KeyRecord): Promise<void>;
  /** Makes the authorizer refuse a key, then deletes it. Idempotent. */
  delete(key: K): Promise<void>;
}

/** The body of a rotation: seven days at most, so that a forgotten key doesn't stay for long. */
export const rotateBody = object({ overlap_seconds: v.optional(integer(0, 7 * 86_400), 86_400) });

/**
 * Returns what the authorizer reads of a key.
 * @param now epoch milliseconds
 * @throws LambentError `invalid_value` if it has expired or was revoked
 */
export async function readRecord<K extends StoredKey>(
  { enforced }: KeyStore<K>,
  key: K,
  now: number,
): Promise<KeyRecord> {
  const record = await enforced.read(key.partition);
  const hasExpired = key.expiresAt !== null && key.expiresAt * 1000 <= now;
  if (record === undefined || hasExpired) throw revokedError(key);
  return record;
}

/** The fields of a key that the authorizer reads, too. */
type EnforcedField = 'scopes' | 'expiresAt';

/**
 * Changes the expiry or the scopes of a key, and what the authorizer reads of it. What takes something away is enforced first. At
 * the end, the authorizer gets what is stored then, so that of concurrent changes the last one that was stored is enforced.
 * @param record what the authorizer reads now
 * @param change returns the changed key, and may be called again
 * @param fields the fields that `change` sets. The others stay as the authorizer has them, because another request may change them
 * @returns the key as it is stored
 * @throws LambentError `overloaded` if another request has replaced the key or keeps changing it, `invalid_value` if it was revoked
 */
export async function changeKey<K extends StoredKey>(
  { owner, collection, enforced, expiring }: KeyStore<K>,
  key: K,
  record: KeyRecord,
  change: (current: K) => K,
  fields: readonly EnforcedField[],
): Promise<K> {
  const changed = change(key);
  const pick = (from: StoredKey, others: KeyRecord): KeyRecord =>
    omitUndefined({
      ...others,
      scopes: (fields.includes('scopes') ? from.scopes : undefined) ?? others.scopes,
      expiresAt: fields.includes('expiresAt') ? (from.expiresAt ?? undefined) : others.expiresAt,
    });
  const applyStored = async (current: KeyRecord): Promise<KeyRecord> => {
    const stored = await collection.find(owner, key.id);
    return stored === undefined ? current : pick(stored, current);
  };
  // A key that was replaced ends as planned, so only its use is reported.
  await (changed.successor === undefined ? expiring.add(changed) : expiring.remove(key));
  if (isReduced(record, pick(changed, record))) {
    const reduced = await enforced.change(key.partition, (current) => reduce(current, pick(changed, current)));
    if (reduced === undefined) throw revokedError(key);
  }
  try {
    return await collection.update(owner, key.id, (current) => {
      // DynamoDB's client repeats a write whose response was lost, and then this change is what is stored.
      if (![key.successor, changed.successor].includes(current.successor)) throw changedError(key);
      return change(current);
    });
  } finally {
    // Also if the change was refused, but was enforced in part.
    await enforced.change(key.partition, applyStored);
  }
}

/** Returns whether a record permits something that another one doesn't. */
function isReduced(before: KeyRecord, after: KeyRecord): boolean {
  return isSooner(after.expiresAt, before.expiresAt) || before.scopes.some((each) => !after.scopes.includes(each));
}

/** Returns a record without what another one doesn't permit. */
function reduce(before: KeyRecord, after: KeyRecord): KeyRecord {
  const kept = before.scopes.filter((each) => after.scopes.includes(each));
  const expiresAt = isSooner(after.expiresAt, before.expiresAt) ? after.expiresAt : before.expiresAt;
  // DynamoDB has no empty sets, so a key that keeps none of its scopes gets the new ones at once.
  return omitUndefined({ ...before, expiresAt, scopes: kept.length === 0 ? after.scopes : kept });
}

/** A key that a rotation has created. */
export interface Rotation<K> {
  readonly created: K;
  /** The new key. It can't be read again. */
  readonly value: string;
  /** Epoch seconds until which the old key works. */
  readonly expiresAt: number;
}

/**
 * Creates a key like another one, which works for `overlapSeconds` more.
 * @param create creates the new key, which replaces the old one; its lifetime is as long
 * @param confirm throws if the new key may not exist. Default: it may
 * @param now returns epoch milliseconds
 * @throws LambentError `invalid_value` if another key has replaced it; as `changeKey`, `create` and `confirm`
 */
export async function rotateKey<K extends StoredKey>(
  store: KeyStore<K>,
  { key, record, overlapSeconds }: { readonly key: K; readonly record: KeyRecord; readonly overlapSeconds: number },
  create: (fields: Pick<K, 'name' | 'expiresAt'> & { readonly replaces: string }) => Promise<{ key: K; value: string }>,
  now: () => number,
  confirm: (created: K) => Promise<void> = async () => {},
): Promise<Rotation<K>> {
  const unfinished = await listUnfinished(store, key);
  const lifetimeSeconds = getLifetime(key);
  const { key: created, value } = await create({
    name: key.name,
    expiresAt: computeExpiry(lifetimeSeconds, now()),
    replaces: key.id,
  });
  const end = Math.floor(now() / 1000) + overlapSeconds;
  const replace = (current: K): K => ({
    ...current,
    expiresAt: isSooner(current.expiresAt ?? undefined, end) ? current.expiresAt : end,
    lifetimeSeconds,
    successor: created.id,
  });
  let replaced: K;
  try {
    // Before the old key changes, which may be meant to work for ever.
    await confirm(created);
    replaced = await changeKey(store, key, record, replace, ['expiresAt']);
  } catch (thrown) {
    // Once the end of the old key is stored, the new one stays, so that the old key doesn't end without a successor.
    const stored = await store.collection.find(store.owner, key.id);
    if (stored?.successor !== created.id) await store.delete(created);
    throw thrown;
  }
  // Only now, because another rotation may complete until then, and one of these keys may be its new one.
  for (const each of unfinished) await store.delete(each);
  return { created, value, expiresAt: replaced.expiresAt ?? end };
}

/** Returns the seconds for which a key works, whatever a rotation has made of its expiry. Null for ever. */
function getLifetime({ lifetimeSeconds, expiresAt, createdAt }: StoredKey): number | null {
  if (lifetimeSeconds !== undefined) return lifetimeSeconds;
  return expiresAt === null ? null : expiresAt - createdAt;
}

/**
 * Lists the keys that rotations of a key have created and not returned, because they were interrupted or are running.
 * @throws LambentError `invalid_value` if a rotation was completed, so that there are never two successors
 */
async function listUnfinished<K extends StoredKey>(store: KeyStore<K>, key: K): Promise<readonly K[]> {
  const unfinished: K[] = [];
  for await (const each of store.collection.listAll(store.owner)) {
    if (each.replaces !== key.id) continue;
    if (each.id === key.successor)
      throw new LambentError(
        'invalid_value',
        `The key ${key.id} was replaced by ${each.id}. If that key's value was lost, delete it first.`,
      );
    unfinished.push(each);
  }
  return unfinished;
}

function changedError({ id }: StoredKey): LambentError {
  return new LambentError('overloaded', `Another request has replaced the key ${id}.`);
}

function revokedError({ id, successor }: StoredKey): LambentError {
  const reason = successor === undefined ? '' : ` It was replaced by ${successor}.`;
  return new LambentError('invalid_value', `The key ${id} has expired or was revoked. It can't be changed.${reason}`);
}

/** Returns whether a time is earlier than another. Undefined is never. */
function isSooner(one: number | undefined, other: number | undefined): boolean {
  return one !== undefined && (other === undefined || one < other);
}
