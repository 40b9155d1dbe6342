import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { LambentError } from '../core/errors.ts';
import { type KeyHistory, parseKeyHistory, type Tombstone, toTenantItemKey, type WrappedKey } from './key-item.ts';

/** The keys table. Every method throws LambentError `vault_unavailable` if the table is not available. */
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
 */
export function createTenantKeyTable(client: DynamoDBClient, tableName: string): TenantKeyTable {
  return {
    async read(tenant) {
      const command = new GetItemCommand({ TableName: tableName, Key: toTenantItemKey(tenant), ConsistentRead: true });
      const { Item } = await mapTableErrors(client.send(command));
      return Item === undefined ? undefined : parseKeyHistory(Item);
    },

    async addVersion(tenant, version, { wrapped, createdAt }) {
      const key = { M: { wrapped: { B: wrapped }, createdAt: { N: String(createdAt) } } };
      const current = { N: String(version) };
      const write =
        version === 1
          ? client.send(
              new PutItemCommand({
                TableName: tableName,
                Item: { ...toTenantItemKey(tenant), current, versions: { M: { [version]: key } } },
                ConditionExpression: 'attribute_not_exists(pk)',
              }),
            )
          : client.send(
              new UpdateItemCommand({
                TableName: tableName,
                Key: toTenantItemKey(tenant),
                UpdateExpression: 'SET #current = :next, #versions.#next = :key',
                // A tombstone has no `current`, so the condition refuses it.
                ConditionExpression: '#current = :previous',
                ExpressionAttributeNames: { '#current': 'current', '#versions': 'versions', '#next': String(version) },
                ExpressionAttributeValues: { ':next': current, ':key': key, ':previous': { N: String(version - 1) } },
              }),
            );
      return accepted(write);
    },

    async markErased({ tenant, deletedAt }) {
      const command = new PutItemCommand({
        TableName: tableName,
        Item: { ...toTenantItemKey(tenant), deletedAt: { N: String(deletedAt) } },
        ConditionExpression: 'attribute_not_exists(deletedAt)',
      });
      await accepted(client.send(command));
    },
  };
}

async function accepted(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw tableError(error);
  }
}

/** Waits for a response of a keys table, and throws LambentError `vault_unavailable` if the request failed. */
export async function mapTableErrors<Output>(answer: Promise<Output>): Promise<Output> {
  try {
    return await answer;
  } catch (error) {
    throw tableError(error);
  }
}

function tableError(cause: unknown): LambentError {
  const name = cause instanceof Error ? cause.name : 'unknown failure';
  return new LambentError('vault_unavailable', `The keys table is not available (${name})`, { cause });
}
