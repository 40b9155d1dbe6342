import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { createKeyTable } from '../../../shared/access/key-table.ts';
import { createKeyItem, getKeyPartition, type KeyRecord } from '../../../shared/access/keys.ts';
import { reportExpiry } from '../../../shared/audit/expiring-key.ts';
import { startAccessTable } from '../access/access-table.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

it('of several functions that report a key at once, one logs it, and none a key that was deleted meanwhile', async () => {
  await using table = await startAccessTable();
  const keys = createKeyTable(table.client, table.name);
  const now = Date.UTC(2027, 0, 31);
  const record: KeyRecord = { tenant: 'acme', keyId: 'web', scopes: ['generate'], expiresAt: now / 1000 + 60 };
  await table.client.send(new PutItemCommand({ TableName: table.name, Item: createKeyItem('sk-web', record) }));
  const telemetry = recordTelemetry();
  const report = (key: string) => reportExpiry(getKeyPartition(key), record, { keys, now: () => now }, telemetry);
  await Promise.all([report('sk-web'), report('sk-web'), report('sk-deleted')]);
  expect(telemetry.lines).toEqual([
    expect.objectContaining({ act: 'api_key.expiring', objectId: 'web' }),
    expect.objectContaining({ KeysExpiring: 1 }),
  ]);
  expect(await keys.readAll([getKeyPartition('sk-deleted')], now)).toEqual(new Map());
});
