import { BLOCK_BYTES, listPrefixDepths, type PromptPrefixes } from '../../../shared/gpu/placement/prompt.ts';
import type { SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator, type SlotAllocator } from '../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../shared/gpu/registry/memory-fleet.ts';
import type { SimulatedWorker, Work } from './fleet.ts';
import { BLOCK_TOKENS } from './trace.ts';
import type { VirtualTime } from './virtual-time.ts';

/** Bytes per token that `PLACEMENT` assumes at first; traces have no bytes. */
const BYTES_PER_TOKEN = 4;
/** Directory blocks in one block of a trace. Content within a trace's block is unknown. */
const BLOCKS_PER_TRACE_BLOCK = (BLOCK_TOKENS * BYTES_PER_TOKEN) / BLOCK_BYTES;

export const FLEET = 'simulated';
export const MODEL = 'simulated';

/** Latency of a request to the table: half on the way there, half on the way back. */
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

/** Lambent's leasing and placement, on virtual time, with a table in memory that answers with latency. */
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

/** Returns a prompt's prefixes, as far as a trace's blocks show them. */
export function toPrefixes({ blocks, promptTokens }: Pick<Work, 'blocks' | 'promptTokens'>): PromptPrefixes {
  const prefixes = listPrefixDepths(blocks.length * BLOCKS_PER_TRACE_BLOCK).flatMap((depth) => {
    const hash = blocks[depth / BLOCKS_PER_TRACE_BLOCK - 1];
    return hash === undefined ? [] : [{ bytes: depth * BLOCK_BYTES, hash: String(hash) }];
  });
  return { bytes: promptTokens * BYTES_PER_TOKEN, prefixes };
}

function addLatency(store: FleetStore, time: VirtualTime, random: () => number, latency: TableLatency): FleetStore {
  async function delay<Result>(ask: () => Promise<Result>): Promise<Result> {
    const ms = latency.leastMs + (latency.mostMs - latency.leastMs) * random();
    await time.sleep(ms / 2);
    const result = await ask();
    await time.sleep(ms / 2);
    return result;
  }
  return {
    read: (...ask) => delay(() => store.read(...ask)),
    findHolders: (...ask) => delay(() => store.findHolders(...ask)),
    recordHolders: (...ask) => delay(() => store.recordHolders(...ask)),
    lease: (...ask) => delay(() => store.lease(...ask)),
    markFirstToken: (...ask) => delay(() => store.markFirstToken(...ask)),
    renew: (...ask) => delay(() => store.renew(...ask)),
    release: (...ask) => delay(() => store.release(...ask)),
    putWaiter: (...ask) => delay(() => store.putWaiter(...ask)),
    removeWaiter: (...ask) => delay(() => store.removeWaiter(...ask)),
    recordUnmetDemand: (...ask) => delay(() => store.recordUnmetDemand(...ask)),
    register: (...ask) => delay(() => store.register(...ask)),
    setState: (...ask) => delay(() => store.setState(...ask)),
    deregister: (...ask) => delay(() => store.deregister(...ask)),
  };
}
