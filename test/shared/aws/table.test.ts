import type {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DynamoDBClient,
  GetItemCommand,
  QueryCommand,
} from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';
import { marshall, unmarshall } from '../../../shared/aws/attributes.ts';
import {
  countItems,
  deleteItems,
  getItem,
  getItems,
  putItems,
  queryPage,
  queryPageAfter,
} from '../../../shared/aws/table.ts';

const keys = (count: number) => Array.from({ length: count }, (_, index) => marshall({ pk: `key${index}` }));

/** Creates a table that leaves the last `unprocessed(n)` writes of its n-th batch unprocessed. */
function createThrottledTable(unprocessed: (request: number) => number) {
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
  it('a batch write writes 25 items in each request', async () => {
    const { table, batches, written } = createThrottledTable(() => 0);
    await deleteItems(table, keys(60));
    expect(batches).toEqual([25, 25, 10]);
    expect(written).toHaveLength(60);
  });

  it('a batch write retries writes that a throttled table left unprocessed, after a pause', async () => {
    const { table, written } = createThrottledTable((request) => (request === 1 ? 20 : 0));
    const { pauses, sleep } = createClock();
    await deleteItems(table, keys(30), { sleep });
    expect(written).toHaveLength(30);
    expect(pauses).toHaveLength(1);
  });

  it('a batch write fails after eight requests without progress, with growing pauses between them', async () => {
    const { table, batches } = createThrottledTable(() => 25);
    const { pauses, sleep } = createClock();
    await expect(deleteItems(table, keys(1), { sleep })).rejects.toMatchObject({ code: 'overloaded', retryable: true });
    expect(batches).toHaveLength(8);
    expect(pauses).toHaveLength(7);
    expect(pauses.at(-1)).toBeGreaterThan(4 * (pauses[0] ?? 0));
    expect(Math.max(...pauses)).toBeLessThanOrEqual(2_000);
  });

  it('a batch write does not fail after eight requests without progress if others succeeded in between', async () => {
    // Seven requests fail, the eighth writes its whole batch, and the ninth fails again.
    const { table, written } = createThrottledTable((request) => (request === 8 || request === 10 ? 0 : 25));
    const { pauses, sleep } = createClock();
    await deleteItems(table, keys(50), { sleep });
    expect(written).toHaveLength(50);
    expect(pauses).toHaveLength(8);
  });

  it('a batch write of hints drops unprocessed writes', async () => {
    const { table, batches, written } = createThrottledTable(() => 5);
    await putItems(table, keys(10), { unprocessed: 'drop' });
    expect(batches).toEqual([10]);
    expect(written).toHaveLength(5);
  });
});

describe('a batch read', () => {
  it('a batch read is strongly consistent and asks again for keys that a throttled table left unprocessed', async () => {
    const asked: number[] = [];
    const client = {
      async send({ input }: BatchGetItemCommand) {
        const { Keys = [], ConsistentRead } = input.RequestItems?.['jobs'] ?? {};
        expect(ConsistentRead).toBe(true);
        asked.push(Keys.length);
        return {
          Responses: { jobs: Keys.slice(0, 4) },
          UnprocessedKeys: Keys.length > 4 ? { jobs: { Keys: Keys.slice(4), ConsistentRead } } : {},
        };
      },
    };
    const table = { client: client as unknown as DynamoDBClient, name: 'jobs' };
    expect(await getItems(table, keys(10))).toEqual(keys(10));
    expect(asked).toEqual([10, 6, 2]);
    expect(await getItems(table, [])).toEqual([]);
    expect(asked).toHaveLength(3);
  });

  it('a batch read of a table that returns nothing pauses for longer each time, and ends', async () => {
    const client = {
      send: async ({ input }: BatchGetItemCommand) => ({ Responses: {}, UnprocessedKeys: input.RequestItems }),
    };
    const table = { client: client as unknown as DynamoDBClient, name: 'jobs' };
    const { pauses, sleep } = createClock();
    await expect(getItems(table, keys(3), { sleep })).rejects.toMatchObject({ code: 'overloaded' });
    expect(pauses).toHaveLength(7);
    expect(pauses[6]).toBeGreaterThan(pauses[0] ?? 0);
  });
});

describe('a query of an index', () => {
  /** Creates a table whose query has three pages of two items. */
  function createPagedTable() {
    const client = {
      async send({ input }: QueryCommand) {
        const page = Number(input.ExclusiveStartKey?.['page']?.N ?? 0);
        const Items = input.Select === 'COUNT' ? undefined : keys(2);
        return { Items, Count: 2, ...(page < 2 ? { LastEvaluatedKey: marshall({ page: page + 1 }) } : {}) };
      },
    };
    return { client: client as unknown as DynamoDBClient, name: 'jobs' };
  }
  const query = { index: 'due', where: 'pk = :pk', values: marshall({ ':pk': 'a' }) };

  it('a query of an index continues after the page before, and its last page says so', async () => {
    const table = createPagedTable();
    const first = await queryPageAfter(table, query);
    const second = await queryPageAfter(table, query, first.next);
    const third = await queryPageAfter(table, query, second.next);
    expect([first, second, third].map(({ items }) => items.length)).toEqual([2, 2, 2]);
    expect(second.next).toEqual(marshall({ page: 2 }));
    expect(third).not.toHaveProperty('next');
  });

  it('a query of an index counts the items of all pages', async () => {
    expect(await countItems(createPagedTable(), query)).toBe(6);
  });
});

describe('a read', () => {
  /** Creates a table that records whether each request is strongly consistent. */
  function createRecordingTable() {
    const consistent: (boolean | undefined)[] = [];
    const client = {
      async send({ input }: GetItemCommand | QueryCommand) {
        consistent.push(input.ConsistentRead);
        return {};
      },
    };
    return { table: { client: client as unknown as DynamoDBClient, name: 'jobs' }, consistent };
  }

  it('a read of an item is strongly consistent unless the caller allows otherwise', async () => {
    const { table, consistent } = createRecordingTable();
    await getItem(table, marshall({ pk: 'a' }));
    await getItem(table, marshall({ pk: 'a' }), { eventual: true });
    expect(consistent).toEqual([true, false]);
  });

  it('a query is strongly consistent, except on an index, which DynamoDB would refuse', async () => {
    const { table, consistent } = createRecordingTable();
    const query = { where: 'pk = :pk', values: marshall({ ':pk': 'a' }) };
    await queryPage(table, query);
    await queryPage(table, { ...query, index: 'due' });
    expect(consistent).toEqual([true, false]);
  });
});

describe('marshall', () => {
  const plain = {
    text: 'a',
    number: 1.5,
    flag: false,
    bytes: new Uint8Array([1, 2]),
    list: ['a', 1, { b: true }],
    map: { nested: { n: 0 } },
    set: new Set(['x', 'y']),
  };

  it('marshall is reversed by unmarshall', () => {
    expect(unmarshall(marshall(plain))).toEqual(plain);
  });

  it('marshall leaves out undefined fields, including nested ones', () => {
    expect(marshall({ a: undefined, b: { c: undefined } })).toEqual({ b: { M: {} } });
  });

  it('marshall throws for a value of an unsupported type', () => {
    expect(() => marshall({ a: null })).toThrow(expect.objectContaining({ code: 'internal' }));
  });
});
