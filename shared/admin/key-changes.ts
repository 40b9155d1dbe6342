import * as v from 'valibot';
import type { ExpiringKeys } from '../access/expiring-keys.ts';
import type { KeyRecord } from '../access/keys.ts';
import { LambentError } from '../core/errors.ts';
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
type StoredKey = v.InferOutput<typeof storedKeySchema>;

/** The keys of a project, or the admin keys. Methods throw DynamoDB's errors. */
export interface KeyStore<K extends StoredKey> {
  readonly owner: Owner;
  readonly collection: Collection<K>;
  readonly enforced: EnforcedKeys;
  readonly expiring: ExpiringKeys;
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
  { id, partition, expiresAt }: K,
  now: number,
): Promise<KeyRecord> {
  const record = await enforced.read(partition);
  const hasExpired = expiresAt !== null && expiresAt * 1000 <= now;
  if (record !== undefined && !hasExpired) return record;
  throw new LambentError('invalid_value', `The key ${id} has expired or was revoked. It can't be changed.`);
}

/**
 * Changes the expiry and the scopes of a key, and what the authorizer reads of it. What takes something away is enforced first.
 * @param record what the authorizer reads now
 * @param options `scopes`: those of `changed`; `keepsEnd`: true if the request doesn't ask for another expiry
 * @throws LambentError `overloaded` if another request has changed the key
 */
export async function changeKey<K extends StoredKey>(
  store: KeyStore<K>,
  key: K,
  record: KeyRecord,
  changed: K,
  options: { readonly scopes?: readonly string[]; readonly keepsEnd?: boolean } = {},
): Promise<void> {
  const { scopes = record.scopes, keepsEnd = false } = options;
  let enforced = record;
  const enforce = async (expiresAt: number | null) => {
    const { expiresAt: _, ...others } = enforced;
    const after = { ...others, ...(expiresAt !== null && { expiresAt }), scopes };
    if (!(await store.enforced.change(key.partition, enforced, after))) throw changedError(key);
    enforced = after;
  };
  // Another request may have made the key end sooner, and not have stored that in the key yet.
  const { expiresAt = null } = record;
  const sooner = isSooner(changed.expiresAt, expiresAt) ? changed.expiresAt : expiresAt;
  const last = keepsEnd ? sooner : changed.expiresAt;
  const isReduced = sooner !== expiresAt || record.scopes.some((each) => !scopes.includes(each));
  // A key that was replaced ends as planned, so only its use is reported.
  await (changed.successor === undefined ? store.expiring.add(changed) : store.expiring.remove(key));
  if (isReduced) await enforce(sooner);
  await store.collection.update(store.owner, key.id, (current) => {
    if (current.successor !== key.successor || current.expiresAt !== key.expiresAt) throw changedError(key);
    return { ...changed, name: current.name };
  });
  if (!isReduced || last !== sooner) await enforce(last);
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
 * @throws LambentError `invalid_value` if another key has replaced it, `overloaded` as `changeKey`; as `create` and `confirm`
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
  const expiresAt = key.expiresAt !== null && key.expiresAt < end ? key.expiresAt : end;
  try {
    await changeKey(store, key, record, { ...key, expiresAt, lifetimeSeconds, successor: created.id });
    await confirm(created);
  } catch (thrown) {
    await store.delete(created);
    throw thrown;
  }
  // Only now, because another rotation may complete until then, and one of these keys may be its new one.
  for (const each of unfinished) await store.delete(each);
  return { created, value, expiresAt };
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
  return new LambentError('overloaded', `Another request has changed the key ${id}.`);
}

/** Returns whether a time is earlier than another. Null is never. */
function isSooner(one: number | null, other: number | null): boolean {
  return one !== null && (other === null || one < other);
}
