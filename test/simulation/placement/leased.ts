import { BLOCK_BYTES, listPrefixDepths, type PromptPrefixes } from '../../../shared/gpu/placement/prompt.ts';
import type { SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator, type SlotAllocator } from '../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../shared/gpu/registry/memory-fleet.ts';
import type { VirtualTime } from '../virtual-time.ts';
import type { SimulatedWorker, Work } from './fleet.ts';
import { BLOCK_TOKENS } from './trace.ts';

/** Assumed bytes per token, because traces contain tokens and no bytes. */
const BYTES_PER_TOKEN = 4;
/** Directory blocks in one block of a trace. A trace does not show the content within its blocks. */
const BLOCKS_PER_TRACE_BLOCK = (BLOCK_TOKENS * BYTES_PER_TOKEN) / BLOCK_BYTES;

export const FLEET = 'simulated';
export const MODEL = 'simulated';

/** Latency of a request to the table: half before it takes effect, half after. */
export interface TableLatency {
  readonly leastMs: number;
  readonly mostMs: number;
}

export interface LeasedOptions {
  readonly workers: readonly SimulatedWorker[];
  readonly time: VirtualTime;
  /** 0 up to 1. */
  readonly random: () => number;
  readonly latency: TableLatency;
  readonly settings: SlotSettings;
  /** Slots of each worker. */
  readonly slots: number;
}

/** Starts Lambent's leasing and placement on virtual time, with an in-memory table that responds with latency. */
export async function leaseSlots({
  workers,
  time,
  random,
  latency,
  settings,
  slots,
}: LeasedOptions): Promise<SlotAllocator> {
  const store = createMemoryFleetStore(time.now);
  for (const { index } of workers) {
    await store.register({
      fleet: FLEET,
      id: toWorkerId(index),
      url: `http://${toWorkerId(index)}`,
      bootId: 'first',
      state: 'ready',
      slots,
      models: [MODEL],
      source: 'static',
      seenAt: 0,
    });
  }
  let ids = 0;
  return createSlotAllocator(
    {
      store: addLatency(store, time, random, latency),
      now: time.now,
      random,
      sleep: (ms, signal) => time.sleep(ms, signal),
      newId: () => String(ids++),
    },
    settings,
  );
}

function toWorkerId(index: number): string {
  return `worker-${index}`;
}

/** Returns the index of a worker in the fleet. */
export function toWorkerIndex(id: string): number {
  return Number(id.slice('worker-'.length));
}

/** Returns a prompt's prefixes that end with a block of the trace. */
export function toPrefixes({ blocks, promptTokens }: Pick<Work, 'blocks' | 'promptTokens'>): PromptPrefixes {
  const prefixes = listPrefixDepths(blocks.length * BLOCKS_PER_TRACE_BLOCK).flatMap((depth) => {
    const hash = blocks[depth / BLOCKS_PER_TRACE_BLOCK - 1];
    return hash === undefined ? [] : [{ bytes: depth * BLOCK_BYTES, hash: String(hash) }];
  });
  return { bytes: promptTokens * BYTES_PER_TOKEN, prefixes };
}

function addLatency(store: FleetStore, time: VirtualTime, random: () => number, latency: TableLatency): FleetStore {
  async function delay<Result>(request: () => Promise<Result>): Promise<Result> {
    const ms = latency.leastMs + (latency.mostMs - latency.leastMs) * random();
    await time.sleep(ms / 2);
    const result = await request();
    await time.sleep(ms / 2);
    return result;
  }
  return {
    read: (...args) => delay(() => store.read(...args)),
    findHolders: (...args) => delay(() => store.findHolders(...args)),
    recordHolders: (...args) => delay(() => store.recordHolders(...args)),
    lease: (...args) => delay(() => store.lease(...args)),
    markFirstToken: (...args) => delay(() => store.markFirstToken(...args)),
    renew: (...args) => delay(() => store.renew(...args)),
    release: (...args) => delay(() => store.release(...args)),
    putWaiter: (...args) => delay(() => store.putWaiter(...args)),
    removeWaiter: (...args) => delay(() => store.removeWaiter(...args)),
    recordUnmetDemand: (...args) => delay(() => store.recordUnmetDemand(...args)),
    register: (...args) => delay(() => store.register(...args)),
    setState: (...args) => delay(() => store.setState(...args)),
    deregister: (...args) => delay(() => store.deregister(...args)),
  };
}
