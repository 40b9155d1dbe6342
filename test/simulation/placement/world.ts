import { STEP_MODELS } from '../../../local/engine/step-model.ts';
import { SLOT_SETTINGS } from '../../../shared/gpu/placement/settings.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createFleet, type EngineSettings, type SimulatedWorker, type Work } from './fleet.ts';
import type { Outcome, SimulationOptions } from './simulate.ts';
import type { Arrival } from './workload.ts';

export const ENGINE: EngineSettings = { model: STEP_MODELS.h100, stepTokens: 2_048, maxSequences: 256 };

/** Makes work without callbacks. */
export function makeWork(changes: Partial<Work> = {}): Work {
  return { promptTokens: 1_024, outputTokens: 10, blocks: [], onFirstToken() {}, onEnd() {}, ...changes };
}

/** Makes a request whose prompt is exactly its blocks, with `changes`. */
export function makeArrival(atMs: number, changes: Partial<Arrival> = {}): Arrival {
  const { blocks = [] } = changes;
  return { atMs, inputTokens: 512 * blocks.length + 100, outputTokens: 20, blocks, ...changes };
}

/** Creates workers on virtual time. Each has finished `did` and still has the work in `has`. */
export async function makeFleet(
  ...each: readonly { readonly did?: readonly Work[]; readonly has?: readonly Work[] }[]
): Promise<SimulatedWorker[]> {
  const time = createVirtualTime();
  const workers = createFleet(each.length, time, ENGINE);
  for (const [index, { did = [] }] of each.entries()) for (const work of did) workers[index]?.submit(work);
  await time.run();
  for (const [index, { has = [] }] of each.entries()) for (const work of has) workers[index]?.submit(work);
  return workers;
}

/** Makes options for eight requests per second for half a minute on two H100, with `changes`. */
export function makeOptions(changes: Partial<SimulationOptions> = {}): SimulationOptions {
  return {
    arrivals: makeConversations(240, 125),
    workers: 2,
    engine: ENGINE,
    policy: 'lambent',
    seed: 1,
    slots: 64,
    latency: { leastMs: 4, mostMs: 8 },
    settings: SLOT_SETTINGS,
    ...changes,
  };
}

/** Makes requests of 20 conversations in turn, at a fixed interval. Each turn continues its conversation's prompt. */
export function makeConversations(count: number, everyMs: number): Arrival[] {
  return Array.from({ length: count }, (_, index) => {
    const [talk, turn] = [index % 20, Math.floor(index / 20)];
    const blocks = Array.from({ length: 6 + 2 * turn }, (_, depth) => 1_000 * talk + depth);
    return makeArrival(index * everyMs, { blocks });
  });
}

/** Returns the share of prompt tokens that were found in a cache. */
export function computeHitRate(arrivals: readonly Arrival[], { cachedTokens }: Outcome): number {
  const prompts = arrivals.reduce((sum, { inputTokens }) => sum + inputTokens, 0);
  return cachedTokens.reduce((sum, tokens) => sum + (Number.isNaN(tokens) ? 0 : tokens), 0) / prompts;
}
