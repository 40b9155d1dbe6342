import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTables } from '../../../local/tables.ts';
import { createDynamoDBPace } from '../../../shared/jobs/dynamodb-pace.ts';
import { createTableInput } from '../../tables.ts';
import { createMemoryPaceTable } from './memory-pace-table.ts';

let tables: Awaited<ReturnType<typeof startTables>>;
let client: DynamoDBClient;
beforeAll(async () => {
  tables = await startTables({});
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  client = new DynamoDBClient({ region: 'eu-west-1', endpoint: tables.url, credentials });
  await client.send(new CreateTableCommand(createTableInput('jobs')));
});
afterAll(async () => {
  client.destroy();
  await tables.close();
});

describe.each([
  ['in DynamoDB', () => createDynamoDBPace(client, 'jobs')],
  ['in memory', () => createMemoryPaceTable()],
])('the states of throttled models %s', (_where, create) => {
  const START = 1_800_000_000_000;
  const WINDOW = START / 1000;

  it('begin with the first throttled call', async () => {
    const table = create();
    expect(await table.read('absent')).toBeUndefined();
    await table.recordThrottled('first', { window: WINDOW, throttledAt: START, restUntil: 0 });
    const state = { window: WINDOW, left: 0, accepted: 0, restUntil: 0, throttledAt: START };
    expect(await table.take('first', { window: WINDOW, permits: 1, accepted: 0, now: START })).toEqual({
      isWritten: false,
      state,
    });
  });

  it('give no more permits than their window has', async () => {
    const table = create();
    const window = { window: WINDOW, left: 3, accepted: 0, throttledAt: START };
    expect(await table.open('m', window, undefined)).toMatchObject({ isWritten: true, state: window });
    expect(await table.open('m', window, undefined)).toMatchObject({ isWritten: false, state: window });
    const take = { window: WINDOW, permits: 2, accepted: 1, now: START };
    expect(await table.take('m', take)).toMatchObject({ isWritten: true, state: { left: 1, accepted: 1 } });
    expect(await table.take('m', take)).toMatchObject({ isWritten: false, state: { left: 1, accepted: 1 } });
    expect(await table.take('m', { ...take, permits: 1, window: WINDOW + 1 })).toMatchObject({ isWritten: false });
    expect(await table.open('m', { ...window, window: WINDOW + 1, left: 5 }, WINDOW)).toMatchObject({
      isWritten: true,
      state: { window: WINDOW + 1, left: 5, accepted: 0, restUntil: 0 },
    });
  });

  it('count accepted calls in the latest window, unless a newer one has begun', async () => {
    const table = create();
    await table.open('n', { window: WINDOW, left: 0, accepted: 2, throttledAt: START }, undefined);
    expect(await table.accept('n', WINDOW, 3)).toMatchObject({ isWritten: true, state: { accepted: 5 } });
    expect(await table.accept('n', WINDOW - 1, 1)).toMatchObject({ isWritten: true, state: { accepted: 6 } });
    expect(await table.accept('n', WINDOW + 1, 1)).toMatchObject({ isWritten: false, state: { accepted: 6 } });
    expect(await table.accept('nothing', WINDOW, 1)).toEqual({ isWritten: false, state: undefined });
  });

  it('give no permits while a model rests, and never shorten a rest', async () => {
    const table = create();
    await table.open('r', { window: WINDOW, left: 3, accepted: 0, throttledAt: START }, undefined);
    await table.recordThrottled('r', { window: WINDOW, throttledAt: START + 1, restUntil: START + 9_000 });
    await table.recordThrottled('r', { window: WINDOW, throttledAt: START + 2, restUntil: START + 3_000 });
    const take = { window: WINDOW, permits: 1, accepted: 0, now: START + 8_999 };
    expect(await table.take('r', take)).toMatchObject({
      isWritten: false,
      state: { restUntil: START + 9_000, throttledAt: START + 2, left: 3 },
    });
    expect(await table.take('r', { ...take, now: START + 9_000 })).toMatchObject({ isWritten: true });
  });
});
