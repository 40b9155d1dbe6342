import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Telemetry } from '../../../../../shared/core/telemetry.ts';
import { SLOT_SETTINGS } from '../../../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../../../../shared/gpu/placement/slot-allocator.ts';
import { createDynamoDBFleetStore } from '../../../../../shared/gpu/registry/dynamodb-fleet.ts';
import type { Tier, Worker } from '../../../../../shared/gpu/registry/worker.ts';
import type { GenerationEvent, GenerationRequest } from '../../../../../shared/inference/generation.ts';
import type { Model } from '../../../../../shared/inference/model.ts';
import { createGpuModel, type GpuOptions } from '../../../../../shared/inference/providers/gpu/gpu.ts';
import { type GpuWorker, startGpuWorker } from '../../../../upstreams/gpu-worker.ts';
import { createWorker, FLEET, type FleetTables, MODEL } from '../../../gpu/fleets.ts';
import { makeRequest } from '../../requests.ts';

/** Milliseconds without a token after which a worker counts as hung in these tests. Long enough for a busy machine. */
export const STALL_MS = 1_000;
const HEARTBEAT_MS = 200;
export const TARGET = { provider: 'gpu', model: MODEL, fleet: FLEET, weight: 1 } as const;

/** A fleet of workers that speak HTTP (`w1`, `w2`…), registered in a table of the DynamoDB stand-in. */
export interface GpuFleet extends AsyncDisposable {
  readonly workers: readonly GpuWorker[];
  readonly table: ReturnType<typeof createDynamoDBFleetStore>;
  readonly options: GpuOptions;
  model(tier?: Tier, fleet?: Partial<GpuOptions['fleet']>): Model;
  worker(id: string): Promise<Worker | undefined>;
  /** Returns the worker's id for each lease. */
  leases(): Promise<string[]>;
  states(): Promise<string[]>;
  /** Registers a worker again with changes, for example another boot id. */
  register(id: string, changes: Partial<Worker>): Promise<void>;
}

/** Starts `size` workers and registers them. `description` changes each registration. */
export async function startGpuFleet(
  tables: FleetTables,
  size: number,
  description: Partial<Worker> = {},
): Promise<GpuFleet> {
  const table = createDynamoDBFleetStore(tables.client, { tableName: await tables.newTable() });
  const workers = await Promise.all(Array.from({ length: size }, () => startGpuWorker()));
  const register = async (id: string, changes: Partial<Worker>): Promise<void> => {
    const url = workers[Number(id.slice(1)) - 1]?.url ?? '';
    const { leases: _, ...worker } = createWorker({ id, url, ...description, ...changes });
    await table.register(worker);
  };
  for (const index of workers.keys()) await register(`w${index + 1}`, {});
  const slots = createSlotAllocator(
    {
      store: table,
      now: Date.now,
      // Constant, so that workers with equal scores are chosen in their order.
      random: () => 0.5,
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
      newId: () => `lease-${Math.random().toString(36).slice(2)}`,
    },
    {
      ...SLOT_SETTINGS,
      fleets: { [FLEET]: { reserve: 0.25, waitMs: 2_000 } },
      heartbeatMs: HEARTBEAT_MS,
      leaseMs: 20 * HEARTBEAT_MS,
      batchWaitMs: 100,
    },
  );
  const options: GpuOptions = {
    fleet: { engine: 'vllm', apiKey: undefined, stallMs: STALL_MS },
    tier: 'interactive',
    slots,
    maxOutputTokens: 1_000,
    secret: async () => '',
  };
  const view = async () => (await table.read(FLEET)).workers;
  return {
    workers,
    table,
    options,
    register,
    model: (tier = 'interactive', fleet = {}) =>
      createGpuModel(TARGET, { ...options, tier, fleet: { ...options.fleet, ...fleet } }),
    worker: async (id) => (await view()).find((worker) => worker.id === id),
    leases: async () => (await view()).flatMap(({ id, leases }) => Object.keys(leases).map(() => id)),
    states: async () => (await view()).map(({ state }) => state),
    async [Symbol.asyncDispose]() {
      for (const worker of workers) await worker[Symbol.asyncDispose]();
    },
  };
}

export interface GenerateOptions {
  readonly streamed?: boolean;
  readonly signal?: AbortSignal;
  readonly request?: Partial<GenerationRequest>;
  readonly telemetry?: Telemetry;
  /** Called with each event. */
  readonly onEvent?: (event: GenerationEvent, index: number) => unknown;
}

/** Generates an answer. Returns its text, and the error if it failed after that text. */
export async function generate(
  model: Model,
  options: GenerateOptions = {},
): Promise<{ text: string; error?: unknown }> {
  const { streamed = true, signal = new AbortController().signal, request = {}, onEvent, telemetry } = options;
  let text = '';
  let index = 0;
  try {
    for await (const event of model.generate(makeRequest(request), { signal, streamed, telemetry })) {
      if (event.type === 'text') text += event.text;
      await onEvent?.(event, index);
      index += 1;
    }
    return { text };
  } catch (error) {
    return { text, error };
  }
}
