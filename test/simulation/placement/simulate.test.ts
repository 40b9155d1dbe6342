import { describe, expect, it } from 'vitest';
import { STEP_MODELS } from '../../../local/engine/step-model.ts';
import { POLICIES, type PolicyName, simulate } from './simulate.ts';
import { computeHitRate, ENGINE, makeArrival, makeConversations, makeOptions } from './world.ts';

const isNumber = (value: number) => !Number.isNaN(value);

describe.each(POLICIES)('%s', (policy) => {
  it(`${policy} gives the same outcome for the same options`, async () => {
    expect(await simulate(makeOptions({ policy }))).toEqual(await simulate(makeOptions({ policy })));
  });

  it(`${policy} finishes every request`, async () => {
    const given = makeOptions({ policy });
    const { firstTokenMs, endMs, cachedTokens, refused, busyMs, spanMs } = await simulate(given);
    expect(refused).toBe(0);
    for (const [index, { atMs, inputTokens }] of given.arrivals.entries()) {
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

  it(`${policy} finds only tokens in a cache that were computed before`, async () => {
    const given = makeOptions({ policy });
    const { cachedTokens } = await simulate(given);
    // The first turn of each conversation.
    for (const cached of cachedTokens.slice(0, 20)) expect(cached).toBe(0);
    const most = given.arrivals.map(({ blocks }) => 512 * Math.max(0, blocks.length - 2));
    for (const [index, cached] of cachedTokens.entries()) expect(cached).toBeLessThanOrEqual(most[index] ?? 0);
  });
});

it.each<PolicyName>(['random', 'two-choices', 'least-connections', 'lambent'])(
  '%s gives another outcome with another seed',
  async (policy) => {
    const [one, other] = await Promise.all([1, 2].map((seed) => simulate(makeOptions({ policy, seed, workers: 4 }))));
    expect(one?.endMs).not.toEqual(other?.endMs);
  },
);

it('a simulation fails with a request that no engine can serve, under every policy', async () => {
  const arrivals = [makeArrival(0, { inputTokens: ENGINE.model.cacheTokens })];
  for (const policy of POLICIES) await expect(simulate(makeOptions({ policy, arrivals }))).rejects.toThrow(RangeError);
});

it('workers compute in parallel, so that a step of all takes as long as a step of one', async () => {
  const arrivals = [makeArrival(0), makeArrival(0)];
  const [one, two] = await Promise.all(
    [1, 2].map((workers) => simulate(makeOptions({ arrivals, workers, policy: 'round-robin' }))),
  );
  expect(two?.busyMs).toHaveLength(2);
  expect(two?.endMs[1]).toBeLessThan(one?.endMs[1] ?? 0);
});

describe('knowledge of the caches', () => {
  it.each([1, 2, 3])('policies that know the caches reuse more than random placement (seed %d)', async (seed) => {
    const given = makeOptions({ arrivals: makeConversations(400, 60), workers: 4, seed });
    const computeRate = async (policy: PolicyName) =>
      computeHitRate(given.arrivals, await simulate({ ...given, policy }));
    const chance = await computeRate('random');
    expect(await computeRate('perfect-index')).toBeGreaterThan(chance);
    expect(await computeRate('llm-d')).toBeGreaterThan(chance);
    expect(await computeRate('lambent')).toBeGreaterThan(chance);
  });

  it('the directory reuses at least 90% of what a perfect index reuses', async () => {
    const given = makeOptions({ arrivals: makeConversations(400, 60), workers: 4 });
    const computeRate = async (policy: PolicyName) =>
      computeHitRate(given.arrivals, await simulate({ ...given, policy }));
    expect((await computeRate('lambent')) / (await computeRate('perfect-index'))).toBeGreaterThan(0.9);
  });
});

describe('Lambent’s leases', () => {
  const createSimultaneous = (count: number) =>
    Array.from({ length: count }, () => makeArrival(0, { outputTokens: 50 }));

  it('leases admit no request to a worker without a free slot', async () => {
    const arrivals = createSimultaneous(3);
    const run = async (slots: number) => (await simulate(makeOptions({ arrivals, workers: 1, slots }))).endMs;
    const [together, inTurn] = [(await run(3)).toSorted(), (await run(1)).toSorted()];
    const alone = inTurn[0] ?? 0;
    // With a slot each, all end at about the same time. With one slot they run one after another.
    expect(together[2]).toBeLessThan(1.5 * alone);
    expect(inTurn[1]).toBeGreaterThan(2 * alone);
    expect(inTurn[2]).toBeGreaterThan(3 * alone);
  });

  it('leases delay the first token by the table’s latency', async () => {
    const arrivals = createSimultaneous(1);
    const run = async (ms: number) =>
      (await simulate(makeOptions({ arrivals, latency: { leastMs: ms, mostMs: ms } }))).firstTokenMs[0];
    const [known] = (await simulate(makeOptions({ arrivals, policy: 'least-tokens' }))).firstTokenMs;
    expect(await run(0)).toBeCloseTo(known ?? 0, 6);
    expect(await run(50)).toBeCloseTo((known ?? 0) + 100, 6);
  });

  it('leases refuse the requests that get no slot in time, and lose none', async () => {
    const arrivals = Array.from({ length: 100 }, () => makeArrival(0, { outputTokens: 500 }));
    const { firstTokenMs, endMs, refused } = await simulate(makeOptions({ arrivals, workers: 1, slots: 2 }));
    const served = firstTokenMs.filter(isNumber);
    expect(refused).toBeGreaterThan(0);
    expect(served.length).toBeGreaterThan(2);
    expect(served.length + refused).toBe(arrivals.length);
    expect(endMs.filter(isNumber)).toHaveLength(served.length);
  });
});

describe('bulk work', () => {
  const bulk = { dispatchers: 8, inputTokens: 2_000, outputTokens: 300, yields: true };
  /** One conversation on a small worker, with long pauses between its turns. */
  const small = { model: { ...STEP_MODELS.h100, cacheTokens: 20_000 }, stepTokens: 2_048, maxSequences: 256 };
  const arrivals = Array.from({ length: 5 }, (_, turn) => makeArrival(20_000 * turn, { blocks: [0, 1, 2, 3, 4, 5] }));
  const beside = { arrivals, workers: 1, engine: small, slots: 8 };

  it('bulk work is done in complete documents while chat arrives', async () => {
    const { bulkTokens, refused } = await simulate(makeOptions({ ...beside, bulk }));
    expect(bulkTokens).toBeGreaterThan(0);
    expect(bulkTokens % 2_300).toBe(0);
    expect(refused).toBe(0);
    expect((await simulate(makeOptions(beside))).bulkTokens).toBe(0);
  });

  it('bulk work evicts chat’s prefixes from the cache', async () => {
    expect(computeHitRate(arrivals, await simulate(makeOptions(beside)))).toBeGreaterThan(0.7);
    expect(computeHitRate(arrivals, await simulate(makeOptions({ ...beside, bulk })))).toBe(0);
  });

  it('bulk work leaves the reserve free', async () => {
    const createOptions = (reserve: number) =>
      makeOptions({
        ...beside,
        bulk,
        settings: { ...makeOptions().settings, defaultLimits: { reserve, waitMs: 10_000 } },
      });
    const [much, little] = [await simulate(createOptions(0)), await simulate(createOptions(0.75))];
    // Two of eight slots, instead of as many as memory allows.
    expect(much.bulkTokens / little.bulkTokens).toBeGreaterThan(2);
  });
});
