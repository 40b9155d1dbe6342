import { describe, expect, test } from 'vitest';
import { STEP_MODELS } from '../../../local/engine/step-model.ts';
import { POLICIES, type PolicyName, simulate } from './simulate.ts';
import { anArrival, conversations, ENGINE, hitRate, options } from './world.ts';

const isNumber = (value: number) => !Number.isNaN(value);

describe.each(POLICIES)('%s', (policy) => {
  test('does the same thing when it is asked the same', async () => {
    expect(await simulate(options({ policy }))).toEqual(await simulate(options({ policy })));
  });

  test('brings every request to its end', async () => {
    const asked = options({ policy });
    const { firstTokenMs, endMs, cachedTokens, refused, busyMs, spanMs } = await simulate(asked);
    expect(refused).toBe(0);
    for (const [index, { atMs, inputTokens }] of asked.arrivals.entries()) {
      const [first = Number.NaN, end = Number.NaN] = [firstTokenMs[index], endMs[index]];
      expect(first).toBeGreaterThan(0);
      expect(end).toBeGreaterThan(first);
      expect(atMs + end).toBeLessThanOrEqual(spanMs);
      const cached = cachedTokens[index] ?? Number.NaN;
      expect(cached % 512).toBe(0);
      expect(cached).toBeLessThan(inputTokens);
    }
    for (const ms of busyMs) expect(ms).toBeLessThanOrEqual(spanMs);
  });

  test('finds nothing in a cache that was not there before', async () => {
    const asked = options({ policy });
    const { cachedTokens } = await simulate(asked);
    // Everybody’s first turn.
    for (const cached of cachedTokens.slice(0, 20)) expect(cached).toBe(0);
    const most = asked.arrivals.map(({ blocks }) => 512 * Math.max(0, blocks.length - 2));
    for (const [index, cached] of cachedTokens.entries()) expect(cached).toBeLessThanOrEqual(most[index] ?? 0);
  });
});

test.each<PolicyName>(['random', 'two-choices', 'least-connections', 'lambent'])(
  'chance is another one with another seed: %s',
  async (policy) => {
    const [one, other] = await Promise.all([1, 2].map((seed) => simulate(options({ policy, seed, workers: 4 }))));
    expect(one?.endMs).not.toEqual(other?.endMs);
  },
);

test('what can’t be done ends a simulation, whoever is to do it', async () => {
  const arrivals = [anArrival(0, { inputTokens: ENGINE.model.cacheTokens })];
  for (const policy of POLICIES) await expect(simulate(options({ policy, arrivals }))).rejects.toThrow(RangeError);
});

test('a step that all workers take together costs no more than one: they compute side by side', async () => {
  const arrivals = [anArrival(0), anArrival(0)];
  const [one, two] = await Promise.all(
    [1, 2].map((workers) => simulate(options({ arrivals, workers, policy: 'round-robin' }))),
  );
  expect(two?.busyMs).toHaveLength(2);
  expect(two?.endMs[1]).toBeLessThan(one?.endMs[1] ?? 0);
});

describe('knowing what is cached', () => {
  test.each([1, 2, 3])('never finds less again than chance does (seed %d)', async (seed) => {
    const asked = options({ arrivals: conversations(400, 60), workers: 4, seed });
    const rateOf = async (policy: PolicyName) => hitRate(asked.arrivals, await simulate({ ...asked, policy }));
    const chance = await rateOf('random');
    expect(await rateOf('perfect-index')).toBeGreaterThan(chance);
    expect(await rateOf('llm-d')).toBeGreaterThan(chance);
    expect(await rateOf('lambent')).toBeGreaterThan(chance);
  });

  test('lets the directory come close to an index that is perfect', async () => {
    const asked = options({ arrivals: conversations(400, 60), workers: 4 });
    const rateOf = async (policy: PolicyName) => hitRate(asked.arrivals, await simulate({ ...asked, policy }));
    expect((await rateOf('lambent')) / (await rateOf('perfect-index'))).toBeGreaterThan(0.9);
  });
});

describe('Lambent’s leases', () => {
  const atOnce = (count: number) => Array.from({ length: count }, () => anArrival(0, { outputTokens: 50 }));

  test('let nobody onto a worker without a slot', async () => {
    const arrivals = atOnce(3);
    const run = async (slots: number) => (await simulate(options({ arrivals, workers: 1, slots }))).endMs;
    const [together, inTurn] = [(await run(3)).toSorted(), (await run(1)).toSorted()];
    const alone = inTurn[0] ?? 0;
    // With a slot for each, all end at about the same time; with one, nobody begins before the other has ended.
    expect(together[2]).toBeLessThan(1.5 * alone);
    expect(inTurn[1]).toBeGreaterThan(2 * alone);
    expect(inTurn[2]).toBeGreaterThan(3 * alone);
  });

  test('take their way to the table, which the first token waits for', async () => {
    const arrivals = atOnce(1);
    const run = async (ms: number) =>
      (await simulate(options({ arrivals, latency: { leastMs: ms, mostMs: ms } }))).firstTokenMs[0];
    const [known] = (await simulate(options({ arrivals, policy: 'least-tokens' }))).firstTokenMs;
    expect(await run(0)).toBeCloseTo(known ?? 0, 6);
    expect(await run(50)).toBeCloseTo((known ?? 0) + 100, 6);
  });

  test('refuse whoever finds no slot in time, and lose nobody', async () => {
    const arrivals = Array.from({ length: 100 }, () => anArrival(0, { outputTokens: 500 }));
    const { firstTokenMs, endMs, refused } = await simulate(options({ arrivals, workers: 1, slots: 2 }));
    const served = firstTokenMs.filter(isNumber);
    expect(refused).toBeGreaterThan(0);
    expect(served.length).toBeGreaterThan(2);
    expect(served.length + refused).toBe(arrivals.length);
    expect(endMs.filter(isNumber)).toHaveLength(served.length);
  });
});

describe('bulk work', () => {
  const bulk = { dispatchers: 8, inputTokens: 2_000, outputTokens: 300, yields: true };
  /** One conversation on one small worker, with time enough between its turns. */
  const small = { model: { ...STEP_MODELS.h100, cacheTokens: 20_000 }, stepTokens: 2_048, maxSequences: 256 };
  const arrivals = Array.from({ length: 5 }, (_, turn) => anArrival(20_000 * turn, { blocks: [0, 1, 2, 3, 4, 5] }));
  const beside = { arrivals, workers: 1, engine: small, slots: 8 };

  test('is done in whole documents, as long as chat comes', async () => {
    const { bulkTokens, refused } = await simulate(options({ ...beside, bulk }));
    expect(bulkTokens).toBeGreaterThan(0);
    expect(bulkTokens % 2_300).toBe(0);
    expect(refused).toBe(0);
    expect((await simulate(options(beside))).bulkTokens).toBe(0);
  });

  test('takes the place of what chat had in the cache', async () => {
    expect(hitRate(arrivals, await simulate(options(beside)))).toBeGreaterThan(0.7);
    expect(hitRate(arrivals, await simulate(options({ ...beside, bulk })))).toBe(0);
  });

  test('leaves the reserve free', async () => {
    const withReserve = (reserve: number) =>
      options({ ...beside, bulk, settings: { ...options().settings, defaultLimits: { reserve, waitMs: 10_000 } } });
    const [much, little] = [await simulate(withReserve(0)), await simulate(withReserve(0.75))];
    // Two of eight at once instead of as many as memory has room for.
    expect(much.bulkTokens / little.bulkTokens).toBeGreaterThan(2);
  });
});
