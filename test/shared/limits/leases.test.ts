import { beforeEach, describe, expect, it } from 'vitest';
import type { SpendAlert } from '../../../shared/access/limit-policy.ts';
import type { PassedAlert } from '../../../shared/limits/alerts.ts';
import { type LeasedCap, type Level, toPicodollars } from '../../../shared/limits/caps.ts';
import type { CounterStore, CounterWrite } from '../../../shared/limits/counters.ts';
import { type Lease, Leases, takeFrom } from '../../../shared/limits/leases.ts';
import {
  getChildCounters,
  getParentCounters,
  getPool,
  getTotalName,
  type SharedPool,
} from '../../../shared/limits/pools.ts';
import { createRandom } from './limit-world.ts';
import { MemoryCounters, recordRequests } from './memory-counters.ts';

const START = Date.UTC(2026, 10, 30);
const WINDOW = 'y2026-11';
const EXPIRES_AT = BigInt(Date.UTC(2026, 11, 2) / 1000);

let store: MemoryCounters;
let now: number;
let written: CounterWrite[];
let read: string[];
let passed: PassedAlert[];
let counting: CounterStore;
let leases: Leases;
beforeEach(() => {
  store = new MemoryCounters();
  now = START;
  passed = [];
  ({ counting, written, read } = recordRequests(() => store));
  leases = createLeases();
});
const createLeases = () => new Leases(counting, () => now);

/** Returns the pool of a monthly limit of a project or the account, for one of its keys. */
function poolOf(
  level: Level,
  max: bigint,
  keyId: string,
  { tenant = 'acme', alerts = [] as SpendAlert[] } = {},
): SharedPool {
  const cap: LeasedCap = { level, max, ...(alerts.length > 0 && { alerts }) };
  const whole = { ...cap, metric: 'spend', span: 'month', name: 'dollarsPerMonth' } as const;
  return { ...getPool(whole, { tenant, keyId }, 'm', START), cap };
}
const ofProject = (max: bigint, keyId: string) => poolOf('project', max, keyId);
const PROJECT = `project#acme#${WINDOW}`;

const lease = (
  pool: SharedPool,
  need: bigint,
  received = 0n,
  isPressed = false,
  by = leases,
): Promise<Lease | undefined> =>
  by.lease(pool, need, received, { report: (alerts) => passed.push(...alerts), isPressed });

/** Takes an amount of a pool for a key, as limiters do: from what the key has, or from a portion. */
async function take(pool: SharedPool, amount: bigint, by = leases, isPressed = false): Promise<boolean> {
  const pk = pool.nodes[0]?.pk ?? '';
  const names = getChildCounters(pool.id);
  let arrival: Lease | undefined;
  let counters = await store.read(pk);
  for (let tries = 0; tries < 32; tries += 1) {
    const result = await store.write({ ...takeFrom(pool.id, counters, amount, arrival), pk });
    if (result.isWritten) return true;
    counters = result.counters;
    const lacking = amount - (counters[names.left] ?? 0n);
    if (lacking > 0n) {
      arrival = await lease(pool, lacking, counters[names.received] ?? 0n, isPressed, by);
      if (arrival === undefined) return false;
    } else arrival = undefined;
    counters = await store.read(pk);
  }
  return false;
}

/** Returns the counters of an item without their pool, by their letters and children: `G.one`. */
async function show(pk: string): Promise<Record<string, bigint>> {
  const counters = Object.entries(await store.read(pk)).filter(([name]) => name !== 'expiresAt');
  return Object.fromEntries(counters.map(([name, value]) => [name.replace(/^(\w)\.\w\.c\.y2026-11/, '$1'), value]));
}

describe('portions', () => {
  it('a key gets a quarter of what is left, or what it needs if that is more', async () => {
    expect(await take(ofProject(100n, 'one'), 1n)).toBe(true);
    expect(await show(PROJECT)).toEqual({ T: 25n, 'G.one': 25n });
    expect(await show('key#acme#one')).toEqual({ L: 24n, R: 25n, F: 75n });
    for (let calls = 0; calls < 24; calls += 1) await take(ofProject(100n, 'one'), 1n);
    expect(written).toHaveLength(1);
    await take(ofProject(100n, 'one'), 1n);
    expect(await show('key#acme#one')).toEqual({ L: 17n, R: 43n, F: 57n });
    expect(await take(ofProject(100n, 'two'), 57n)).toBe(true);
    expect(await show(PROJECT)).toEqual({ T: 100n, 'G.one': 43n, 'G.two': 57n });
    // What was written last is known, so the root was never read.
    expect(read).toEqual([]);
  });

  it('items of windows expire', async () => {
    await take(poolOf('account', 100n, 'one'), 1n);
    for (const pk of [PROJECT, `account#${WINDOW}`]) expect((await store.read(pk))['expiresAt']).toBe(EXPIRES_AT);
    expect(written.every(({ set }) => set?.['expiresAt'] === EXPIRES_AT)).toBe(true);
  });

  it('what was granted before and has not arrived is not granted again', async () => {
    const pool = ofProject(100n, 'one');
    expect(await lease(pool, 1n)).toEqual({ granted: 25n, beyond: 75n });
    expect(await lease(pool, 25n)).toEqual({ granted: 25n, beyond: 75n });
    expect(written).toHaveLength(1);
    // Five more are needed, and a quarter of 75 is granted.
    expect(await lease(pool, 30n)).toEqual({ granted: 43n, beyond: 57n });
    expect(await lease(pool, 43n + 40n)).toEqual({ granted: 83n, beyond: 17n });
    // A part has arrived.
    expect(await lease(pool, 40n, 43n)).toEqual({ granted: 83n, beyond: 17n });
    expect(await lease(pool, 17n, 83n)).toEqual({ granted: 100n, beyond: 0n });
    // The limit was lowered.
    expect(await lease(ofProject(60n, 'one'), 1n, 99n)).toEqual({ granted: 100n, beyond: 0n });
  });

  it('a refused key has read the root once', async () => {
    await take(ofProject(10n, 'one'), 10n);
    const other = createLeases();
    written.length = 0;
    expect(await lease(ofProject(10n, 'two'), 1n, 0n, false, other)).toBeUndefined();
    expect(written).toHaveLength(1);
    expect(read).toEqual(['key#acme#one']);
    read.length = 0;
    now += 999;
    expect(await lease(ofProject(10n, 'two'), 1n, 0n, false, other)).toBeUndefined();
    expect(read).toEqual([PROJECT]);
    now += 1;
    expect(await lease(ofProject(10n, 'two'), 1n, 0n, false, other)).toBeUndefined();
    expect(read).toEqual([PROJECT, PROJECT, 'key#acme#one']);
    read.length = 0;
    other.expectReturns(ofProject(10n, 'two'));
    expect(await lease(ofProject(10n, 'two'), 1n, 0n, false, other)).toBeUndefined();
    expect(read).toEqual([PROJECT, 'key#acme#one']);
  });

  it('a call gives up after eight tries if others keep changing the root', async () => {
    let tries = 0;
    const changing: CounterStore = {
      read: async () => ({}),
      list: (prefixes) => store.list(prefixes),
      write: async () => {
        tries += 1;
        return { isWritten: false, counters: {} };
      },
    };
    const by = new Leases(changing, () => now);
    expect(await lease(ofProject(10n, 'one'), 1n, 0n, false, by)).toBeUndefined();
    expect(tries).toBe(8);
  });
});

describe('portions that a key does not use', () => {
  it('half of them, or what is needed if that is more, goes to a key that lacks it', async () => {
    await take(ofProject(100n, 'one'), 1n);
    await take(ofProject(100n, 'two'), 70n);
    // 5 are left, so 5 of the 24 are needed.
    expect(await take(ofProject(100n, 'two'), 10n)).toBe(true);
    expect(await show('key#acme#one')).toEqual({ L: 12n, R: 25n, F: 75n, Q: 12n });
    expect(await show(PROJECT)).toEqual({ T: 93n, 'G.one': 25n, 'B.one': 12n, 'G.two': 80n });
    // 7 are left, so 9 of the 12 are needed.
    expect(await take(ofProject(100n, 'two'), 16n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 3n, Q: 21n });
    expect(await show(PROJECT)).toMatchObject({ T: 100n, 'B.one': 21n, 'G.two': 96n });
    // More than there is: all of it was taken back nevertheless.
    expect(await take(ofProject(100n, 'two'), 4n)).toBe(false);
    expect(await show('key#acme#one')).toMatchObject({ L: 0n, Q: 24n });
    expect(await show(PROJECT)).toMatchObject({ T: 97n, 'B.one': 24n });
    expect(await take(ofProject(100n, 'two'), 3n)).toBe(true);
    expect(await take(ofProject(100n, 'two'), 1n)).toBe(false);
  });

  it('the last one is given back, too', async () => {
    await lease(ofProject(4n, 'one'), 1n);
    await take(ofProject(4n, 'two'), 3n);
    expect(await take(ofProject(4n, 'two'), 1n)).toBe(true);
    expect(await show('key#acme#one')).toEqual({ L: 0n, R: 1n, F: 0n, Q: 1n });
  });

  it('those that have not arrived are given back, too', async () => {
    await lease(ofProject(100n, 'one'), 1n);
    await take(ofProject(100n, 'two'), 70n);
    expect(await take(ofProject(100n, 'two'), 10n)).toBe(true);
    expect(await show('key#acme#one')).toEqual({ L: 13n, R: 25n, F: 0n, Q: 12n });
  });

  it('no more keys are asked than it takes, those with most first, and 16 at most', async () => {
    const keys = Array.from({ length: 20 }, (_, index) => `key${index}`);
    for (const key of keys) await lease(ofProject(400n, key), 1n);
    const rest = 400n - ((await show(PROJECT))['T'] ?? 0n);
    await take(ofProject(400n, 'last'), rest);
    read.length = 0;
    expect(await take(ofProject(400n, 'last'), 1n)).toBe(true);
    expect(read.filter((pk) => pk.startsWith('key#'))).toEqual(['key#acme#key0']);
    read.length = 0;
    expect(await take(ofProject(400n, 'last'), 400n)).toBe(false);
    const asked = read.filter((pk) => pk.startsWith('key#'));
    expect(new Set(asked).size).toBe(16);
    expect(asked).toHaveLength(16);
  });

  it('a key that needs more gives nothing back itself, but what it gave before counts', async () => {
    const pool = ofProject(100n, 'one');
    await take(pool, 1n);
    // A reclaim died after it had taken 12 from the key.
    const names = getChildCounters(pool.id);
    await store.write({ pk: 'key#acme#one', add: { [names.left]: -12n, [names.returned]: 12n } });
    expect(await take(pool, 99n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 0n, Q: 12n, R: 112n });
    expect(await show(PROJECT)).toEqual({ T: 100n, 'G.one': 112n, 'B.one': 12n });
    expect(await take(pool, 1n)).toBe(false);
  });

  it('the next key is asked for what is still lacking, if anything is', async () => {
    await take(ofProject(100n, 'one'), 1n);
    await take(ofProject(100n, 'two'), 1n);
    await take(ofProject(100n, 'three'), 57n);
    expect(await take(ofProject(100n, 'three'), 24n)).toBe(true);
    expect(read).toContain('key#acme#one');
    expect(read).not.toContain('key#acme#two');
    await take(ofProject(100n, 'four'), 3n);
    expect(await show('key#acme#two')).toMatchObject({ L: 9n, Q: 8n });
  });

  it('what is lacking after a key has given all it had is less than half of what the next one has', async () => {
    await take(ofProject(100n, 'one'), 1n);
    await take(ofProject(100n, 'two'), 1n);
    await take(ofProject(100n, 'three'), 57n);
    expect(await take(ofProject(100n, 'three'), 26n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 0n, Q: 24n });
    expect(await show('key#acme#two')).toMatchObject({ L: 9n, Q: 8n });
  });

  describe('while others write', () => {
    const pool = ofProject(100n, 'two');
    const names = { ...getChildCounters(pool.id), ...getParentCounters(pool.id, 'one') };

    /** Creates leases whose writes of a counter wait for `before`, or are all refused. */
    function createRacing(counter: string, before: 'refuse' | (() => Promise<unknown>)) {
      let tries = 0;
      const write: CounterStore['write'] = async (change) => {
        if (!(counter in { ...change.set, ...change.add })) return store.write(change);
        tries += 1;
        if (before === 'refuse') return { isWritten: false, counters: await store.read(change.pk) };
        if (tries === 1) await before();
        return store.write(change);
      };
      const racing = { ...counting, write };
      return { by: new Leases(racing, () => now), countTries: () => tries };
    }

    beforeEach(async () => {
      await take(ofProject(100n, 'one'), 1n);
      await take(pool, 70n);
    });

    it('what another caller has recovered meanwhile is not recovered again', async () => {
      await store.write({ pk: 'key#acme#one', add: { [names.left]: -12n, [names.returned]: 12n } });
      const { by, countTries } = createRacing(names.recovered, () =>
        store.write({ pk: PROJECT, set: { [names.recovered]: 12n }, add: { [getTotalName(pool.id)]: -12n } }),
      );
      expect(await take(pool, 10n, by)).toBe(true);
      expect(countTries()).toBe(2);
      expect(await show(PROJECT)).toMatchObject({ 'B.one': 18n, 'G.two': 80n, T: 87n });
      expect(await show('key#acme#one')).toMatchObject({ L: 6n, Q: 18n });
    });

    it('a key that has used more meanwhile gives back less', async () => {
      const { by, countTries } = createRacing(names.returned, () =>
        store.write({ pk: 'key#acme#one', add: { [names.left]: -20n } }),
      );
      expect(await take(pool, 7n, by)).toBe(true);
      expect(countTries()).toBe(2);
      expect(await show('key#acme#one')).toMatchObject({ L: 2n, Q: 2n });
    });

    it.each(['recovered', 'returned'] as const)(
      'a caller gives up after eight tries to write what is %s',
      async (name) => {
        const { by, countTries } = createRacing(names[name], 'refuse');
        expect(await take(pool, 7n, by)).toBe(false);
        expect(countTries()).toBe(8);
      },
    );
  });

  it('what two callers take back at the same time counts once', async () => {
    await take(ofProject(100n, 'one'), 1n);
    await take(ofProject(100n, 'two'), 75n);
    const others = [createLeases(), createLeases(), createLeases()];
    const results = await Promise.all(others.map((by, index) => take(ofProject(100n, `new${index}`), 7n, by)));
    expect(results.filter(Boolean).length).toBeGreaterThan(0);
    await expectBalance('project', 100n, 76n + 7n * BigInt(results.filter(Boolean).length));
  });
});

describe('a pool of the account', () => {
  const ofAccount = (keyId: string, tenant = 'acme') => poolOf('account', 100n, keyId, { tenant });
  const ROOT = `account#${WINDOW}`;
  const BETA = `project#beta#${WINDOW}`;

  it('a project leases from it, and its keys from the project', async () => {
    await take(ofAccount('one'), 1n);
    expect(await show(ROOT)).toEqual({ T: 25n, 'G.acme': 25n });
    expect(await show(PROJECT)).toEqual({ L: 19n, R: 25n, F: 75n, 'G.one': 6n });
    expect(await show('key#acme#one')).toEqual({ L: 5n, R: 6n, F: 94n });
    // The project has 19, so it leases 11 more at least.
    expect(await take(ofAccount('two'), 30n)).toBe(true);
    expect(await show(ROOT)).toEqual({ T: 43n, 'G.acme': 43n });
    expect(await show(PROJECT)).toEqual({ L: 7n, R: 43n, F: 57n, 'G.one': 6n, 'G.two': 30n });
    expect(await take(ofAccount('two'), 64n)).toBe(true);
    expect(await show(ROOT)).toEqual({ T: 100n, 'G.acme': 100n });
  });

  it('other projects give back what they and their keys do not use', async () => {
    await take(ofAccount('one'), 1n);
    expect(await take(ofAccount('three', 'beta'), 80n)).toBe(true);
    // 5 were lacking, of the 19 of the project.
    expect(await show(PROJECT)).toMatchObject({ L: 10n, Q: 9n });
    expect(await show(ROOT)).toMatchObject({ T: 96n, 'B.acme': 9n, 'G.beta': 80n });
    // 11 are lacking: 10 of the project and one of its key.
    expect(await take(ofAccount('three', 'beta'), 15n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 3n, Q: 2n });
    expect(await show(PROJECT)).toMatchObject({ L: 1n, Q: 20n, 'B.one': 2n });
    expect(await show(ROOT)).toMatchObject({ T: 100n, 'B.acme': 20n, 'G.beta': 95n });
    read.length = 0;
    expect(await take(ofAccount('three', 'beta'), 5n)).toBe(false);
    expect(read.filter((pk) => pk === 'key#acme#one')).toHaveLength(1);
    expect(await take(ofAccount('three', 'beta'), 4n)).toBe(true);
    expect(await show('key#acme#one')).toMatchObject({ L: 0n });
    expect(await show(BETA)).toMatchObject({ L: 0n, R: 99n });
  });

  it('keys of a project are not asked if it has itself what is lacking', async () => {
    await take(ofAccount('one'), 1n);
    expect(await take(ofAccount('three', 'beta'), 94n)).toBe(true);
    expect(await show(PROJECT)).toMatchObject({ L: 0n, Q: 19n });
    expect(read).not.toContain('key#acme#one');
  });

  it('parallel calls of all projects never exceed it, and their counters add up', async () => {
    for (let seed = 0; seed < 10; seed += 1) {
      store = new MemoryCounters();
      const random = createRandom(seed);
      const environments = [createLeases(), createLeases(), createLeases()];
      let used = 0n;
      let refused = 0;
      for (let round = 0; round < 6; round += 1) {
        const calls = Array.from({ length: 12 }, async (_, index) => {
          const amount = BigInt(Math.ceil(random() * 5));
          const pool = ofAccount(`key${index % 2}`, ['acme', 'beta', 'gamma'][index % 3] ?? '');
          if (await take(pool, amount, environments[Math.floor(random() * 3)])) used += amount;
          else refused += 1;
        });
        await Promise.all(calls);
        now += 400;
      }
      expect(refused).toBeGreaterThan(0);
      await expectBalance('account', 100n, used);
    }
  });
});

/** Fails unless what was used and what is left everywhere is what was granted. */
async function expectBalance(level: 'project' | 'account', max: bigint, used: bigint): Promise<void> {
  const root = level === 'project' ? PROJECT : `account#${WINDOW}`;
  let left = 0n;
  for (const pk of store.items.keys()) {
    const counters = await show(pk);
    const sumOf = (letter: string) =>
      Object.entries(counters).reduce((sum, [name, value]) => sum + (name.startsWith(`${letter}.`) ? value : 0n), 0n);
    if (pk === root) {
      expect(counters['T']).toBe(sumOf('G') - sumOf('B'));
      expect(counters['T']).toBeLessThanOrEqual(max);
      left += max - (counters['T'] ?? 0n);
      continue;
    }
    expect(counters['L'] ?? 0n).toBeGreaterThanOrEqual(0n);
    left += counters['L'] ?? 0n;
  }
  // Grants that have not arrived are neither used nor left.
  expect(left + used).toBeLessThanOrEqual(max);
}

describe('alerts', () => {
  const dollars = toPicodollars;
  const alerts: SpendAlert[] = [{ name: 'half', per: 'month', dollars: 50 }];
  const withAlert = (keyId: string) => poolOf('project', dollars(100), keyId, { alerts });

  it('no portion reaches beyond an alert until it is passed, once unused portions were taken back', async () => {
    await take(withAlert('one'), dollars(1));
    expect(await show(PROJECT)).toMatchObject({ T: dollars(12.5) });
    expect(await take(withAlert('two'), dollars(40))).toBe(true);
    expect(passed).toEqual([]);
    expect(await take(withAlert('two'), dollars(20))).toBe(true);
    expect(passed).toEqual([{ alert: alerts[0], level: 'project', window: WINDOW }]);
    expect(await take(withAlert('two'), dollars(30))).toBe(true);
    expect(passed).toHaveLength(1);
  });

  it('a call that others keep overtaking passes an alert without taking anything back', async () => {
    await take(withAlert('one'), dollars(1));
    await take(withAlert('two'), dollars(37.5));
    expect(await take(withAlert('two'), dollars(1), leases, true)).toBe(true);
    expect(passed).toHaveLength(1);
    expect(read).not.toContain('key#acme#one');
    // Beyond the last alert, it takes back what it needs.
    await take(withAlert('two'), dollars(100) - ((await show(PROJECT))['T'] ?? 0n), leases, true);
    expect(await take(withAlert('two'), dollars(20), leases, true)).toBe(true);
    expect(read).toContain('key#acme#one');
  });

  it('an alert that the first call passes is marked in an item that expires', async () => {
    expect(await take(withAlert('one'), dollars(60))).toBe(true);
    expect(passed).toHaveLength(1);
    expect(written).toHaveLength(2);
    expect(written.every(({ set }) => set?.['expiresAt'] === EXPIRES_AT)).toBe(true);
    // Its mark, and nothing else, was written first.
    expect(written[0]).toMatchObject({ set: { expiresAt: EXPIRES_AT }, equal: expect.any(Object) });
    expect(written[0]?.set).not.toEqual({ expiresAt: EXPIRES_AT });
  });

  it('of a limit that exists only for alerts, portions for 256 such calls are leased', async () => {
    const soft = poolOf('project', dollars(1e9), 'one', { alerts: [{ name: 'far', per: 'month', dollars: 1e6 }] });
    await take(soft, 10_000n);
    expect(await show(PROJECT)).toMatchObject({ T: 2_560_000n });
    // Near the alert, portions are quarters, as of other limits.
    const near = poolOf('project', dollars(1e9), 'two', { alerts: [{ name: 'near', per: 'month', dollars: 1e-5 }] });
    await take(near, 10_000n);
    expect(await show(PROJECT)).toMatchObject({ T: 2_560_000n + 1_860_000n });
  });
});

describe('what a key takes', () => {
  it('is taken from what it has, or from what arrives', () => {
    const { left, received, beyond } = getChildCounters('p');
    expect(takeFrom('p', {}, 3n, undefined)).toEqual({ add: { [left]: -3n }, atLeast: { [left]: 3n } });
    const arrival = { granted: 10n, beyond: 7n };
    const set = { [received]: 10n, [beyond]: 7n };
    expect(takeFrom('p', {}, 3n, arrival)).toEqual({ add: { [left]: 7n }, set, equal: { [received]: undefined } });
    expect(takeFrom('p', { [received]: 8n }, 3n, arrival)).toEqual({
      ...{ add: { [left]: -1n }, set, equal: { [received]: 8n }, atLeast: { [left]: 1n } },
    });
    for (const before of [10n, 11n])
      expect(takeFrom('p', { [received]: before }, 3n, arrival)).toEqual({
        ...{ add: { [left]: -3n }, atLeast: { [left]: 3n } },
      });
  });
});
