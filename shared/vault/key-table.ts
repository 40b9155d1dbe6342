import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { marshall } from '../aws/attributes.ts';
import { getItem, putItem, updateItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import {
  type ActiveKeys,
  type KeyHistory,
  parseKeyHistory,
  type Tombstone,
  toTenantItemKey,
  type WrappedKey,
} from './key-item.ts';

/** The keys table. Every method throws LambentError `vault_unavailable` if the table is not available or not a keys table. */
export interface TenantKeyTable {
  /** Reads a tenant's keys consistently; undefined for a tenant that never had a key. */
  read(tenant: string): Promise<KeyHistory | undefined>;
  /**
   * Adds `key` as the tenant's current version, which seals from now on.
   * @param version 1 for the first key; otherwise the current version plus 1
   * @param externalKey the KMS key that wraps all of the tenant's keys, if it isn't the deployment's
   * @returns false, without a change, if another writer added this version first or changed the KMS key, or the tenant was
   * deleted
   */
  addVersion(tenant: string, version: number, key: WrappedKey, externalKey?: string): Promise<boolean>;
  /**
   * Replaces all versions by `after`, the same keys wrapped by another KMS key, in one write.
   * @returns false, without a change, if another writer changed the tenant's keys since `before` was read
   */
  replaceWrapping(tenant: string, before: ActiveKeys, after: ActiveKeys): Promise<boolean>;
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

    addVersion(tenant, version, { wrapped, createdAt, kmsKey }, externalKey) {
      const itemKey = toTenantItemKey(tenant);
      const key = { wrapped, createdAt, kmsKey };
      if (version === 1) {
        const item = { ...itemKey, ...marshall({ current: version, versions: { [version]: key }, externalKey }) };
        return mapErrors(putItem(table, item, { condition: 'attribute_not_exists(pk)' }));
      }
      const { condition, names, values } = isUnchanged({ current: version - 1, externalKey });
      const update = updateItem(table, itemKey, {
        change: 'SET #current = :next, #versions.#next = :key',
        condition,
        names: { ...names, '#versions': 'versions', '#next': String(version) },
        values: marshall({ ...values, ':next': version, ':key': key }),
      });
      return mapErrors(update);
    },

    replaceWrapping(tenant, before, { versions, externalKey }) {
      const { condition, names, values } = isUnchanged(before);
      const change = externalKey === undefined ? 'REMOVE externalKey' : ', externalKey = :after';
      const update = updateItem(table, toTenantItemKey(tenant), {
        change: `SET #versions = :versions ${change}`,
        condition,
        names: { ...names, '#versions': 'versions' },
        values: marshall({ ...values, ':versions': Object.fromEntries(versions), ':after': externalKey }),
      });
      return mapErrors(update);
    },

    async markErased({ tenant, deletedAt }) {
      const tombstone = { ...toTenantItemKey(tenant), ...marshall({ deletedAt }) };
      await mapErrors(putItem(table, tombstone, { condition: 'attribute_not_exists(deletedAt)' }));
    },
  };
}

/**
 * Returns the condition that a tenant's item has these attributes. A tombstone has no `current`, so the condition refuses it.
 * A key that was generated for one KMS key must not join those that another one wraps.
 */
function isUnchanged({ current, externalKey }: Pick<ActiveKeys, 'current'> & { externalKey?: string | undefined }) {
  const condition = externalKey === undefined ? 'attribute_not_exists(externalKey)' : 'externalKey = :external';
  return {
    condition: `#current = :previous AND ${condition}`,
    names: { '#current': 'current' },
    values: { ':previous': current, ':external': externalKey },
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
