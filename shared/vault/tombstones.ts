import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { scanItems } from '../aws/table.ts';
import { parseTombstone, type Tombstone } from './key-item.ts';
import { mapTableErrors, type TenantKeyTable } from './key-table.ts';

/**
 * Yields every tombstone of a keys table, in no particular order. Scans the whole table; only operators' commands call
 * it, and no function's bundle contains it.
 * @throws LambentError `vault_unavailable` if the table is not available; `configuration` if it is not a keys table
 */
export async function* scanTombstones(client: DynamoDBClient, tableName: string): AsyncGenerator<Tombstone> {
  const items = scanItems(
    { client, name: tableName },
    { filter: 'attribute_exists(deletedAt)', fields: 'pk, deletedAt' },
  );
  for (;;) {
    const { value, done } = await mapTableErrors(items.next());
    if (done === true) return;
    yield parseTombstone(value);
  }
}

/**
 * Writes every tombstone into `restored`, a keys table that was restored from an earlier point in time. Must run before
 * anything reads from that table. Idempotent.
 * @returns the number of tombstones
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
