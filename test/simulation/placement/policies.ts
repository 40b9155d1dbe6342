import { PLACEMENT_SETTINGS } from '../../../shared/gpu/placement/settings.ts';
import type { SimulatedWorker, Work } from './fleet.ts';

/** Returns the worker for a request, chosen with exact and instant knowledge of the fleet. */
export type Policy = (work: Work) => SimulatedWorker;

/** Creates a policy for a fleet. `random` returns numbers from 0 up to 1. */
export type PolicyFactory = (workers: readonly SimulatedWorker[], random: () => number) => Policy;

/**
 * Points per worker on the hash ring, and the maximum of a worker's requests relative to its share: KubeAI's defaults.
 * @see https://www.kubeai.org/reference/kubernetes-api/#prefixhash
 */
const HASHING = { points: 256, loadFactor: 1.25 };

/**
 * Number of hashed blocks. In the conversation trace all prompts share the first block, and applications share some
 * more. Of 2, 3, 4, 6, 8, 12 and 16 blocks, 6 give the largest capacity.
 */
export const HASHED_BLOCKS = 6;

/**
 * The default weights of llm-d's router (`loadDefaultConfig`).
 * @see https://github.com/llm-d/llm-d-router
 */
const LLM_D = { prefixCache: 3, memoryUse: 2, queue: 2 };

/** Returns the worker with the lowest cost. Of equal workers, returns the first after a random position. */
function findLeast(
  workers: readonly SimulatedWorker[],
  random: () => number,
  cost: (worker: SimulatedWorker) => number,
): SimulatedWorker {
  const start = Math.floor(random() * workers.length);
  let best: SimulatedWorker | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let offset = 0; offset < workers.length; offset++) {
    const worker = workers[(start + offset) % workers.length];
    if (worker === undefined) continue;
    const value = cost(worker);
    if (best === undefined || value < least) [best, least] = [worker, value];
  }
  if (best === undefined) throw new RangeError('the fleet has no workers');
  return best;
}

/** Chooses the workers in turn. */
export const roundRobin: PolicyFactory = (workers) => {
  let next = 0;
  return () => getWorker(workers, next++);
};

/** Chooses a random worker. */
export const random: PolicyFactory = (workers, random) => () =>
  getWorker(workers, Math.floor(random() * workers.length));

/** Chooses the one of two random workers with fewer requests. */
export const twoChoices: PolicyFactory = (workers, random) => () => {
  const first = Math.floor(random() * workers.length);
  const further = 1 + Math.floor(random() * (workers.length - 1));
  const [one, other] = [getWorker(workers, first), getWorker(workers, first + further)];
  return other.requests < one.requests ? other : one;
};

/** Chooses the worker with the fewest requests. */
export const leastConnections: PolicyFactory = (workers, random) => () =>
  findLeast(workers, random, ({ requests }) => requests);

/** Chooses the worker whose requests without a token have the fewest prompt tokens; if equal, the fewest requests. */
export const leastTokens: PolicyFactory = (workers, random) => () =>
  findLeast(workers, random, ({ promptTokens, requests }) => promptTokens + requests / 1024);

/**
 * Consistent hashing with bounded loads: hashes the prompt's beginning and chooses the next worker on the ring that is
 * below its limit. No worker gets more than 1.25 times its share of the requests.
 * @see https://arxiv.org/abs/1608.01350
 */
export const boundedHashing: PolicyFactory = (workers) => {
  const ring = workers
    .flatMap((worker) =>
      Array.from({ length: HASHING.points }, (_, point) => ({ at: hashPair(worker.index, point), worker })),
    )
    .sort((a, b) => a.at - b.at);
  return ({ blocks, promptTokens }) => {
    const requests = workers.reduce((sum, worker) => sum + worker.requests, 1);
    const limit = Math.ceil((requests / workers.length) * HASHING.loadFactor);
    // A shorter prompt is hashed by its length, because the trace has no id for its end.
    const key = hashPair(blocks[HASHED_BLOCKS - 1] ?? -promptTokens, blocks[0] ?? 0);
    const start = ring.findIndex((point) => point.at >= key);
    for (let offset = 0; offset < ring.length; offset++) {
      const worker = ring[(Math.max(0, start) + offset) % ring.length]?.worker;
      if (worker !== undefined && worker.requests < limit) return worker;
    }
    throw new RangeError('the fleet has no workers');
  };
};

/**
 * Chooses the worker with the highest weighted sum of scores from 0 to 1: the cached share of the prompt, free memory,
 * and the queue length relative to the shortest and longest queue. Index and metrics are exact and current here; llm-d
 * scrapes them.
 */
export const llmD: PolicyFactory = (workers, random) => (work) => {
  const queues = workers.map(({ waiting }) => waiting);
  const [shortest, longest] = [Math.min(...queues), Math.max(...queues)];
  return findLeast(workers, random, (worker) => {
    const queueScore = longest === shortest ? 1 : (longest - worker.waiting) / (longest - shortest);
    return -(
      LLM_D.prefixCache * (worker.cachedTokens(work) / work.promptTokens) +
      LLM_D.memoryUse * (1 - worker.memoryUse) +
      LLM_D.queue * queueScore
    );
  });
};

/** Applies Lambent's score to the actual content of the workers' caches and queues. */
export const perfectIndex: PolicyFactory = (workers, random) => (work) =>
  findLeast(
    workers,
    random,
    (worker) =>
      worker.uncomputedTokens +
      PLACEMENT_SETTINGS.uncachedWeight * (work.promptTokens - worker.cachedTokens(work)) +
      PLACEMENT_SETTINGS.tokensPerLease * worker.requests,
  );

function getWorker(workers: readonly SimulatedWorker[], index: number): SimulatedWorker {
  const worker = workers[index % workers.length];
  if (worker === undefined) throw new RangeError('the fleet has no workers');
  return worker;
}

/** Hashes two integers to 32 bits (the finaliser of MurmurHash3). */
function hashPair(a: number, b: number): number {
  let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
