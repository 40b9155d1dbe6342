import { createKeyItem, type KeyRecord, parseKeyRecord } from '../access/keys.ts';
import { repeatChange } from '../access/repeat-changes.ts';
import { type Item, marshall } from '../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table, updateItem } from '../aws/table.ts';
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

    change: (partition, change) =>
      repeatChange('the key', async () => {
        const item = await getItem(access, marshall({ pk: partition }));
        const before = item && parseKeyRecord(item);
        if (item === undefined || before === undefined) return undefined;
        const after = await change(before);
        return (await replace(item, after)) ? after : 'changed';
      }),

    async revoke(partition) {
      await deleteItem(access, marshall({ pk: partition }));
    },
  };
}
