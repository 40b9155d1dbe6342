import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDynamoDBSamples } from '../../../shared/jobs/dynamodb-samples.ts';
import { START } from './jobs.ts';
import { type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

it("a queue's last sample is read, and no other queue's", async () => {
  const samples = createDynamoDBSamples(services.dynamodb, await services.newTable());
  expect(await samples.read('jobs')).toBeUndefined();
  const sample = { at: START, ticketed: 7, missing: 3 };
  await samples.write('jobs', { ...sample, ticketed: 1 });
  await samples.write('jobs', sample);
  expect(await samples.read('jobs')).toEqual(sample);
  expect(await samples.read('gpu')).toBeUndefined();
});

it('a sample expires an hour after it was made, and is in no index', async () => {
  const table = await services.newTable();
  await createDynamoDBSamples(services.dynamodb, table).write('gpu', { at: START, ticketed: 7, missing: 3 });
  const { Items = [] } = await services.dynamodb.send(new ScanCommand({ TableName: table }));
  expect(Items).toHaveLength(1);
  expect(Items[0]?.['expiresAt']).toEqual({ N: String(START / 1000 + 3_600) });
  expect(Items[0]).not.toHaveProperty('duePartition');
});
