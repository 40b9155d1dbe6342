import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { LambentError } from '../core/errors.ts';
import { type KeyHistory, parseKeyHistory, type Tombstone, toTenantItemKey, type WrappedKey } from './key-item.ts';

/** The keys table. All of it throws LambentError `vault_unavailable` when the table can't be asked now. */
export interface TenantKeyTable {
  /** A consistent read; undefined for a tenant that never had a key. */
  read(tenant: string): Promise<KeyHistory | undefined>;
  /**
   * Makes `key` the tenant's next version, which seals from now on.
   * @param version 1 for the first; else one more than the version that is current
   * @returns false, having changed nothing, when that is no longer so: another was first, or the tenant was deleted
   */
  addVersion(tenant: string, version: number, key: WrappedKey): Promise<boolean>;
  /**
   * Deletes the tenant's keys, all versions, and leaves a tombstone, in one write. Doing it again changes nothing.
   * Environments that hold a key go on using it until its time is over.
   */
  markErased(tombstone: Tombstone): Promise<void>;
}

/**
 * The keys table in DynamoDB. A tenant is one item, so that each change is one conditional write and their order is
 * DynamoDB's: no transaction is needed, and there is no moment at which a deleted tenant's creation could slip through.
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
                // A tombstone has no current version, so the condition fails on it.
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

/** Waits for an answer of a keys table. Throws LambentError `vault_unavailable` when there is none. */
export async function mapTableErrors<Output>(answer: Promise<Output>): Promise<Output> {
  try {
    return await answer;
  } catch (error) {
    throw tableError(error);
  }
}

function tableError(cause: unknown): LambentError {
  const name = cause instanceof Error ? cause.name : 'unknown failure';
  return new LambentError('vault_unavailable', `The keys table could not be asked (${name})`, { cause });
}
