import { createExpiringKeys } from '../access/expiring-keys.ts';
import type { AdminApi } from './admin-routes.ts';
import { createEnforcedKeys } from './enforced-keys.ts';
import type { KeyStore, StoredKey } from './key-changes.ts';
import { type Collection, type Owner, objectNotFoundError } from './object-table.ts';

/** Creates the keys of a project, or the admin keys. */
export function createKeyStore<K extends StoredKey>(
  { table, access }: Pick<AdminApi, 'table' | 'access'>,
  owner: Owner,
  collection: Collection<K>,
): KeyStore<K> {
  const enforced = createEnforcedKeys(access);
  const expiring = createExpiringKeys(table);
  const remove = async (key: K): Promise<void> => {
    await enforced.revoke(key.partition);
    await expiring.remove(key);
    await collection.delete(owner, key.id);
    // The request that creates it may have granted it since, and found it stored.
    await enforced.revoke(key.partition);
    await expiring.remove(key);
  };
  return {
    ...{ owner, collection, enforced, expiring },
    delete: remove,

    async create(key, value, record) {
      await collection.create(owner, key);
      await expiring.add(key);
      await enforced.grant(value, record);
      if ((await collection.find(owner, key.id)) !== undefined) return;
      await remove(key);
      throw objectNotFoundError('api_key', key.id);
    },
  };
}
