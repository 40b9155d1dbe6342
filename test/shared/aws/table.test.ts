import type { BatchWriteItemCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';
import { marshall, unmarshall } from '../../../shared/aws/attributes.ts';
import { deleteItems, putItems } from '../../../shared/aws/table.ts';

const keys = (count: number) => Array.from({ length: count }, (_, index) => marshall({ pk: `key${index}` }));

/** A table that leaves the last of each batch unprocessed, as many as `unprocessed` says for the request with that number. */
function createBusyTable(unprocessed: (request: number) => number) {
  const batches: number[] = [];
  const written: unknown[] = [];
  const client = {
    async send({ input }: BatchWriteItemCommand) {
      const requests = input.RequestItems?.['jobs'] ?? [];
      batches.push(requests.length);
      const count = Math.max(0, requests.length - unprocessed(batches.length));
      written.push(
        ...requests.slice(0, count).map(({ DeleteRequest, PutRequest }) => DeleteRequest?.Key ?? PutRequest?.Item),
      );
      return { UnprocessedItems: count < requests.length ? { jobs: requests.slice(count) } : {} };
    },
  };
  return { table: { client: client as unknown as DynamoDBClient, name: 'jobs' }, batches, written };
}

function createClock() {
  const pauses: number[] = [];
  return { pauses, sleep: async (ms: number) => void pauses.push(ms) };
}

describe('a batch write', () => {
  it('writes 25 items in each request', async () => {
    const { table, batches, written } = createBusyTable(() => 0);
    await deleteItems(table, keys(60));
    expect(batches).toEqual([25, 25, 10]);
    expect(written).toHaveLength(60);
  });

  it('repeats the writes that a busy table left unprocessed, after a pause', async () => {
    const { table, written } = createBusyTable((request) => (request === 1 ? 20 : 0));
    const { pauses, sleep } = createClock();
    await deleteItems(table, keys(30), { sleep });
    expect(written).toHaveLength(30);
    expect(pauses).toHaveLength(1);
  });

  it('fails after eight requests in a row that wrote nothing, with growing pauses in between', async () => {
    const { table, batches } = createBusyTable(() => 25);
    const { pauses, sleep } = createClock();
    await expect(deleteItems(table, keys(1), { sleep })).rejects.toMatchObject({ code: 'overloaded', retryable: true });
    expect(batches).toHaveLength(8);
    expect(pauses).toHaveLength(7);
    expect(pauses.at(-1)).toBeGreaterThan(4 * (pauses[0] ?? 0));
    expect(Math.max(...pauses)).toBeLessThanOrEqual(2_000);
  });

  it('drops what is left unprocessed if the writes are hints', async () => {
    const { table, batches, written } = createBusyTable(() => 5);
    await putItems(table, keys(10), { unprocessed: 'drop' });
    expect(batches).toEqual([10]);
    expect(written).toHaveLength(5);
  });
});

describe('marshalling', () => {
  const plain = {
    text: 'a',
    number: 1.5,
    flag: false,
    bytes: new Uint8Array([1, 2]),
    list: ['a', 1, { b: true }],
    map: { nested: { n: 0 } },
    set: new Set(['x', 'y']),
  };

  it('brings back what it was given', () => {
    expect(unmarshall(marshall(plain))).toEqual(plain);
  });

  it('leaves out fields that are undefined, also in nested objects', () => {
    expect(marshall({ a: undefined, b: { c: undefined } })).toEqual({ b: { M: {} } });
  });

  it('refuses a value that DynamoDB has no type for', () => {
    expect(() => marshall({ a: null })).toThrow(expect.objectContaining({ code: 'internal' }));
  });
});
