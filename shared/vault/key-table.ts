import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  paginateScan,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import { LambentError } from '../runtime/errors.ts';

/** A tenant key as it is kept. */
export interface WrappedKey {
  readonly wrapped: Uint8Array;
  /** Epoch milliseconds. */
  readonly createdAt: number;
}

/** All that is kept of a tenant's keys. */
export type KeyHistory =
  | {
      readonly state: 'active';
      /** The version that seals. */
      readonly current: number;
      /** Every version that ever sealed, by its number. */
      readonly versions: ReadonlyMap<number, WrappedKey>;
    }
  | { readonly state: 'deleted'; readonly deletedAt: number };

/** A tenant that must never have keys again. */
export interface Tombstone {
  readonly tenant: string;
  /** Epoch milliseconds. */
  readonly deletedAt: number;
}

/** The keys table. All of it throws LambentError `vault_unavailable` when the table can't be asked now. */
export interface TenantKeyTable {
  /** A consistent read; undefined for a tenant that never had a key. */
  read(tenant: string): Promise<KeyHistory | undefined>;
  /**
   * Makes `key` the tenant's next version, which seals from now on.
   * @param version 1 for the first; else one more than the version that is current
   * @returns false, having changed nothing, when that is no longer so: another was first, or the tenant was deleted
   */
  add(tenant: string, version: number, key: WrappedKey): Promise<boolean>;
  /** Deletes the tenant's keys, all versions, and leaves a tombstone, in one write. Doing it again changes nothing. */
  bury(tombstone: Tombstone): Promise<void>;
  /** Every tombstone, in no order. */
  tombstones(): AsyncIterable<Tombstone>;
}

const PREFIX = 'tenant#';
const SORT_KEY = 'keys';

/**
 * The keys table in DynamoDB. A tenant is one item, so that each change is one conditional write and their order is
 * DynamoDB's: no transaction is needed, and there is no moment at which a deleted tenant's creation could slip through.
 */
export function createTenantKeyTable(client: DynamoDBClient, tableName: string): TenantKeyTable {
  const keyOf = (tenant: string) => ({ pk: { S: PREFIX + tenant }, sk: { S: SORT_KEY } });
  return {
    async read(tenant) {
      const command = new GetItemCommand({ TableName: tableName, Key: keyOf(tenant), ConsistentRead: true });
      const { Item } = await available(client.send(command));
      return Item === undefined ? undefined : parseHistory(Item);
    },

    async add(tenant, version, { wrapped, createdAt }) {
      const key = { M: { wrapped: { B: wrapped }, createdAt: { N: String(createdAt) } } };
      const current = { N: String(version) };
      const write =
        version === 1
          ? client.send(
              new PutItemCommand({
                TableName: tableName,
                Item: { ...keyOf(tenant), current, versions: { M: { [version]: key } } },
                ConditionExpression: 'attribute_not_exists(pk)',
              }),
            )
          : client.send(
              new UpdateItemCommand({
                TableName: tableName,
                Key: keyOf(tenant),
                UpdateExpression: 'SET #current = :next, #versions.#next = :key',
                // A tombstone has no current version, so the condition fails on it.
                ConditionExpression: '#current = :previous',
                ExpressionAttributeNames: { '#current': 'current', '#versions': 'versions', '#next': String(version) },
                ExpressionAttributeValues: { ':next': current, ':key': key, ':previous': { N: String(version - 1) } },
              }),
            );
      return accepted(write);
    },

    async bury({ tenant, deletedAt }) {
      const command = new PutItemCommand({
        TableName: tableName,
        Item: { ...keyOf(tenant), deletedAt: { N: String(deletedAt) } },
        ConditionExpression: 'attribute_not_exists(deletedAt)',
      });
      await accepted(client.send(command));
    },

    async *tombstones() {
      const pages = paginateScan(
        { client },
        {
          TableName: tableName,
          ConsistentRead: true,
          FilterExpression: 'attribute_exists(deletedAt)',
          ProjectionExpression: 'pk, deletedAt',
        },
      )[Symbol.asyncIterator]();
      for (;;) {
        const { value, done } = await available(pages.next());
        if (done === true) return;
        for (const item of value.Items ?? []) {
          const { pk, deletedAt } = read(tombstoneSchema, item);
          yield { tenant: pk.S.slice(PREFIX.length), deletedAt: deletedAt.N };
        }
      }
    },
  };
}

/**
 * Buries in `restored` every tenant that is deleted in `table`: the first thing to do with a keys table that was restored
 * from an earlier point in time, before anything reads from it.
 * @returns how many there were
 */
export async function replayTombstones(table: TenantKeyTable, restored: TenantKeyTable): Promise<number> {
  let count = 0;
  for await (const tombstone of table.tombstones()) {
    await restored.bury(tombstone);
    count++;
  }
  return count;
}

const number = v.object({ N: v.pipe(v.string(), v.transform(Number), v.safeInteger()) });
const tombstoneSchema = v.object({ pk: v.object({ S: v.string() }), deletedAt: number });
const activeSchema = v.object({
  current: number,
  versions: v.object({
    M: v.record(
      v.string(),
      v.object({ M: v.object({ wrapped: v.object({ B: v.instance(Uint8Array) }), createdAt: number }) }),
    ),
  }),
});

function parseHistory(item: unknown): KeyHistory {
  const tombstone = v.safeParse(tombstoneSchema, item);
  if (tombstone.success) return { state: 'deleted', deletedAt: tombstone.output.deletedAt.N };
  const { current, versions } = read(activeSchema, item);
  const keys = Object.entries(versions.M).map(
    ([version, { M }]) => [Number(version), { wrapped: M.wrapped.B, createdAt: M.createdAt.N }] as const,
  );
  return { state: 'active', current: current.N, versions: new Map(keys) };
}

function read<Schema extends v.GenericSchema>(schema: Schema, item: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, item);
  if (result.success) return result.output;
  throw new LambentError(
    'configuration',
    `The keys table holds an item that is none of its own: ${v.getDotPath(result.issues[0])}`,
  );
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

async function available<Output>(answer: Promise<Output>): Promise<Output> {
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
