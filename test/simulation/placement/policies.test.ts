import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
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
import { makeFleet, makeWork } from './world.ts';

const long = makeWork({ promptTokens: 50_000 });
const short = makeWork({ promptTokens: 100 });
const IDLE = {};

/** Returns the workers that a policy chooses for the requests, without sending them. */
function chooseWorkers(factory: PolicyFactory, workers: readonly SimulatedWorker[], works: readonly Work[], seed = 1) {
  const policy = factory(workers, createSeededRandom(seed));
  return works.map((work) => policy(work).index);
}
const repeatWork = (count: number, work = makeWork()) => Array.from({ length: count }, () => work);

/** Returns the workers that a policy may choose for one request. */
function listChoices(factory: PolicyFactory, workers: readonly SimulatedWorker[], work = makeWork()): number[] {
  const seeds = Array.from({ length: 50 }, (_, seed) => seed);
  return [...new Set(seeds.flatMap((seed) => chooseWorkers(factory, workers, [work], seed)))].sort();
}

describe('round robin', () => {
  it('round robin chooses workers in turn, whatever their load', async () => {
    const workers = await makeFleet({ has: repeatWork(30) }, IDLE, IDLE);
    expect(chooseWorkers(roundRobin, workers, repeatWork(7))).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });
});

describe('random', () => {
  it('the random policy chooses all workers about equally often, whatever their load', async () => {
    const workers = await makeFleet({ has: repeatWork(30) }, IDLE, IDLE);
    const taken = chooseWorkers(random, workers, repeatWork(3_000));
    for (const index of [0, 1, 2]) {
      const share = taken.filter((each) => each === index).length / taken.length;
      expect(share).toBeGreaterThan(0.3);
      expect(share).toBeLessThan(0.37);
    }
  });
});

describe('two choices', () => {
  it('two choices never chooses the busiest worker, because the other choice is always better', async () => {
    const workers = await makeFleet({ has: repeatWork(2) }, { has: repeatWork(1) }, IDLE);
    const taken = chooseWorkers(twoChoices, workers, repeatWork(3_000));
    expect(taken).not.toContain(0);
    // Two of three pairs include the idle worker.
    expect(taken.filter((each) => each === 2).length / taken.length).toBeGreaterThan(0.63);
    expect(taken.filter((each) => each === 2).length / taken.length).toBeLessThan(0.7);
  });

  it('two choices chooses the only worker of a fleet of one', async () => {
    expect(listChoices(twoChoices, await makeFleet(IDLE))).toEqual([0]);
  });
});

describe('least connections', () => {
  it('least connections chooses the worker with the fewest requests, whatever their length', async () => {
    const workers = await makeFleet({ has: repeatWork(2, short) }, { has: [long] }, { has: repeatWork(3, short) });
    expect(listChoices(leastConnections, workers)).toEqual([1]);
  });

  it('least connections chooses any of the workers with equally few requests', async () => {
    expect(listChoices(leastConnections, await makeFleet(IDLE, { has: [short] }, IDLE))).toEqual([0, 2]);
  });
});

describe('least tokens', () => {
  it('least tokens chooses the worker with the fewest waiting prompt tokens, whatever the number of requests', async () => {
    const workers = await makeFleet({ has: repeatWork(2, short) }, { has: [long] }, { has: repeatWork(3, short) });
    expect(listChoices(leastTokens, workers)).toEqual([0]);
  });

  it('least tokens compares numbers of requests if waiting tokens are equal', async () => {
    const one = makeWork({ promptTokens: 300 });
    expect(listChoices(leastTokens, await makeFleet({ has: repeatWork(3, short) }, { has: [one] }))).toEqual([1]);
  });
});

describe('consistent hashing with bounded loads', () => {
  /** Prompts that share their first two blocks. */
  const talk = (id: number) =>
    makeWork({ promptTokens: 3_600, blocks: [0, 1, ...[2, 3, 4, 5, 6].map((at) => 10 * id + at)] });

  it('bounded hashing sends prompts with the same beginning to one worker, and different prompts to all workers', async () => {
    const workers = await makeFleet(IDLE, IDLE, IDLE, IDLE);
    for (const id of [1, 2, 3])
      expect(new Set(chooseWorkers(boundedHashing, workers, repeatWork(20, talk(id)))).size).toBe(1);
    const many = Array.from({ length: 400 }, (_, id) => talk(id + 1));
    const taken = chooseWorkers(boundedHashing, workers, many);
    for (const index of [0, 1, 2, 3]) {
      expect(taken.filter((each) => each === index).length).toBeGreaterThan(50);
      expect(taken.filter((each) => each === index).length).toBeLessThan(150);
    }
  });

  it('bounded hashing gives no worker more than 1.25 times its share', async () => {
    const workers = await makeFleet(IDLE, IDLE, IDLE, IDLE);
    const policy = boundedHashing(workers, Math.random);
    for (let given = 1; given <= 40; given += 1) {
      policy(talk(7)).submit(talk(7));
      const most = Math.max(...workers.map(({ requests }) => requests));
      expect(most).toBeLessThanOrEqual(Math.ceil((given / 4) * 1.25));
    }
    expect(workers.reduce((sum, { requests }) => sum + requests, 0)).toBe(40);
  });

  it('bounded hashing spreads short prompts, although their first block is the same', async () => {
    const workers = await makeFleet(IDLE, IDLE, IDLE, IDLE);
    const shorter = Array.from({ length: 200 }, (_, index) => makeWork({ promptTokens: 600 + index, blocks: [0] }));
    expect(new Set(chooseWorkers(boundedHashing, workers, shorter)).size).toBe(4);
    const shortest = Array.from({ length: 200 }, (_, index) => makeWork({ promptTokens: 100 + index, blocks: [] }));
    expect(new Set(chooseWorkers(boundedHashing, workers, shortest)).size).toBe(4);
  });
});

describe('llm-d’s weights', () => {
  const talk = makeWork({ promptTokens: 5_120, blocks: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });

  it('llm-d’s weights choose the worker that has cached the prompt', async () => {
    expect(listChoices(llmD, await makeFleet(IDLE, { did: [talk] }, IDLE), talk)).toEqual([1]);
  });

  it('llm-d’s weights choose a worker without a queue if little is cached elsewhere', async () => {
    const little = makeWork({ promptTokens: 5_120, blocks: [0, 1, 12, 13, 14, 15, 16, 17, 18, 19] });
    // A long prompt takes all tokens of a step, so that the next request waits.
    const workers = await makeFleet({ did: [talk], has: [long, short, short] }, { has: [long] });
    expect(workers.map(({ waiting }) => waiting)).toEqual([2, 0]);
    expect(listChoices(llmD, workers, little)).toEqual([1]);
    // Three times the prompt exceeds twice the queue.
    expect(listChoices(llmD, workers, makeWork({ ...talk, promptTokens: 5_121 }))).toEqual([0]);
  });

  it('llm-d’s weights prefer free memory if all else is equal', async () => {
    const workers = await makeFleet({ has: [long] }, { has: [makeWork({ promptTokens: 90_000 })] });
    expect(workers.map(({ waiting }) => waiting)).toEqual([0, 0]);
    expect(listChoices(llmD, workers)).toEqual([0]);
  });
});

describe('the perfect index', () => {
  const talk = makeWork({ promptTokens: 10_240, blocks: Array.from({ length: 20 }, (_, depth) => depth) });

  it('the perfect index chooses the worker that has cached the prompt', async () => {
    expect(listChoices(perfectIndex, await makeFleet(IDLE, IDLE, { did: [talk] }), talk)).toEqual([2]);
  });

  it('the perfect index chooses another worker if more tokens wait at the first than it has cached', async () => {
    const workers = await makeFleet({ did: [talk], has: [long] }, IDLE);
    expect(listChoices(perfectIndex, workers, talk)).toEqual([1]);
  });

  it('the perfect index ignores the cache of other prompts', async () => {
    // Both have the same load; one of them has cached the prompt.
    const workers = await makeFleet({ did: [talk], has: repeatWork(2, talk) }, { has: repeatWork(2, talk) });
    expect(listChoices(perfectIndex, workers)).toEqual([0]);
  });
});
