import { LambentError } from '../../../../shared/core/errors.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import type { SlotPorts, SlotRequest } from '../../../../shared/gpu/placement/slot.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Worker } from '../../../../shared/gpu/registry/worker.ts';
import { aPrompt, aWorker, FLEET, MODEL, START } from '../fleets.ts';
import { virtualTime } from '../virtual-time.ts';

/** A signal that never aborts. */
export const ON = new AbortController().signal;

/** What is asked for a slot of `FLEET`. */
export function aRequest(changes: Partial<SlotRequest> = {}): SlotRequest {
  return {
    fleet: FLEET,
    model: MODEL,
    tier: 'interactive',
    tenant: 'acme',
    prompt: aPrompt(4_000),
    expectedOutputTokens: 100,
    ...changes,
  };
}

/** A fleet with those who lease its slots. `faults` stand before the store's own methods. */
export async function aHouse(workers: readonly Worker[] = [aWorker()], faults: Partial<FleetStore> = {}) {
  const time = virtualTime(START);
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
  let made = 0;
  const ports: SlotPorts = {
    store,
    now: time.now,
    sleep: time.sleep,
    random: () => 0.5,
    newId: () => {
      made += 1;
      return `lease-${made}`;
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
    acquire: (changes: Partial<SlotRequest> = {}, not?: ReadonlySet<string>, signal = ON) =>
      time.during(slots.acquire(aRequest(changes), signal, not)),
  };
}

/** With what a request was refused. */
export async function refusal(acquiring: Promise<unknown>): Promise<LambentError> {
  const thrown = await acquiring.catch((error: unknown) => error);
  if (!(thrown instanceof LambentError)) throw new Error(`Not refused: ${String(thrown)}`);
  return thrown;
}
