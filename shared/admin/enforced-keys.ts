import { createKeyItem, type KeyRecord, parseKeyRecord } from '../access/keys.ts';
import { type Item, marshall } from '../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table, updateItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { omitUndefined } from '../core/objects.ts';

/** The keys that the authorizer accepts. A key is named by its partition in the access table. Methods throw DynamoDB's errors. */
export interface EnforcedKeys {
  /** Makes the authorizer accept a key. Idempotent. */
  grant(key: string, record: KeyRecord): Promise<void>;
  /** Returns undefined if the key is not accepted, or has expired a while ago. */
  read(partition: string): Promise<KeyRecord | undefined>;
  /**
   * Replaces the record of an accepted key by `change` of it, and returns that. `change` is called after each concurrent change, so
   * that the last request to write has seen all that was stored before it.
   * @returns undefined if the key is no longer accepted
   * @throws LambentError `overloaded` if other requests keep changing the key; as `change`
   */
  change(
    partition: string,
    change: (record: KeyRecord) => KeyRecord | Promise<KeyRecord>,
  ): Promise<KeyRecord | undefined>;
  /** Makes the authorizer refuse a key. Idempotent. */
  revoke(partition: string): Promise<void>;
}

/** Attempts to change an item that others change at the same time. */
const MAX_ATTEMPTS = 8;

/** Creates the keys of an access table. */
export function createEnforcedKeys(access: Table): EnforcedKeys {
  /** Writes a record, unless another request has written one since the item was read. */
  const replace = (before: Item, { tenant, scopes, expiresAt, policy }: KeyRecord): Promise<boolean> => {
    const { pk, revision } = before;
    const optional = { expiresAt, policy };
    const set = ['scopes = :scopes', 'revision = :revision'];
    const removed: string[] = [];
    for (const [name, value] of Object.entries(optional))
      if (value === undefined) removed.push(name);
      else set.push(`${name} = :${name}`);
    return updateItem(access, omitUndefined({ pk }), {
      change: `SET ${set.join(', ')}${removed.length === 0 ? '' : ` REMOVE ${removed.join(', ')}`}`,
      // A new key has no revision. A revoked key has no item, so its tenant's condition fails.
      condition: `tenant = :tenant AND ${revision ? 'revision = :before' : 'attribute_not_exists(revision)'}`,
      values: {
        ...marshall({ ':scopes': new Set(scopes), ':tenant': tenant, ':revision': newId(16) }),
        ...marshall({ ':expiresAt': expiresAt, ':policy': policy }),
        ...(revision && { ':before': revision }),
      },
    });
  };

  return {
    async grant(key, record) {
      await putItem(access, createKeyItem(key, record));
    },

    async read(partition) {
      const item = await getItem(access, marshall({ pk: partition }));
      return item && parseKeyRecord(item);
    },

    async change(partition, change) {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
        const item = await getItem(access, marshall({ pk: partition }));
        const before = item && parseKeyRecord(item);
        if (item === undefined || before === undefined) return undefined;
        const after = await change(before);
        if (await replace(item, after)) return after;
      }
      throw new LambentError('overloaded', 'Other requests kept changing the key.');
    },

    async revoke(partition) {
      await deleteItem(access, marshall({ pk: partition }));
    },
  };
}
