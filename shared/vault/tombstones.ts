import { type DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import { parseTombstone, type Tombstone } from './key-item.ts';
import { mapTableErrors, type TenantKeyTable } from './key-table.ts';

/**
 * Every tombstone of a keys table, in no order. Reads the whole table: for operators, no function's bundle has it.
 * @throws LambentError `vault_unavailable` when the table can't be asked now, `configuration` when it is no keys table
 */
export async function* scanTombstones(client: DynamoDBClient, tableName: string): AsyncGenerator<Tombstone> {
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
    const { value, done } = await mapTableErrors(pages.next());
    if (done === true) return;
    for (const item of value.Items ?? []) yield parseTombstone(item);
  }
}

/**
 * Buries every tenant of `tombstones` in `restored`: the first thing to do with a keys table that was restored from an
 * earlier point in time, before anything reads from it. Again is no harm.
 * @returns how many there were
 */
export async function replayTombstones(
  tombstones: AsyncIterable<Tombstone>,
  restored: TenantKeyTable,
): Promise<number> {
  let count = 0;
  for await (const tombstone of tombstones) {
    await restored.markErased(tombstone);
    count++;
  }
  return count;
}
