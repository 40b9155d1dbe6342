import { expect, it } from 'vitest';
import { createDynamoDBCounters } from '../../../shared/limits/dynamodb-counters.ts';
import { fillLedger } from './ledger-world.ts';
import { startLimitsTable } from './limits-table.ts';

it('the ledger counts a thousand jobs in DynamoDB as in memory, on which the other tests run', async () => {
  const { client, name, close } = await startLimitsTable();
  try {
    await expect(fillLedger(createDynamoDBCounters(client, name))).resolves.toBeUndefined();
  } finally {
    await close();
  }
});
