import { createSeededRandom } from '../../../local/faults/random.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import type { SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import type { Slot } from '../../../shared/gpu/placement/slot.ts';
import type { SlotAllocator } from '../../../shared/gpu/placement/slot-allocator.ts';
import { EXPECTED_OUTPUT_TOKENS } from '../../../shared/gpu/placement/weight.ts';
import type { Tier } from '../../../shared/gpu/registry/worker.ts';
import { createVirtualTime, type VirtualTime } from '../virtual-time.ts';
import { createFleet, type EngineSettings, type SimulatedWorker, type Work } from './fleet.ts';
import { FLEET, leaseSlots, MODEL, type TableLatency, toPrefixes, toWorkerIndex } from './leased.ts';
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
import { BLOCK_TOKENS } from './trace.ts';
import type { Arrival } from './workload.ts';

/** Policies with exact, instant knowledge of the fleet. */
const OMNISCIENT = {
  'round-robin': roundRobin,
  random,
  'two-choices': twoChoices,
  'least-connections': leastConnections,
  'least-tokens': leastTokens,
  'bounded-hashing': boundedHashing,
  'llm-d': llmD,
  'perfect-index': perfectIndex,
} as const satisfies Readonly<Record<string, PolicyFactory>>;

/** Mean milliseconds until a dispatcher asks again after it got no slot. */
const RETRY_MS = 2_000;

/** No client disconnects. */
const NEVER = new AbortController().signal;

export type PolicyName = keyof typeof OMNISCIENT | 'lambent';
export const POLICIES: readonly PolicyName[] = [
  'round-robin',
  'random',
  'two-choices',
  'least-connections',
  'least-tokens',
  'bounded-hashing',
  'llm-d',
  'lambent',
  'perfect-index',
];

/** Bulk work, such as jobs. */
export interface BulkLoad {
  /** Number of concurrent dispatchers, each with one request at a time. */
  readonly dispatchers: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** True if engines schedule it after all other work. */
  readonly yields: boolean;
}

export interface SimulationOptions {
  /** In order of time. Each must fit into an engine's memory. */
  readonly arrivals: readonly Arrival[];
  readonly workers: number;
  readonly engine: EngineSettings;
  readonly policy: PolicyName;
  readonly seed: number;
  /** Slots of each worker. This and the following options apply to the policy `lambent` only. */
  readonly slots: number;
  readonly latency: TableLatency;
  readonly settings: SlotSettings;
  /** Bulk work until the last arrival. */
  readonly bulk?: BulkLoad;
}

/** Results per request, in order of arrival. NaN for refused requests. */
export interface Outcome {
  /** Milliseconds from arrival to the first token. */
  readonly firstTokenMs: Float64Array;
  /** Milliseconds from arrival to the last token. */
  readonly endMs: Float64Array;
  /** Prompt tokens found in a cache. */
  readonly cachedTokens: Float64Array;
  readonly refused: number;
  /** Milliseconds that each worker computed, and the duration of the run. */
  readonly busyMs: readonly number[];
  readonly spanMs: number;
  /** Tokens recomputed because an engine ran out of memory. */
  readonly recomputedTokens: number;
  /** Tokens of finished bulk work, prompts and answers. */
  readonly bulkTokens: number;
}

/** Results so far, as in `Outcome`. */
interface Notes extends Pick<Outcome, 'firstTokenMs' | 'endMs' | 'cachedTokens'> {
  refused: number;
  bulkTokens: number;
}

interface Scene {
  readonly time: VirtualTime;
  readonly workers: readonly SimulatedWorker[];
  readonly notes: Notes;
}

/** A request without callbacks. */
type PlainWork = Omit<Work, 'onFirstToken' | 'onEnd'>;

/** Sends an arriving request to a worker, now or later. */
type Serve = (index: number, arrival: Arrival) => void | Promise<void>;

/** Simulates requests to a fleet and returns their outcome. The same options give the same outcome. */
export async function simulate(options: SimulationOptions): Promise<Outcome> {
  const { arrivals, policy } = options;
  const time = createVirtualTime();
  const workers = createFleet(options.workers, time, options.engine);
  const createColumn = () => new Float64Array(arrivals.length).fill(Number.NaN);
  const notes: Notes = {
    firstTokenMs: createColumn(),
    endMs: createColumn(),
    cachedTokens: createColumn(),
    refused: 0,
    bulkTokens: 0,
  };
  const scene = { time, workers, notes };
  const serve =
    policy === 'lambent' ? await serveByLeases(scene, options) : serveAtOnce(scene, OMNISCIENT[policy], options.seed);
  for (const [index, arrival] of arrivals.entries()) time.at(arrival.atMs, () => serve(index, arrival));
  await time.run();
  return {
    ...notes,
    busyMs: workers.map(({ totals }) => totals.busyMs),
    spanMs: time.now(),
    recomputedTokens: workers.reduce((sum, { totals }) => sum + totals.recomputedTokens, 0),
  };
}

/** Returns work that records its times, marks its slot's first token, and releases the slot at its end. */
function recordTimes({ time, notes }: Scene, index: number, arrival: Arrival, slot?: Slot): Work {
  const { atMs, inputTokens, outputTokens, blocks } = arrival;
  return {
    promptTokens: inputTokens,
    outputTokens,
    blocks,
    onFirstToken(cached) {
      notes.firstTokenMs[index] = time.now() - atMs;
      notes.cachedTokens[index] = cached;
      slot?.markFirstToken();
    },
    onEnd() {
      notes.endMs[index] = time.now() - atMs;
      slot?.release();
      time.settled();
    },
  };
}

/** Returns a function that submits each request at once to the worker that an omniscient policy chooses. */
function serveAtOnce(scene: Scene, factory: PolicyFactory, seed: number): Serve {
  const policy = factory(scene.workers, createSeededRandom(seed));
  return (index, arrival) => {
    const work = recordTimes(scene, index, arrival);
    policy(work).submit(work);
  };
}

/** Returns a function that submits each request once it has leased a slot, and starts the bulk work. */
async function serveByLeases(
  scene: Scene,
  { arrivals, seed, slots: slotsOfEach, latency, settings, bulk }: SimulationOptions,
): Promise<Serve> {
  const { time, workers, notes } = scene;
  const random = createSeededRandom(seed);
  const slots = await leaseSlots({ workers, time, random, latency, settings, slots: slotsOfEach });
  if (bulk !== undefined) {
    const untilMs = arrivals.at(-1)?.atMs ?? 0;
    const documents = createDocuments(bulk);
    for (let each = 0; each < bulk.dispatchers; each++)
      time.at(0, () => dispatch(scene, slots, documents, untilMs, random));
  }
  return async (index, arrival) => {
    const { inputTokens: promptTokens, outputTokens, blocks } = arrival;
    const slot = await acquire(slots, 'interactive', { promptTokens, outputTokens, blocks });
    if (slot === undefined) notes.refused += 1;
    else findWorker(workers, slot).submit(recordTimes(scene, index, arrival, slot));
  };
}

/**
 * Returns a source of distinct documents. They are cached like all prompts and evict prefixes that chat would have
 * reused.
 */
function createDocuments({ inputTokens, outputTokens, yields }: BulkLoad): () => PlainWork {
  // Negative ids, because traces use ids from 0 on.
  let block = 0;
  return () => ({
    promptTokens: inputTokens,
    outputTokens,
    blocks: Array.from({ length: Math.floor(inputTokens / BLOCK_TOKENS) }, () => --block),
    priority: yields ? 1 : 0,
  });
}

/** Runs bulk requests one after another until `untilMs`. */
async function dispatch(
  { time, workers, notes }: Scene,
  slots: SlotAllocator,
  nextDocument: () => PlainWork,
  untilMs: number,
  random: () => number,
): Promise<void> {
  let document = nextDocument();
  while (time.now() < untilMs) {
    const slot = await acquire(slots, 'batch', document);
    if (slot === undefined) {
      await time.sleep(RETRY_MS * (0.5 + random()));
      continue;
    }
    await waitUntilDone(findWorker(workers, slot), document, slot, time);
    if (time.now() <= untilMs) notes.bulkTokens += document.promptTokens + document.outputTokens;
    await slot.release();
    document = nextDocument();
  }
}

function waitUntilDone(worker: SimulatedWorker, work: PlainWork, slot: Slot, time: VirtualTime): Promise<void> {
  return new Promise((resolve) => {
    const onEnd = () => {
      resolve();
      time.settled();
    };
    worker.submit({ ...work, onFirstToken: () => slot.markFirstToken(), onEnd });
  });
}

/**
 * Acquires a slot. Returns undefined if no slot became free in time. The answer's length is not used, because it is
 * unknown in production.
 */
async function acquire(slots: SlotAllocator, tier: Tier, work: PlainWork): Promise<Slot | undefined> {
  const request = { fleet: FLEET, model: MODEL, tier, tenant: tier, prompt: toPrefixes(work) };
  try {
    return await slots.acquire({ ...request, expectedOutputTokens: EXPECTED_OUTPUT_TOKENS }, NEVER);
  } catch (thrown) {
    if (thrown instanceof LambentError && thrown.code === 'overloaded') return undefined;
    throw thrown;
  }
}

function findWorker(workers: readonly SimulatedWorker[], { worker: { id } }: Slot): SimulatedWorker {
  const worker = workers[toWorkerIndex(id)];
  if (worker === undefined) throw new RangeError(`there is no worker ${id}`);
  return worker;
}
