import { LambentError } from '../../../../shared/core/errors.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import type { SlotPorts, SlotRequest } from '../../../../shared/gpu/placement/slot.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Worker } from '../../../../shared/gpu/registry/worker.ts';
import { createPrompt, createWorker, FLEET, MODEL, START } from '../fleets.ts';
import { createVirtualTime } from '../virtual-time.ts';

/** A signal that never aborts. */
export const NEVER_ABORTS = new AbortController().signal;

/** Returns a request for a slot of `FLEET`. */
export function createSlotRequest(changes: Partial<SlotRequest> = {}): SlotRequest {
  return {
    fleet: FLEET,
    model: MODEL,
    tier: 'interactive',
    tenant: 'acme',
    prompt: createPrompt(4_000),
    expectedOutputTokens: 100,
    ...changes,
  };
}

/**
 * Creates a fleet in memory and a slot allocator on virtual time. `calls` records the store's calls.
 * @param faults methods that replace the store's own
 */
export async function createTestFleet(workers: readonly Worker[] = [createWorker()], faults: Partial<FleetStore> = {}) {
  const time = createVirtualTime(START);
  const table = createMemoryFleetStore(time.now);
  for (const { leases: _, ...worker } of workers) await table.register(worker);
  const calls: string[] = [];
  const store = new Proxy(
    { ...table, ...faults },
    {
      get(target, name: keyof FleetStore) {
        return (...args: never[]) => {
          calls.push(name);
          return Reflect.apply(target[name], target, args);
        };
      },
    },
  );
  let created = 0;
  const ports: SlotPorts = {
    store,
    now: time.now,
    sleep: time.sleep,
    random: () => 0.5,
    newId: () => {
      created += 1;
      return `lease-${created}`;
    },
  };
  const slots = createSlotAllocator(ports, SLOT_SETTINGS);
  return {
    time,
    table,
    slots,
    calls,
    view: () => table.read(FLEET),
    leases: async (id = 'w1') => (await table.read(FLEET)).workers.find((worker) => worker.id === id)?.leases,
    acquire: (changes: Partial<SlotRequest> = {}, excluded?: ReadonlySet<string>, signal = NEVER_ABORTS) =>
      time.runUntilSettled(slots.acquire(createSlotRequest(changes), signal, excluded)),
  };
}

/**
 * Returns the error with which a request for a slot was refused.
 * @throws Error if it was granted
 */
export async function getRefusal(acquiring: Promise<unknown>): Promise<LambentError> {
  const thrown = await acquiring.catch((error: unknown) => error);
  if (!(thrown instanceof LambentError)) throw new Error(`The request was not refused: ${String(thrown)}`);
  return thrown;
}
