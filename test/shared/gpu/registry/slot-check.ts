import { LambentError } from '../../../../shared/core/errors.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore, type FleetEntries } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Lease, Waiter } from '../../../../shared/gpu/registry/worker.ts';
import { type Answer, explore, Histories, type Program, type Reach, type Step } from '../../jobs/explorer.ts';
import { aPrompt, aWorker, FLEET, MODEL, START } from '../fleets.ts';

/** How often each thing may happen on one way through. */
export interface SlotBudget {
  /** Steps of the clock. */
  readonly ticks: number;
  /** Requests to the table that are made, whose answer is lost, and that the client then repeats. */
  readonly repeats: number;
  /** Requests to the table that are made, and whose answer never comes: an error. */
  readonly losses: number;
  /** The worker's engine starts anew. */
  readonly restarts: number;
}

export interface SlotCheck {
  readonly contenders: number;
  readonly slots: number;
  readonly budget: Partial<SlotBudget>;
  /** Milliseconds of a step of the clock: 15,000 call for a heartbeat, 46,000 outlive a lease. */
  readonly tickMs: number;
  /** Milliseconds that an answer takes; 20,000, which calls for a heartbeat, when absent. */
  readonly answerMs?: number;
  /** What the table does otherwise than it should, to see that the check would notice. */
  readonly mutation?: (store: FleetStore) => FleetStore;
}

interface World {
  readonly now: number;
  readonly fleets: Map<string, FleetEntries>;
  /** Contenders that believe to hold a slot. */
  readonly holding: readonly string[];
}

interface State {
  readonly world: World;
  /** Contenders that live, by history. One that is never answered again has crashed, wherever it stands. */
  readonly processes: readonly number[];
  readonly left: SlotBudget;
}

const NOTHING: SlotBudget = { ticks: 0, repeats: 0, losses: 0, restarts: 0 };
const METHODS = ['read', 'lease', 'markFirstToken', 'renew', 'release', 'putWaiter', 'removeWaiter'] as const;
/** Answered as soon as they are made: nobody else can tell when they were. */
const AT_ONCE = /^(sleep|holds|letsGo)$/;
/** Hints, which commute with what others do; they are answered at once too, unless they may go wrong. */
const HINTS = /^(markFirstToken|putWaiter|removeWaiter)$/;

/**
 * Walks all interleavings of contenders that lease slots of one worker, by the code that runs, and checks at each step what must
 * be true.
 * @throws when something isn't true, with the steps that led to it
 */
export async function checkSlots(check: SlotCheck) {
  const { contenders, slots, budget, tickMs, answerMs = 20_000, mutation = (store) => store } = check;
  const programOf = contender(answerMs);
  const histories = new Histories(programOf);
  const recovered = new Set<string>();

  async function perform(world: World, method: string, args: readonly unknown[]) {
    const fleets = structuredClone(world.fleets);
    if (method === 'holds') return { world: { ...world, holding: [...world.holding, String(args[0])] } };
    if (method === 'letsGo') return { world: { ...world, holding: world.holding.filter((name) => name !== args[0]) } };
    const store = mutation(createMemoryFleetStore(() => world.now, fleets));
    const known = METHODS.find((name) => name === method);
    const value: unknown = known === undefined ? undefined : await Reflect.apply(store[known], store, args);
    return { world: { ...world, fleets }, value };
  }

  async function restarted(world: World): Promise<World> {
    const fleets = structuredClone(world.fleets);
    const { leases: _, ...worker } = aWorker({ slots, bootId: `boot-at-${world.now}` });
    await createMemoryFleetStore(() => world.now, fleets).register(worker);
    return { ...world, fleets };
  }

  async function steps({ world, processes, left }: State): Promise<Step<State>[]> {
    const found: Step<State>[] = [];
    const spent = (kind: keyof SlotBudget): SlotBudget => ({ ...left, [kind]: left[kind] - 1 });
    for (const [index, process] of processes.entries()) {
      const name = histories.nameOf(process);
      const { pending } = await histories.standing(process);
      for (const { id, method, args, madeAt } of pending) {
        if (method === 'sleep' && world.now < madeAt + Number(args[0])) continue;
        const after = async (told: Pick<Answer, 'value' | 'error'>, changed: World, budgetLeft = left) => {
          const history = await histories.after(process, { call: id, now: world.now, ...told });
          const { failure, pending: waiting } = await histories.standing(history);
          if (failure !== undefined) throw new Error(failure);
          const others = processes.toSpliced(index, 1);
          const living = waiting.length === 0 ? others : [...others, history].sort((a, b) => a - b);
          return { world: changed, processes: living, left: budgetLeft };
        };
        const step = {
          label: `${name}: ${method}`,
          async take() {
            const done = await perform(world, method, args);
            return after({ value: done.value }, done.world);
          },
        };
        const maySlip = left.repeats + left.losses > 0;
        if (AT_ONCE.test(method) || (HINTS.test(method) && !maySlip)) return [step];
        found.push(step);
        if (method === 'read') continue;
        if (left.repeats > 0) {
          found.push({
            label: `${name}: ${method}, twice`,
            async take() {
              const once = await perform(world, method, args);
              const twice = await perform(once.world, method, args);
              return after({ value: twice.value }, twice.world, spent('repeats'));
            },
          });
        }
        if (left.losses > 0) {
          found.push({
            label: `${name}: ${method}, its answer lost`,
            async take() {
              const done = await perform(world, method, args);
              return after({ error: 'lost' }, done.world, spent('losses'));
            },
          });
        }
      }
    }
    if (left.ticks > 0) {
      const later = { ...world, now: world.now + tickMs };
      found.push({ label: 'time passes', take: async () => ({ world: later, processes, left: spent('ticks') }) });
    }
    if (left.restarts > 0) {
      found.push({
        label: 'the worker starts anew',
        take: async () => ({ world: await restarted(world), processes, left: spent('restarts') }),
      });
    }
    return found;
  }

  /** Everybody has crashed, and a lease's time is over: as many as there are slots must find one, each at its first look. */
  async function recover(from: World): Promise<void> {
    let world: World = { ...from, now: from.now + SLOT_SETTINGS.leaseMs, holding: [] };
    for (let next = 0; next < slots; next += 1) world = await untilItHolds(`late ${next}`, world);
    if (world.holding.length !== slots) throw new Error('A leaked slot did not come back');
  }

  async function untilItHolds(name: string, from: World): Promise<World> {
    const own = new Histories(programOf);
    let world = from;
    let history = own.begin(name, world.now);
    while (!world.holding.includes(name)) {
      const { pending } = await own.standing(history);
      const call = pending.find(({ method }) => method !== 'sleep');
      if (call === undefined) return world;
      const done = await perform(world, call.method, call.args);
      history = await own.after(history, { call: call.id, value: done.value, now: world.now });
      world = done.world;
    }
    return world;
  }

  const names = Array.from({ length: contenders }, (_, index) => `contender ${index}`);
  return explore<State>({
    start: {
      world: await restarted({ now: START, fleets: new Map(), holding: [] }),
      processes: names.map((name) => histories.begin(name, START)),
      left: { ...NOTHING, ...budget },
    },
    key: ({ world, processes, left }) => [worldKey(world), processes.join(), Object.values(left).join()].join('|'),
    steps,
    async check(state, before) {
      if (before !== undefined) checkStep(before.world, state.world, slots);
      if (state.processes.length === 0 && state.left.losses === (budget.losses ?? 0)) checkEnd(state.world);
      const key = worldKey({ ...state.world, holding: [] });
      if (recovered.has(key)) return;
      recovered.add(key);
      await recover(state.world);
    },
  });
}

/** Takes a slot, uses it, and gives it back; or is refused. */
const contender =
  (answerMs: number) =>
  (name: string): Program => {
    return async (reach) => {
      const slots = createSlotAllocator(
        {
          store: storeBehind(reach),
          now: () => reach.now(),
          random: () => 0,
          sleep: async (ms, signal) => {
            await reach.call('sleep', [ms], signal);
          },
          newId: () => name,
        },
        SLOT_SETTINGS,
      );
      const request = {
        fleet: FLEET,
        model: MODEL,
        tier: 'interactive',
        tenant: 'acme',
        prompt: aPrompt(400),
        expectedOutputTokens: 10,
      } as const;
      const slot = await slots.acquire(request, new AbortController().signal).catch((thrown: unknown) => {
        if (thrown instanceof LambentError || String(thrown).includes('lost')) return undefined;
        throw thrown;
      });
      if (slot === undefined) return;
      await reach.call('holds', [name]);
      await slot.markFirstToken();
      // Until the slot is lost, at the longest.
      await reach.call('sleep', [answerMs], slot.lost);
      await reach.call('letsGo', [name]);
      await slot.release();
    };
  };

function storeBehind(reach: Reach): FleetStore {
  const fake = Object.fromEntries(METHODS.map((method) => [method, (...args: unknown[]) => reach.call(method, args)]));
  return { ...createMemoryFleetStore(() => reach.now()), ...fake };
}

function leasesIn({ fleets }: World): Readonly<Record<string, Lease>> {
  return fleets.get(FLEET)?.workers.get('w1')?.leases ?? {};
}

function waitersIn({ fleets }: World): readonly Waiter[] {
  return [...(fleets.get(FLEET)?.waiters.values() ?? [])];
}

function bootIn({ fleets }: World): string | undefined {
  return fleets.get(FLEET)?.workers.get('w1')?.bootId;
}

/** What one step may not do. */
function checkStep(before: World, after: World, slots: number): void {
  const leases = leasesIn(after);
  if (Object.keys(leases).length > slots) throw new Error('More leases than slots');
  const rightful = after.holding.filter((name) => leases[name] !== undefined);
  if (rightful.length > slots) throw new Error('More holders than slots');
  if (bootIn(before) !== bootIn(after)) return;
  for (const [name, { expiresAt }] of Object.entries(leasesIn(before))) {
    const isGone = leases[name] === undefined;
    if (isGone && expiresAt > after.now && after.holding.includes(name)) throw new Error('A held slot was taken away');
  }
}

/** All have come to their end by themselves: nothing of them may be left. */
function checkEnd(world: World): void {
  if (Object.keys(leasesIn(world)).length > 0) throw new Error('A slot was not given back');
  if (waitersIn(world).length > 0) throw new Error('Somebody still waits who does not');
}

function worldKey({ now, fleets, holding }: World): string {
  const { workers, waiters } = fleets.get(FLEET) ?? { workers: new Map(), waiters: new Map() };
  return JSON.stringify([now, [...workers], [...waiters], holding]);
}
