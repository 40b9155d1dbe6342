import { BLOCK_BYTES, listPrefixDepths, type PromptPrefixes } from '../../../shared/gpu/placement/prompt.ts';
import type { SlotSettings } from '../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator, type SlotAllocator } from '../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../shared/gpu/registry/memory-fleet.ts';
import type { SimulatedWorker, Work } from './fleet.ts';
import { BLOCK_TOKENS } from './trace.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What `PLACEMENT` takes for a token until it has learnt better; the traces say nothing of bytes. */
const BYTES_PER_TOKEN = 4;
/** Blocks of the directory in one of a trace: where a prefix ends within a trace's block, what it holds isn't known. */
const BLOCKS_PER_TRACE_BLOCK = (BLOCK_TOKENS * BYTES_PER_TOKEN) / BLOCK_BYTES;

export const FLEET = 'simulated';
export const MODEL = 'simulated';

/** How long a request to the table takes, from and to: half of it on the way there, half on the way back. */
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
  /** Of each worker. */
  readonly slots: number;
}

/** Lambent's own leasing and placement, on virtual time and a table in memory that takes its time to answer. */
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
      id: workerId(index),
      url: `http://${workerId(index)}`,
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
      store: slowed(store, time, random, latency),
      now: time.now,
      random,
      sleep: (ms, signal) => time.sleep(ms, signal),
      newId: () => String(ids++),
    },
    settings,
  );
}

function workerId(index: number): string {
  return `worker-${index}`;
}

/** The place in the fleet of the worker with this id. */
export function workerIndex(id: string): number {
  return Number(id.slice('worker-'.length));
}

/** A prompt's prefixes, as far as a trace's blocks tell them. */
export function prefixesOf({ blocks, promptTokens }: Pick<Work, 'blocks' | 'promptTokens'>): PromptPrefixes {
  const prefixes = listPrefixDepths(blocks.length * BLOCKS_PER_TRACE_BLOCK).flatMap((depth) => {
    const hash = blocks[depth / BLOCKS_PER_TRACE_BLOCK - 1];
    return hash === undefined ? [] : [{ bytes: depth * BLOCK_BYTES, hash: String(hash) }];
  });
  return { bytes: promptTokens * BYTES_PER_TOKEN, prefixes };
}

function slowed(store: FleetStore, time: VirtualTime, random: () => number, latency: TableLatency): FleetStore {
  async function slowly<Result>(ask: () => Promise<Result>): Promise<Result> {
    const ms = latency.leastMs + (latency.mostMs - latency.leastMs) * random();
    await time.sleep(ms / 2);
    const result = await ask();
    await time.sleep(ms / 2);
    return result;
  }
  return {
    read: (...ask) => slowly(() => store.read(...ask)),
    findHolders: (...ask) => slowly(() => store.findHolders(...ask)),
    recordHolders: (...ask) => slowly(() => store.recordHolders(...ask)),
    lease: (...ask) => slowly(() => store.lease(...ask)),
    markFirstToken: (...ask) => slowly(() => store.markFirstToken(...ask)),
    renew: (...ask) => slowly(() => store.renew(...ask)),
    release: (...ask) => slowly(() => store.release(...ask)),
    putWaiter: (...ask) => slowly(() => store.putWaiter(...ask)),
    removeWaiter: (...ask) => slowly(() => store.removeWaiter(...ask)),
    recordUnmetDemand: (...ask) => slowly(() => store.recordUnmetDemand(...ask)),
    register: (...ask) => slowly(() => store.register(...ask)),
    setState: (...ask) => slowly(() => store.setState(...ask)),
    deregister: (...ask) => slowly(() => store.deregister(...ask)),
  };
}
