import { createKeyItem, type KeyRecord, parseKeyRecord } from '../access/keys.ts';
import { marshall } from '../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table, updateItem } from '../aws/table.ts';

/** The keys that the authorizer accepts. A key is named by its partition in the access table. Methods throw DynamoDB's errors. */
export interface EnforcedKeys {
  /** Makes the authorizer accept a key. Idempotent. */
  grant(key: string, record: KeyRecord): Promise<void>;
  /** Returns undefined if the key is not accepted, or has expired a while ago. */
  read(partition: string): Promise<KeyRecord | undefined>;
  /** Replaces the record of an accepted key, unless it is no longer accepted or another request has changed its expiry or policy. */
  change(partition: string, before: KeyRecord, after: KeyRecord): Promise<boolean>;
  /** Makes the authorizer refuse a key. Idempotent. */
  revoke(partition: string): Promise<void>;
}

/** Creates the keys of an access table. */
export function createEnforcedKeys(access: Table): EnforcedKeys {
  return {
    async grant(key, record) {
      await putItem(access, createKeyItem(key, record));
    },

    async read(partition) {
      const item = await getItem(access, marshall({ pk: partition }));
      return item && parseKeyRecord(item);
    },

    change(partition, before, { tenant, scopes, expiresAt, policy }) {
      const set = ['scopes = :scopes', ...(expiresAt === undefined ? [] : ['expiresAt = :expiresAt'])];
      const removed = [...(expiresAt === undefined ? ['expiresAt'] : []), ...(policy === undefined ? ['policy'] : [])];
      if (policy !== undefined) set.push('policy = :policy');
      const isStill = (name: 'expiresAt' | 'policy') =>
        before[name] === undefined ? `attribute_not_exists(${name})` : `${name} = :${name}Before`;
      return updateItem(access, marshall({ pk: partition }), {
        change: `SET ${set.join(', ')}${removed.length === 0 ? '' : ` REMOVE ${removed.join(', ')}`}`,
        condition: `tenant = :tenant AND ${isStill('expiresAt')} AND ${isStill('policy')}`,
        values: marshall({
          ':scopes': new Set(scopes),
          ':tenant': tenant,
          ':expiresAt': expiresAt,
          ':policy': policy,
          ':expiresAtBefore': before.expiresAt,
          ':policyBefore': before.policy,
        }),
      });
    },

    async revoke(partition) {
      await deleteItem(access, marshall({ pk: partition }));
    },
  };
}
