import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listCaps } from '../../../shared/limits/caps.ts';
import { type CounterStore, type CounterWrite, LIST_PARTS } from '../../../shared/limits/counters.ts';
import { createDynamoDBCounters } from '../../../shared/limits/dynamodb-counters.ts';
import { Limiter } from '../../../shared/limits/limiter.ts';
import { getWindow } from '../../../shared/limits/windows.ts';
import { runCallers } from './callers.ts';
import { startLimitsTable } from './limits-table.ts';
import { MemoryCounters } from './memory-counters.ts';

let table: Awaited<ReturnType<typeof startLimitsTable>>;
let store: CounterStore;
beforeAll(async () => {
  table = await startLimitsTable();
  store = createDynamoDBCounters(table.client, table.name);
});
afterAll(() => table.close());

const NAMES = ['k.r.m1', 'L.m.t.d2.org/a.b', 'with "quotes"'];
const value = fc.bigInt({ min: -(10n ** 17n), max: 10n ** 17n });
const counters = fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: 3, noNullPrototype: true });
const write = fc
  .record(
    {
      pk: fc.constantFrom('key#a', 'key#b'),
      add: counters,
      set: counters,
      remove: fc.subarray(NAMES),
      atMost: counters,
      atLeast: counters,
      equal: fc.dictionary(fc.constantFrom(...NAMES), fc.option(value, { nil: undefined }), {
        maxKeys: 1,
        noNullPrototype: true,
      }),
    },
    { requiredKeys: ['pk'] },
  )
  // DynamoDB refuses a write that changes an attribute twice.
  .map(
    ({ add = {}, set = {}, remove = [], ...rest }): CounterWrite => ({
      ...rest,
      add,
      set: Object.fromEntries(Object.entries(set).filter(([name]) => !(name in add))),
      remove: remove.filter((name) => !(name in add) && !(name in set)),
    }),
  )
  .filter(({ add, set, remove }) => [add, set, remove].some((part) => Object.keys(part ?? {}).length > 0));

/** Returns a client of a server that is about to listen. It makes one attempt per request. */
async function connect(server: Server): Promise<DynamoDBClient> {
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  return new DynamoDBClient({ region: 'eu-west-1', endpoint: `http://127.0.0.1:${port}`, credentials, maxAttempts: 1 });
}

describe('the counters in DynamoDB', () => {
  it('change under the same conditions as those in memory, on which the properties are tested', async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(write, { minLength: 1, maxLength: 12 }), async (writes) => {
        run += 1;
        const memory = new MemoryCounters();
        for (const each of writes) {
          const own = { ...each, pk: `${each.pk}#${run}` };
          expect(await store.write(own)).toEqual(memory.apply(own));
          expect(await store.read(own.pk)).toEqual(await memory.read(own.pk));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('are listed by the beginning of their keys, and by what follows somewhere, as those in memory', async () => {
    const memory = new MemoryCounters();
    const keys = ['list#a', 'list#a#now', 'list#b#now#m', 'list#b#m1', 'listed#now'];
    for (const pk of keys) {
      const change = { pk, set: { n: 1n } };
      await store.write(change);
      memory.apply(change);
    }
    const listKeys = async (by: CounterStore, prefixes: readonly string[]): Promise<string[]> => {
      const found: string[] = [];
      for await (const { pk } of by.list(prefixes)) found.push(pk);
      return found.sort();
    };
    for (const prefixes of [['list#'], ['list#*#now'], ['list#*#now', 'listed#'], ['list#a', 'list#*#now#m']])
      expect(await listKeys(store, prefixes)).toEqual(await listKeys(memory, prefixes));
    expect(await listKeys(store, ['list#*#now'])).toEqual(['list#a#now', 'list#b#now#m']);
  });

  it('limit 200 parallel callers, some of which die, as those in memory', async () => {
    const limits = { requestsPerMinute: 30, tokensPerDay: 6_000, requestsInFlight: 5, dollarsPerMonth: 0.05 };
    const policy = {
      account: { limits },
      project: { limits: { ...limits, models: { small: limits } } },
      key: { limits },
    };
    const { callers } = await runCallers({
      store,
      seed: 7,
      policy,
      environments: 20,
      faults: 0.02,
      stepMs: 5,
      callers: 200,
    });
    for (const { cap, window, used } of callers.listUse()) {
      expect(used, `${cap.level} ${cap.name} ${window}`).toBeLessThanOrEqual(cap.max);
    }
    expect(callers.made.length).toBeGreaterThan(20);
    callers.now += 18 * 60_000;
    await callers.sweep();
    for await (const { pk, counters: left } of store.list(['key#'])) {
      expect(
        Object.keys(left).filter((name) => /^b\..*\.n\./.test(name) && left[name] !== 0n),
        pk,
      ).toEqual([]);
    }
  });

  it('take the reservation of a call with each limit there is', async () => {
    const each = {
      ...{ requestsPerMinute: 9, requestsPerDay: 9, tokensPerMinute: 999, tokensPerDay: 999 },
      ...{ requestsInFlight: 9, dollarsPerDay: 9, dollarsPerMonth: 9 },
    };
    const alerts = Array.from(
      { length: 10 },
      (_, index) => ({ name: `a${index}`, per: 'day', dollars: 1 + index }) as const,
    );
    const model = 'm'.repeat(200);
    const limits = { ...each, alerts };
    const policy = {
      account: { limits },
      project: { limits: { ...limits, models: { [model]: each } } },
      key: { limits },
    };
    const caps = listCaps(policy, model, 'answers');
    expect(caps).toHaveLength(4 * 7);
    const now = Date.UTC(2027, 0, 1);
    const limiter = new Limiter(store, () => now);
    const amounts = { requests: 1n, inputTokens: 10n, outputTokens: 10n, spend: 1_000_000n };
    const holder = { tenant: 'all', keyId: 'k'.repeat(60) };
    // The first leases a portion of each shared limit.
    for (let call = 0; call < 2; call += 1) {
      const reserved = await limiter.reserve({ holder, model, kind: 'answers', caps, amounts });
      if (!('settle' in reserved)) throw new Error(`refused by ${reserved.cap.name}`);
      await reserved.settle({ ...amounts, outputTokens: 1n });
    }
    expect(await store.read('key#all#'.padEnd(68, 'k'))).toMatchObject({ [`k.r.${getWindow('day', now)}`]: 2n });
  });

  it('are written once if the response is lost, because the write may have been made', async () => {
    let requests = 0;
    const server = createServer((request) => {
      requests += 1;
      request.socket.destroy();
    }).listen(0, '127.0.0.1');
    const client = await connect(server);
    await expect(createDynamoDBCounters(client, 'limits').write({ pk: 'key#a', add: { n: 1n } })).rejects.toThrow();
    expect(requests).toBe(1);
    server.close();
  });

  it('are written again if no connection could be made, because the request was not sent', async () => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(JSON.stringify({ Attributes: { n: { N: '1' } } }));
    }).listen(0, '127.0.0.1');
    const client = await connect(server);
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    let requests = 0;
    client.middlewareStack.add(
      (next) => async (args) => {
        requests += 1;
        if (requests === 2) await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
        return next(args);
      },
      { step: 'finalizeRequest', name: 'startServer', priority: 'low' },
    );
    const result = await createDynamoDBCounters(client, 'limits').write({ pk: 'key#a', add: { n: 1n } });
    expect(result).toEqual({ isWritten: true, counters: { n: 1n } });
    expect(requests).toBe(2);
    client.destroy();
    server.close();
  });

  it('are written again after throttling, which has no effect', async () => {
    let requests = 0;
    const server = createServer((request, response) => {
      request.resume();
      requests += 1;
      const isThrottled = requests < 3;
      response.writeHead(isThrottled ? 400 : 200, { 'content-type': 'application/x-amz-json-1.0' });
      const error = { __type: 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException' };
      response.end(JSON.stringify(isThrottled ? error : { Attributes: { n: { N: '1' } } }));
    }).listen(0, '127.0.0.1');
    const client = await connect(server);
    const result = await createDynamoDBCounters(client, 'limits').write({ pk: 'key#a', add: { n: 1n } });
    expect(result).toEqual({ isWritten: true, counters: { n: 1n } });
    expect(requests).toBe(3);
    server.close();
  });
});

it('lists each item once, whichever part of the table is first, and the others in the same order', async () => {
  for (let index = 0; index < 40; index += 1) await store.write({ pk: `parts#${index}`, set: { n: 1n } });
  const listFrom = async (part: number): Promise<string[]> => {
    const found: string[] = [];
    for await (const { pk } of store.list(['parts#'], part)) found.push(pk);
    return found;
  };
  const all = await listFrom(0);
  expect(new Set(all).size).toBe(40);
  for (const part of [5, LIST_PARTS - 1]) {
    const found = await listFrom(part);
    const start = all.indexOf(found[0] ?? '');
    expect(start).toBeGreaterThan(0);
    expect(found).toEqual([...all.slice(start), ...all.slice(0, start)]);
  }
});
