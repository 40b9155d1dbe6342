import { randomBytes } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type Item, marshall, unmarshall } from '../aws/attributes.ts';
import { deleteItem, putItem, scanItems } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import type { TenantKeyTable } from '../vault/key-table.ts';
import { createKeyItem, isPrincipalId, type KeyRecord, parseKeyRecord } from './keys.ts';

/**
 * Creates, lists and revokes tenants' API keys. Methods throw DynamoDB's errors. Only operators' commands use it, and no
 * function's bundle contains it.
 */
export interface KeyAdministration {
  /**
   * Creates a random key. It can't be read again: only its hash is stored.
   * @param record its `keyId` must be new for the tenant
   * @throws LambentError `invalid_value` if a name is not valid or the tenant has a key with this id; `tenant_deleted` if
   * the tenant was erased
   */
  create(record: KeyRecord): Promise<string>;
  /** Returns the tenant's keys, expired ones included, by id. Reads the whole table. */
  list(tenant: string): Promise<KeyEntry[]>;
  /** Deletes all keys of the tenant with this id, and returns their number. */
  revoke(tenant: string, keyId: string): Promise<number>;
}

/** A stored key. */
export interface KeyEntry {
  readonly partition: string;
  readonly keyId: string;
  /** Undefined if the item is not valid, so that the authorizer refuses the key. */
  readonly record: KeyRecord | undefined;
}

/** Creates the administration of the keys in an access table. */
export function createKeyAdministration(
  client: DynamoDBClient,
  accessTable: string,
  tenantKeys: Pick<TenantKeyTable, 'read'>,
): KeyAdministration {
  const table = { client, name: accessTable };

  const list = async (tenant: string): Promise<KeyEntry[]> => {
    const entries: KeyEntry[] = [];
    const filter = 'tenant = :tenant AND begins_with(pk, :key)';
    for await (const item of scanItems(table, { filter, values: marshall({ ':tenant': tenant, ':key': 'key#' }) }))
      entries.push(parseEntry(item));
    return entries.sort((one, other) => (one.keyId < other.keyId ? -1 : 1));
  };

  return {
    list,

    async create(record) {
      checkNames(record);
      const { tenant, keyId } = record;
      if ((await tenantKeys.read(tenant))?.state === 'deleted')
        throw new LambentError('tenant_deleted', `The tenant ${tenant} was erased. Its name can't be used again.`);
      if ((await list(tenant)).some((entry) => entry.keyId === keyId))
        throw new LambentError('invalid_value', `The tenant ${tenant} already has a key with the id ${keyId}.`);
      const key = `sk-${randomBytes(32).toString('hex')}`;
      // Without a condition, so that the SDK may repeat the request. No other key has this hash.
      await putItem(table, createKeyItem(key, record));
      return key;
    },

    async revoke(tenant, keyId) {
      const entries = (await list(tenant)).filter((entry) => entry.keyId === keyId);
      const deleted = await Promise.all(
        entries.map(({ partition }) =>
          deleteItem(table, marshall({ pk: partition }), {
            condition: 'tenant = :tenant',
            values: marshall({ ':tenant': tenant }),
          }),
        ),
      );
      return deleted.filter((isDeleted) => isDeleted).length;
    },
  };
}

function checkNames({ tenant, keyId, scopes }: KeyRecord): void {
  const rule = 'must begin with a letter or digit and have at most 64 letters, digits, `.`, `_` or `-`';
  if (!isPrincipalId(tenant)) throw new LambentError('invalid_value', `The tenant's name ${rule}.`);
  if (!isPrincipalId(keyId)) throw new LambentError('invalid_value', `The key's id ${rule}.`);
  // DynamoDB has no empty sets.
  if (scopes.length === 0) throw new LambentError('invalid_value', 'A key needs a scope.');
}

function parseEntry(item: Item): KeyEntry {
  const { pk, keyId } = unmarshall(item);
  return { partition: String(pk), keyId: String(keyId ?? ''), record: parseKeyRecord(item) };
}
