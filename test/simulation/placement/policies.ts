import { PLACEMENT_SETTINGS } from '../../../shared/gpu/placement/settings.ts';
import type { SimulatedWorker, Work } from './fleet.ts';

/** Chooses a worker, with knowledge of the fleet that is exact at that moment and took no time to come by. */
export type Policy = (work: Work) => SimulatedWorker;

/** Makes a policy for a fleet. `random` gives 0 up to 1. */
export type PolicyFactory = (workers: readonly SimulatedWorker[], random: () => number) => Policy;

/**
 * Where consistent hashing puts a worker's points, and how much more than its share one may hold: KubeAI's defaults.
 * @see https://www.kubeai.org/reference/kubernetes-api/#prefixhash
 */
const HASHING = { points: 256, loadFactor: 1.25 };

/**
 * Blocks that it hashes. The conversation trace's first block is the same in all prompts, and applications share some more; of 2, 3, 4,
 * 6, 8, 12 and 16 blocks, 6 give it the largest capacity.
 */
export const HASHED_BLOCKS = 6;

/**
 * The weights with which llm-d's router begins when it is told none (`loadDefaultConfig`).
 * @see https://github.com/llm-d/llm-d-router
 */
const LLM_D = { prefixCache: 3, memoryUse: 2, queue: 2 };

/** What is chosen when nothing else tells workers apart: the first one in a list that begins anywhere. */
function leastOf(
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
    const its = cost(worker);
    if (best === undefined || its < least) [best, least] = [worker, its];
  }
  if (best === undefined) throw new RangeError('the fleet has no workers');
  return best;
}

/** Whoever is next. */
export const roundRobin: PolicyFactory = (workers) => {
  let next = 0;
  return () => at(workers, next++);
};

/** Anyone. */
export const random: PolicyFactory = (workers, random) => () => at(workers, Math.floor(random() * workers.length));

/** Of two different ones taken at random, the one with fewer requests. */
export const twoChoices: PolicyFactory = (workers, random) => () => {
  const first = Math.floor(random() * workers.length);
  const further = 1 + Math.floor(random() * (workers.length - 1));
  const [one, other] = [at(workers, first), at(workers, first + further)];
  return other.requests < one.requests ? other : one;
};

/** The fewest requests. */
export const leastConnections: PolicyFactory = (workers, random) => () =>
  leastOf(workers, random, ({ requests }) => requests);

/** The fewest prompt tokens of requests that have no token yet; of equal ones, the fewest requests. */
export const leastTokens: PolicyFactory = (workers, random) => () =>
  leastOf(workers, random, ({ promptTokens, requests }) => promptTokens + requests / 1024);

/**
 * By the hash of the prompt's beginning, to the next worker on a ring that has room: none takes more than 1.25 times its
 * share of the requests.
 * @see https://arxiv.org/abs/1608.01350
 */
export const boundedHashing: PolicyFactory = (workers) => {
  const ring = workers
    .flatMap((worker) =>
      Array.from({ length: HASHING.points }, (_, point) => ({ at: mix(worker.index, point), worker })),
    )
    .sort((a, b) => a.at - b.at);
  return ({ blocks, promptTokens }) => {
    const requests = workers.reduce((sum, worker) => sum + worker.requests, 1);
    const limit = Math.ceil((requests / workers.length) * HASHING.loadFactor);
    // A prompt that is shorter is hashed to its end, which the trace has no name for; its length must do.
    const key = mix(blocks[HASHED_BLOCKS - 1] ?? -promptTokens, blocks[0] ?? 0);
    const start = ring.findIndex((point) => point.at >= key);
    for (let offset = 0; offset < ring.length; offset++) {
      const worker = ring[(Math.max(0, start) + offset) % ring.length]?.worker;
      if (worker !== undefined && worker.requests < limit) return worker;
    }
    throw new RangeError('the fleet has no workers');
  };
};

/**
 * The highest sum of weighed scores, each 0 to 1: the share of the prompt that is cached, free memory, and waiting requests
 * against the shortest and the longest queue. The index is exact and the metrics are of that moment; llm-d scrapes them.
 */
export const llmD: PolicyFactory = (workers, random) => (work) => {
  const queues = workers.map(({ waiting }) => waiting);
  const [shortest, longest] = [Math.min(...queues), Math.max(...queues)];
  return leastOf(workers, random, (worker) => {
    const queueScore = longest === shortest ? 1 : (longest - worker.waiting) / (longest - shortest);
    return -(
      LLM_D.prefixCache * (worker.cachedTokens(work) / work.promptTokens) +
      LLM_D.memoryUse * (1 - worker.memoryUse) +
      LLM_D.queue * queueScore
    );
  });
};

/** Lambent's formula, on what the workers' caches and queues really hold. */
export const perfectIndex: PolicyFactory = (workers, random) => (work) =>
  leastOf(
    workers,
    random,
    (worker) =>
      worker.uncomputedTokens +
      PLACEMENT_SETTINGS.uncachedWeight * (work.promptTokens - worker.cachedTokens(work)) +
      PLACEMENT_SETTINGS.tokensPerLease * worker.requests,
  );

function at(workers: readonly SimulatedWorker[], index: number): SimulatedWorker {
  const worker = workers[index % workers.length];
  if (worker === undefined) throw new RangeError('the fleet has no workers');
  return worker;
}

/** Spreads two whole numbers over 32 bits (the finaliser of MurmurHash3). */
function mix(a: number, b: number): number {
  let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
