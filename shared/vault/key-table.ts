import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem, putItem, updateItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { type KeyHistory, parseKeyHistory, type Tombstone, toTenantItemKey, type WrappedKey } from './key-item.ts';

/** The keys table. Every method throws LambentError `vault_unavailable` if the table is not available or not a keys table. */
export interface TenantKeyTable {
  /** Reads a tenant's keys consistently; undefined for a tenant that never had a key. */
  read(tenant: string): Promise<KeyHistory | undefined>;
  /**
   * Adds `key` as the tenant's current version, which seals from now on.
   * @param version 1 for the first key; otherwise the current version plus 1
   * @returns false, without a change, if another writer added this version first or the tenant was deleted
   */
  addVersion(tenant: string, version: number, key: WrappedKey): Promise<boolean>;
  /**
   * Replaces all of the tenant's keys by a tombstone, in one write. Idempotent. Environments that have a key cached
   * use it until it expires.
   */
  markErased(tombstone: Tombstone): Promise<void>;
}

/**
 * Creates the client of the keys table in DynamoDB. Each tenant is one item, so every change is one conditional write
 * and DynamoDB orders the changes. No transaction is needed, and a deleted tenant can't be created again in between.
 * @param onFailure called with the error of each failed request, for metrics
 */
export function createTenantKeyTable(
  client: DynamoDBClient,
  name: string,
  onFailure: (thrown: unknown) => void = () => {},
): TenantKeyTable {
  const table = { client, name };
  const mapErrors = <Output>(response: Promise<Output>) =>
    mapTableErrors(response).catch((thrown: unknown) => {
      onFailure(thrown);
      throw thrown;
    });
  return {
    async read(tenant) {
      return mapErrors(getItem(table, toTenantItemKey(tenant)).then((item) => item && parseKeyHistory(item)));
    },

    addVersion(tenant, version, { wrapped, createdAt, kmsKey }) {
      const itemKey = toTenantItemKey(tenant);
      const key = { wrapped, createdAt, kmsKey };
      const write =
        version === 1
          ? putItem(
              table,
              { ...itemKey, ...marshall({ current: version, versions: { [version]: key } }) },
              { condition: 'attribute_not_exists(pk)' },
            )
          : updateItem(table, itemKey, {
              change: 'SET #current = :next, #versions.#next = :key',
              // A tombstone has no `current`, so the condition refuses it.
              condition: '#current = :previous',
              names: { '#current': 'current', '#versions': 'versions', '#next': String(version) },
              values: marshall({ ':next': version, ':key': key, ':previous': version - 1 }),
            });
      return mapErrors(write);
    },

    async markErased({ tenant, deletedAt }) {
      const tombstone = { ...toTenantItemKey(tenant), ...marshall({ deletedAt }) };
      await mapErrors(putItem(table, tombstone, { condition: 'attribute_not_exists(deletedAt)' }));
    },
  };
}

/** Waits for a response of a keys table, and throws LambentError `vault_unavailable` if the request failed. */
export async function mapTableErrors<Output>(response: Promise<Output>): Promise<Output> {
  try {
    return await response;
  } catch (error) {
    throw tableError(error);
  }
}

function tableError(cause: unknown): LambentError {
  const reason =
    cause instanceof LambentError ? cause.message : cause instanceof Error ? cause.name : 'unknown failure';
  return new LambentError('vault_unavailable', `The keys table is not available (${reason})`, { cause });
}
