import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../local/faults/random.ts';
import type { SimulatedWorker, Work } from './fleet.ts';
import {
  boundedHashing,
  leastConnections,
  leastTokens,
  llmD,
  type PolicyFactory,
  perfectIndex,
  random,
  roundRobin,
  twoChoices,
} from './policies.ts';
import { aFleet, aWork } from './world.ts';

const long = aWork({ promptTokens: 50_000 });
const short = aWork({ promptTokens: 100 });
const IDLE = {};

/** Whom a policy sends so many works to, one after another; they aren't given to anybody. */
function chosen(factory: PolicyFactory, workers: readonly SimulatedWorker[], works: readonly Work[], seed = 1) {
  const policy = factory(workers, seededRandom(seed));
  return works.map((work) => policy(work).index);
}
const times = (count: number, work = aWork()) => Array.from({ length: count }, () => work);

/** Whom it sends one work to, whatever chance says. */
function always(factory: PolicyFactory, workers: readonly SimulatedWorker[], work = aWork()): number[] {
  const seeds = Array.from({ length: 50 }, (_, seed) => seed);
  return [...new Set(seeds.flatMap((seed) => chosen(factory, workers, [work], seed)))].sort();
}

describe('round robin', () => {
  test('takes turns, whatever anybody has to do', async () => {
    const workers = await aFleet({ has: times(30) }, IDLE, IDLE);
    expect(chosen(roundRobin, workers, times(7))).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });
});

describe('random', () => {
  test('takes all about as often, whatever anybody has to do', async () => {
    const workers = await aFleet({ has: times(30) }, IDLE, IDLE);
    const taken = chosen(random, workers, times(3_000));
    for (const index of [0, 1, 2]) {
      const share = taken.filter((each) => each === index).length / taken.length;
      expect(share).toBeGreaterThan(0.3);
      expect(share).toBeLessThan(0.37);
    }
  });
});

describe('two choices', () => {
  test('never takes the one that has most: the other one is always better', async () => {
    const workers = await aFleet({ has: times(2) }, { has: times(1) }, IDLE);
    const taken = chosen(twoChoices, workers, times(3_000));
    expect(taken).not.toContain(0);
    // The idle one is in two pairs of three.
    expect(taken.filter((each) => each === 2).length / taken.length).toBeGreaterThan(0.63);
    expect(taken.filter((each) => each === 2).length / taken.length).toBeLessThan(0.7);
  });

  test('does without a choice where there is one worker', async () => {
    expect(always(twoChoices, await aFleet(IDLE))).toEqual([0]);
  });
});

describe('least connections', () => {
  test('takes the one with the fewest requests, however long they are', async () => {
    const workers = await aFleet({ has: times(2, short) }, { has: [long] }, { has: times(3, short) });
    expect(always(leastConnections, workers)).toEqual([1]);
  });

  test('takes any of those that have equally few', async () => {
    expect(always(leastConnections, await aFleet(IDLE, { has: [short] }, IDLE))).toEqual([0, 2]);
  });
});

describe('least tokens', () => {
  test('takes the one with the fewest prompt tokens that wait, however many requests they are', async () => {
    const workers = await aFleet({ has: times(2, short) }, { has: [long] }, { has: times(3, short) });
    expect(always(leastTokens, workers)).toEqual([0]);
  });

  test('goes by requests where there are as many tokens', async () => {
    const one = aWork({ promptTokens: 300 });
    expect(always(leastTokens, await aFleet({ has: times(3, short) }, { has: [one] }))).toEqual([1]);
  });
});

describe('consistent hashing with bounded loads', () => {
  /** The first two blocks are the same in all of them. */
  const talk = (id: number) =>
    aWork({ promptTokens: 3_600, blocks: [0, 1, ...[2, 3, 4, 5, 6].map((at) => 10 * id + at)] });

  test('brings prompts with one beginning to one worker, and different ones to all', async () => {
    const workers = await aFleet(IDLE, IDLE, IDLE, IDLE);
    for (const id of [1, 2, 3]) expect(new Set(chosen(boundedHashing, workers, times(20, talk(id)))).size).toBe(1);
    const many = Array.from({ length: 400 }, (_, id) => talk(id + 1));
    const taken = chosen(boundedHashing, workers, many);
    for (const index of [0, 1, 2, 3]) {
      expect(taken.filter((each) => each === index).length).toBeGreaterThan(50);
      expect(taken.filter((each) => each === index).length).toBeLessThan(150);
    }
  });

  test('gives no worker more than a quarter above its share', async () => {
    const workers = await aFleet(IDLE, IDLE, IDLE, IDLE);
    const policy = boundedHashing(workers, Math.random);
    for (let given = 1; given <= 40; given += 1) {
      policy(talk(7)).submit(talk(7));
      const most = Math.max(...workers.map(({ requests }) => requests));
      expect(most).toBeLessThanOrEqual(Math.ceil((given / 4) * 1.25));
    }
    expect(workers.reduce((sum, { requests }) => sum + requests, 0)).toBe(40);
  });

  test('spreads prompts that are too short for it, though their first block is the same', async () => {
    const workers = await aFleet(IDLE, IDLE, IDLE, IDLE);
    const shorter = Array.from({ length: 200 }, (_, index) => aWork({ promptTokens: 600 + index, blocks: [0] }));
    expect(new Set(chosen(boundedHashing, workers, shorter)).size).toBe(4);
    const shortest = Array.from({ length: 200 }, (_, index) => aWork({ promptTokens: 100 + index, blocks: [] }));
    expect(new Set(chosen(boundedHashing, workers, shortest)).size).toBe(4);
  });
});

describe('llm-d’s weights', () => {
  const talk = aWork({ promptTokens: 5_120, blocks: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });

  test('take the worker that has the prompt cached', async () => {
    expect(always(llmD, await aFleet(IDLE, { did: [talk] }, IDLE), talk)).toEqual([1]);
  });

  test('leave it for a worker without a queue when little is cached', async () => {
    const little = aWork({ promptTokens: 5_120, blocks: [0, 1, 12, 13, 14, 15, 16, 17, 18, 19] });
    // A long prompt has all of a step's tokens, so that whoever comes next waits.
    const workers = await aFleet({ did: [talk], has: [long, short, short] }, { has: [long] });
    expect(workers.map(({ waiting }) => waiting)).toEqual([2, 0]);
    expect(always(llmD, workers, little)).toEqual([1]);
    // Three times the whole prompt is more than twice the queue.
    expect(always(llmD, workers, aWork({ ...talk, promptTokens: 5_121 }))).toEqual([0]);
  });

  test('prefer free memory where all else is equal', async () => {
    const workers = await aFleet({ has: [long] }, { has: [aWork({ promptTokens: 90_000 })] });
    expect(workers.map(({ waiting }) => waiting)).toEqual([0, 0]);
    expect(always(llmD, workers)).toEqual([0]);
  });
});

describe('the perfect index', () => {
  const talk = aWork({ promptTokens: 10_240, blocks: Array.from({ length: 20 }, (_, depth) => depth) });

  test('takes the worker that has the prompt cached', async () => {
    expect(always(perfectIndex, await aFleet(IDLE, IDLE, { did: [talk] }), talk)).toEqual([2]);
  });

  test('leaves it for another when more waits there than is cached', async () => {
    const workers = await aFleet({ did: [talk], has: [long] }, IDLE);
    expect(always(perfectIndex, workers, talk)).toEqual([1]);
  });

  test('counts what is cached of others’ prompts for nothing', async () => {
    // Both have been given as much; one of them has it cached.
    const workers = await aFleet({ did: [talk], has: times(2, talk) }, { has: times(2, talk) });
    expect(always(perfectIndex, workers)).toEqual([0]);
  });
});
