import { expect, it } from 'vitest';
import { tabulateRecordCost } from '../../bench/record-cost.ts';
import { startJobCloud } from '../../bench/targets/job-cloud.ts';

it('recording a batch of calls costs the same requests however many lines it has', async () => {
  await using jobCloud = await startJobCloud({ tokens: 1, intervalMs: 0 });
  const { rows } = await tabulateRecordCost(jobCloud);
  expect(rows).toEqual([
    ['1', '1', '2', '8', '4', '30.70'],
    ['10', '1', '2', '8', '4', '3.07'],
    ['100', '1', '2', '8', '4', '0.31'],
  ]);
});
