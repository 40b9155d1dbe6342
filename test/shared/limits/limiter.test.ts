import { beforeEach, describe, expect, it } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import { type Amounts, listCaps } from '../../../shared/limits/caps.ts';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { type Call, Limiter, type Refusal, type Reservation } from '../../../shared/limits/limiter.ts';
import { settleStranded } from '../../../shared/limits/stranded.ts';
import { MemoryCounters } from './memory-counters.ts';

const KEY = 'key#acme#one';
const START = Date.UTC(2026, 10, 30, 12, 0, 30);

let store: MemoryCounters;
let now: number;
let requests: number;
let limiter: Limiter;

beforeEach(() => {
  store = new MemoryCounters();
  now = START;
  requests = 0;
  const counting: CounterStore = {
    write: (write) => {
      requests += 1;
      return store.write(write);
    },
    read: (pk) => {
      requests += 1;
      return store.read(pk);
    },
    list: (prefixes) => store.list(prefixes),
  };
  limiter = new Limiter(counting, () => now);
});

function callOf(policy: Policy, more: Partial<Amounts> = {}, keyId = 'one', kind: Call['kind'] = 'answers'): Call {
  const amounts = { requests: 1n, inputTokens: 10n, outputTokens: 90n, spend: 1_000n, ...more };
  return { holder: { tenant: 'acme', keyId }, model: 'm', kind, caps: listCaps(policy, 'm', kind), amounts };
}

async function reserve(call: Call): Promise<Reservation> {
  const result = await limiter.reserve(call);
  if (!('settle' in result)) throw new Error(`refused by ${result.cap.name}`);
  return result;
}

async function refuse(call: Call): Promise<Refusal> {
  const result = await limiter.reserve(call);
  if ('settle' in result) throw new Error('not refused');
  return result;
}

describe('a limiter', () => {
  it('counts what a call has used instead of what it had reserved, with two requests', async () => {
    const policy = { key: { limits: { tokensPerMinute: 150 } } };
    const first = await reserve(callOf(policy));
    expect(first.state.tokens).toEqual({ limit: 150, remaining: 50, resetMs: 30_000 });
    expect((await refuse(callOf(policy))).left).toBe(50n);
    requests = 0;
    await first.settle({ requests: 1n, inputTokens: 10n, outputTokens: 20n, spend: 0n });
    expect((await reserve(callOf(policy))).state.tokens?.remaining).toBe(20);
    expect(requests).toBe(2);
  });

  it('refuses a call that is larger than a limit without any request', async () => {
    const refusal = await refuse(callOf({ key: { limits: { tokensPerDay: 99 } } }));
    expect(refusal).toMatchObject({ cap: { name: 'tokensPerDay' }, requested: 100n, left: 99n });
    expect(requests).toBe(0);
  });

  it('says what is left of limits only as far as that is known', async () => {
    const shared = { requestsPerMinute: 2, tokensPerMinute: 5_000 };
    const unused = { requests: undefined, tokens: undefined };
    const large = { key: { limits: { tokensPerMinute: 99 } }, project: { limits: shared } };
    expect((await refuse(callOf(large))).state).toEqual(unused);
    const full = { key: { limits: { requestsInFlight: 1 } }, project: { limits: shared } };
    const first = await reserve(callOf(full));
    expect((await refuse(callOf(full))).state).toEqual(first.state);
    now += 30_000;
    expect((await refuse(callOf(full))).state).toEqual(unused);
    const one = { project: { limits: { requestsPerMinute: 2 } } };
    expect((await reserve(callOf(one))).state.requests?.remaining).toBe(1);
    await reserve(callOf(one, {}, 'two'));
    // Neither the key that has leased all of its portion nor one that has none can get more.
    const nothing = { requests: { limit: 2, remaining: 0, resetMs: 60_000 }, tokens: undefined };
    expect((await refuse(callOf(one))).state).toEqual(nothing);
    expect((await refuse(callOf(one, {}, 'three'))).state).toEqual(nothing);
  });

  it('counts streams in flight apart from other requests', async () => {
    const policy = { project: { limits: { requestsInFlight: 1, streamsInFlight: 1 } } };
    await reserve(callOf(policy));
    await reserve(callOf(policy, {}, 'one', 'streams'));
    expect((await refuse(callOf(policy))).cap.name).toBe('requestsInFlight');
    expect((await refuse(callOf(policy, {}, 'two', 'streams'))).cap.name).toBe('streamsInFlight');
  });

  it('lets a call pass that costs nothing, also under a budget that is exhausted', async () => {
    const limits = { requestsPerMinute: 9, dollarsPerDay: 0.000001 };
    const policy = { account: { limits }, project: { limits }, key: { limits } };
    await reserve(callOf(policy, { spend: 0n }));
    await reserve(callOf(policy, { spend: 1_000_000n }));
    expect((await refuse(callOf(policy, { spend: 1n }))).cap.name).toBe('dollarsPerDay');
    await reserve(callOf(policy, { spend: 0n }));
  });

  it('begins with nothing used in each window', async () => {
    const policy = { key: { limits: { requestsPerMinute: 1 } }, project: { limits: { requestsPerMinute: 1 } } };
    await reserve(callOf(policy));
    expect((await refuse(callOf(policy))).resetAt).toBe(START + 30_000);
    now += 30_000;
    await reserve(callOf(policy));
  });

  it("keeps a key's item small, however long the key is used", async () => {
    const limits = { requestsPerMinute: 9, tokensPerDay: 99_999, dollarsPerMonth: 9, requestsInFlight: 9 };
    const policy = { account: { limits }, project: { limits: { ...limits, models: { m: limits } } }, key: { limits } };
    let largest = 0;
    for (let minute = 0; minute < 3 * 24 * 60; minute += 7) {
      now = START + minute * 60_000;
      const call = await reserve(callOf(policy, {}, 'one'));
      now += 3 * 60_000;
      await call.settle({ requests: 1n, inputTokens: 10n, outputTokens: 9n, spend: 9n });
      largest = Math.max(largest, Object.keys((await store.read(KEY)) ?? {}).length);
    }
    // The counters of 4 own caps, 4 for each of 12 shared ones, for two minutes where a window is a minute, and 2 buckets.
    expect(largest).toBeLessThanOrEqual(4 + 12 * 4 + 13 + 2 * 4);
  });

  it("keeps a key's item small, and settles, if the key calls many models", async () => {
    const limits = { requestsPerMinute: 9, tokensPerMinute: 9_999 };
    const models = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`org/m-${index}`, limits]));
    const policy = { project: { limits: { models } } };
    const call = async (model: string, kind: Call['kind'] = 'answers') => {
      const { settle } = await reserve({ ...callOf({}, {}, 'one', kind), model, caps: listCaps(policy, model, kind) });
      now += 10;
      await settle({ requests: 1n, inputTokens: 10n, outputTokens: 9n, spend: 9n });
    };
    for (let minute = 0; minute < 3; minute += 1) {
      now = START + minute * 60_000;
      for (const model of Object.keys(models))
        for (const kind of ['answers', 'streams'] as const) await call(model, kind);
    }
    const count = async () => Object.keys(await store.read(KEY)).length;
    // After the first two minutes some are removed already.
    expect(await count()).toBeGreaterThan(1_000);
    now += 60 * 60_000;
    for (let calls = 0; calls < 50; calls += 1) await call(`org/m-${calls}`);
    expect(await count()).toBeLessThanOrEqual(50 * 12);
    now += 60 * 60_000;
    // Calls that run at the same time see the same counters, and each removes those of its model.
    const parallel = await Promise.all(
      Object.keys(models).map((model) => reserve({ ...callOf({}), model, caps: listCaps(policy, model, 'answers') })),
    );
    for (const { settle } of parallel) await settle({ requests: 1n, inputTokens: 10n, outputTokens: 9n, spend: 9n });
    expect(await count()).toBeLessThanOrEqual(60 * 12);
  });

  it('leaves nothing of a bucket behind if one call cannot remove all of its counters', async () => {
    const limits = { requestsPerMinute: 100, tokensPerMinute: 100_000 };
    const models = Object.fromEntries(Array.from({ length: 13 }, (_, index) => [`m-${index}`, limits]));
    const policy = { key: { limits }, project: { limits: { requestsPerMinute: 100, models } } };
    const counts: number[] = [];
    for (let round = 0; round < 20; round += 1) {
      for (const model of Object.keys(models)) {
        const call = { ...callOf({}), model, caps: listCaps(policy, model, 'answers') };
        await (await reserve(call)).settle(call.amounts);
        now += 300;
      }
      counts.push(Object.keys(await store.read(KEY)).length);
      now += 5 * 60_000;
    }
    expect(Math.max(...counts.slice(10))).toBeLessThanOrEqual(Math.max(...counts.slice(0, 10)));
  });

  it('makes about two requests per call if many keys share a limit', async () => {
    const policy = { project: { limits: { requestsPerMinute: 2_000 } } };
    for (let call = 0; call < 1_000; call += 1) {
      const { settle } = await reserve(callOf(policy, {}, `key-${call % 10}`));
      await settle({ requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 0n });
    }
    expect(requests).toBeLessThan(2_200);
    const writesOfRoot = await store.read(`project#acme#m${Math.floor(START / 60_000)}`);
    expect(writesOfRoot['T.p.r.m29934000']).toBeLessThanOrEqual(2_000n);
  });

  it('frees the place of each call, also if a longer call of the same minute settles before it', async () => {
    const policy = { key: { limits: { requestsInFlight: 2, streamsInFlight: 1 } } };
    const stream = callOf(policy, {}, 'one', 'streams');
    await (await reserve(stream)).settle(stream.amounts);
    const answer = await reserve(callOf(policy));
    const later = await reserve(stream);
    now += 5 * 60_000;
    await answer.settle(callOf(policy).amounts);
    await later.settle(stream.amounts);
    await reserve(stream);
  });

  it('does not bring back the counters of a window when a call settles after its end', async () => {
    const policy = { key: { limits: { tokensPerMinute: 1_000 } }, project: { limits: { tokensPerMinute: 1_000 } } };
    const used = { requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 0n };
    const long = await reserve(callOf(policy));
    now += 3 * 60_000;
    await (await reserve(callOf(policy))).settle(used);
    await long.settle(used);
    const windows = Object.keys(await store.read(KEY)).flatMap((name) => /\.(m\d+)/.exec(name)?.[1] ?? []);
    expect(new Set(windows)).toEqual(new Set([`m${Math.floor(now / 60_000)}`]));
  });

  it('counts a call in the minute in which its reservation is complete', async () => {
    const write = store.write.bind(store);
    store.write = async (change) => {
      if (change.pk.startsWith('project#')) now = Math.max(now, START + 30_000);
      return write(change);
    };
    const policy = { project: { limits: { requestsPerMinute: 9 } } };
    expect((await reserve(callOf(policy))).at).toBe(START + 30_000);
  });

  it('reserves a call that uses none of its limits, also if a minute ends meanwhile', async () => {
    const times = [START + 29_999, START + 30_000];
    const changing = new Limiter(store, () => times.shift() ?? START + 30_000);
    const result = await changing.reserve(callOf({ key: { limits: { dollarsPerDay: 1 } } }, { spend: 0n }));
    expect('settle' in result && result.at).toBe(START + 30_000);
  });

  /** Lets other calls of the key take all that it leases of its shared limits. */
  function takeLeases(): void {
    const write = store.write.bind(store);
    store.write = async (change) => {
      if (change.pk !== KEY || change.atLeast === undefined) return write(change);
      const taken = Object.keys({ ...change.set, ...change.atLeast }).filter((name) => /^[LRF]/.test(name));
      if (taken.length === 0) return write(change);
      const { counters } = store.apply({ pk: KEY, ...(change.set && { set: change.set }) });
      return { isWritten: false, counters };
    };
  }

  it('names the limit of which other calls took all that was leased', async () => {
    takeLeases();
    const policy = { key: { limits: { requestsPerMinute: 9 } }, project: { limits: { tokensPerMinute: 1e15 } } };
    expect((await refuse(callOf(policy))).cap).toMatchObject({ level: 'project', name: 'tokensPerMinute' });
  });

  it('does not refuse a call because of an alert, even if other calls took all that was leased', async () => {
    takeLeases();
    const alerts = [{ name: 'half', per: 'day', dollars: 9 }] as const;
    await reserve(callOf({ key: { limits: { requestsPerMinute: 9 } }, project: { limits: { alerts: [...alerts] } } }));
    expect(await store.read(KEY)).toMatchObject({ [`k.r.m${Math.floor(START / 60_000)}`]: 1n });
  });

  it('settles the calls of a dead function once, at what they had reserved', async () => {
    const policy = { key: { limits: { requestsInFlight: 1, tokensPerDay: 1_000 } } };
    const late = await reserve(callOf(policy));
    now += 16 * 60_000;
    expect(await settleStranded(store, KEY, await store.read(KEY), now)).toEqual([]);
    now += 2 * 60_000;
    const seen = await store.read(KEY);
    const stranded = {
      pk: KEY,
      model: 'm',
      startedAt: START - 30_000,
      calls: 1,
      inputTokens: 10,
      outputTokens: 90,
      spend: 1_000n,
    };
    expect(await settleStranded(store, KEY, seen, now)).toEqual([stranded]);
    expect(await settleStranded(store, KEY, seen, now)).toEqual([]);
    // Settling too late changes nothing: the place in flight was free already.
    await late.settle({ requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 1n });
    expect((await reserve(callOf(policy))).state.tokens?.remaining).toBe(800);
    await refuse(callOf(policy));
  });
});

describe('spend alerts', () => {
  const LIMIT = 1_000_000_000_000n;
  const alerts = [
    { name: 'half', per: 'month' as const, dollars: 0.5 },
    { name: 'all', per: 'month' as const, dollars: 1 },
  ];
  const spend = (tenths: bigint) => ({ spend: (LIMIT / 10n) * tenths });
  const use = async (policy: Policy, tenths: bigint, keyId = 'one'): Promise<string[]> => {
    const reserved = await reserve(callOf(policy, spend(tenths), keyId));
    await reserved.settle({ requests: 1n, inputTokens: 10n, outputTokens: 90n, ...spend(tenths) });
    return reserved.alerts.map(({ alert, level }) => `${level} ${alert.name}`);
  };

  it.each(['key', 'project', 'account'] as const)(
    'of the %s are passed once in a window, and refuse no call',
    async (level) => {
      const policy: Policy = { [level]: { limits: { alerts } } };
      expect(await use(policy, 4n)).toEqual([]);
      expect(await use(policy, 2n)).toEqual([`${level} half`]);
      expect(await use(policy, 2n)).toEqual([]);
      expect(await use(policy, 5n)).toEqual([`${level} all`]);
      for (let calls = 0; calls < 5; calls += 1) expect(await use(policy, 9n)).toEqual([]);
      now += 31 * 86_400_000;
      expect(await use(policy, 20n)).toEqual([`${level} half`, `${level} all`]);
    },
  );

  it.each(['key', 'project', 'account'] as const)(
    'of the %s cost no further request until one is passed',
    async (level) => {
      const policy: Policy = { [level]: { limits: { alerts } } };
      await use(policy, 1n);
      // Leases a portion that is larger than the calls below.
      await (await reserve(callOf(policy))).settle(callOf(policy).amounts);
      requests = 0;
      for (let calls = 0; calls < 5; calls += 1) await (await reserve(callOf(policy))).settle(callOf(policy).amounts);
      expect(requests).toBe(10);
    },
  );

  it('the alerts of a project count what all its keys spend, and not what they have leased', async () => {
    const policy: Policy = { project: { limits: { alerts } } };
    const passed: string[] = [];
    for (const keyId of ['one', 'two', 'three', 'four']) passed.push(...(await use(policy, 1n, keyId)));
    expect(passed).toEqual([]);
    expect(await use(policy, 1n, 'five')).toEqual([]);
    expect(await use(policy, 1n, 'six')).toEqual(['project half']);
  });

  it.each(['key', 'project'] as const)(
    'of the %s at its limit are passed by the call that the limit refuses',
    async (level) => {
      const policy: Policy = { [level]: { limits: { alerts, dollarsPerMonth: 1 } } };
      await use(policy, 7n);
      const { alerts: passed } = await refuse(callOf(policy, spend(5n)));
      expect(passed.map(({ alert }) => alert.name)).toEqual(['all']);
      expect((await refuse(callOf(policy, spend(5n)))).alerts).toEqual([]);
    },
  );

  it('an alert is passed by one of many parallel calls', async () => {
    for (const level of ['key', 'project'] as const) {
      const policy: Policy = { [level]: { limits: { alerts } } };
      const results = await Promise.all(
        Array.from({ length: 40 }, (_, index) =>
          reserve(callOf(policy, spend(1n), `${level}-${index % (level === 'key' ? 1 : 4)}`)),
        ),
      );
      expect(results.flatMap((each) => each.alerts.map(({ alert }) => alert.name)).sort()).toEqual(['all', 'half']);
    }
  });
});
