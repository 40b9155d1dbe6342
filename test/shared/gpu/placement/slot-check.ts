import { LambentError } from '../../../../shared/core/errors.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import type { FleetStore } from '../../../../shared/gpu/registry/fleet-store.ts';
import { createMemoryFleetStore, type FleetEntries } from '../../../../shared/gpu/registry/memory-fleet.ts';
import type { Lease, Waiter } from '../../../../shared/gpu/registry/worker.ts';
import { type Answer, explore, Histories, type Program, type Reach, type Step } from '../../jobs/explorer.ts';
import { createPrompt, createWorker, FLEET, MODEL, START } from '../fleets.ts';

/** How often each event may happen in one interleaving. */
export interface SlotBudget {
  /** Steps of the clock. */
  readonly ticks: number;
  /** Requests to the table that the client repeats because their response was lost. */
  readonly repeats: number;
  /** Requests to the table that succeed and whose response is an error. */
  readonly losses: number;
  /** Restarts of the worker's engine. */
  readonly restarts: number;
}

export interface SlotCheck {
  readonly contenders: number;
  readonly slots: number;
  readonly budget: Partial<SlotBudget>;
  /** Milliseconds per step of the clock: 15,000 make a heartbeat due, 46,000 let a lease expire. */
  readonly tickMs: number;
  /** Duration of an answer in milliseconds. Default 20,000, which makes a heartbeat due. */
  readonly answerMs?: number;
  /** Breaks the store, to test that the check finds the fault. */
  readonly mutation?: (store: FleetStore) => FleetStore;
}

interface World {
  readonly now: number;
  readonly fleets: Map<string, FleetEntries>;
  /** Contenders that regard themselves as holders of a slot. */
  readonly holding: readonly string[];
}

interface State {
  readonly world: World;
  /** The histories of the running contenders. A contender that gets no further response has crashed. */
  readonly processes: readonly number[];
  readonly left: SlotBudget;
}

const NOTHING: SlotBudget = { ticks: 0, repeats: 0, losses: 0, restarts: 0 };
const METHODS = ['read', 'lease', 'markFirstToken', 'renew', 'release', 'putWaiter', 'removeWaiter'] as const;
/** Calls that are answered immediately, because no other process can observe their time. */
const IMMEDIATE = /^(sleep|holds|stopsHolding)$/;
/**
 * Writes of hints, which commute with all other calls. They are answered immediately too, unless the budget allows
 * failures.
 */
const HINTS = /^(markFirstToken|putWaiter|removeWaiter)$/;

/**
 * Explores all interleavings of contenders that lease slots of one worker, using the production code, and checks the
 * invariants at each step.
 * @throws Error if an invariant is violated, with the steps that led to it
 */
export async function checkSlots(check: SlotCheck) {
  const { contenders, slots, budget, tickMs, answerMs = 20_000, mutation = (store) => store } = check;
  const programOf = createContender(answerMs);
  const histories = new Histories(programOf);
  const recovered = new Set<string>();

  async function perform(world: World, method: string, args: readonly unknown[]) {
    const fleets = structuredClone(world.fleets);
    if (method === 'holds') return { world: { ...world, holding: [...world.holding, String(args[0])] } };
    if (method === 'stopsHolding')
      return { world: { ...world, holding: world.holding.filter((name) => name !== args[0]) } };
    const store = mutation(createMemoryFleetStore(() => world.now, fleets));
    const storeMethod = METHODS.find((name) => name === method);
    const value: unknown = storeMethod === undefined ? undefined : await Reflect.apply(store[storeMethod], store, args);
    return { world: { ...world, fleets }, value };
  }

  async function restartWorker(world: World): Promise<World> {
    const fleets = structuredClone(world.fleets);
    const { leases: _, ...worker } = createWorker({ slots, bootId: `boot-at-${world.now}` });
    await createMemoryFleetStore(() => world.now, fleets).register(worker);
    return { ...world, fleets };
  }

  async function steps({ world, processes, left }: State): Promise<Step<State>[]> {
    const found: Step<State>[] = [];
    const spend = (kind: keyof SlotBudget): SlotBudget => ({ ...left, [kind]: left[kind] - 1 });
    for (const [index, process] of processes.entries()) {
      const name = histories.nameOf(process);
      const { pending } = await histories.standing(process);
      for (const { id, method, args, madeAt } of pending) {
        if (method === 'sleep' && world.now < madeAt + Number(args[0])) continue;
        const after = async (answer: Pick<Answer, 'value' | 'error'>, changed: World, budgetLeft = left) => {
          const history = await histories.after(process, { call: id, now: world.now, ...answer });
          const { failure, pending: waiting } = await histories.standing(history);
          if (failure !== undefined) throw new Error(failure);
          const others = processes.toSpliced(index, 1);
          const living = waiting.length === 0 ? others : [...others, history].sort((a, b) => a - b);
          return { world: changed, processes: living, left: budgetLeft };
        };
        const step = {
          label: `${name}: ${method}`,
          async take() {
            const performed = await perform(world, method, args);
            return after({ value: performed.value }, performed.world);
          },
        };
        const mayFail = left.repeats + left.losses > 0;
        if (IMMEDIATE.test(method) || (HINTS.test(method) && !mayFail)) return [step];
        found.push(step);
        if (method === 'read') continue;
        if (left.repeats > 0) {
          found.push({
            label: `${name}: ${method}, twice`,
            async take() {
              const once = await perform(world, method, args);
              const twice = await perform(once.world, method, args);
              return after({ value: twice.value }, twice.world, spend('repeats'));
            },
          });
        }
        if (left.losses > 0) {
          found.push({
            label: `${name}: ${method}, response lost`,
            async take() {
              const performed = await perform(world, method, args);
              return after({ error: 'lost' }, performed.world, spend('losses'));
            },
          });
        }
      }
    }
    if (left.ticks > 0) {
      const later = { ...world, now: world.now + tickMs };
      found.push({ label: 'time passes', take: async () => ({ world: later, processes, left: spend('ticks') }) });
    }
    if (left.restarts > 0) {
      found.push({
        label: 'the worker restarts',
        take: async () => ({ world: await restartWorker(world), processes, left: spend('restarts') }),
      });
    }
    return found;
  }

  /**
   * After all contenders have crashed and their leases have expired, new contenders must get every slot at their first
   * attempt.
   */
  async function recover(from: World): Promise<void> {
    let world: World = { ...from, now: from.now + SLOT_SETTINGS.leaseMs, holding: [] };
    for (let next = 0; next < slots; next += 1) world = await runUntilHolding(`late ${next}`, world);
    if (world.holding.length !== slots) throw new Error('A leaked slot was not recovered');
  }

  async function runUntilHolding(name: string, from: World): Promise<World> {
    const own = new Histories(programOf);
    let world = from;
    let history = own.begin(name, world.now);
    while (!world.holding.includes(name)) {
      const { pending } = await own.standing(history);
      const call = pending.find(({ method }) => method !== 'sleep');
      if (call === undefined) return world;
      const performed = await perform(world, call.method, call.args);
      history = await own.after(history, { call: call.id, value: performed.value, now: world.now });
      world = performed.world;
    }
    return world;
  }

  const names = Array.from({ length: contenders }, (_, index) => `contender ${index}`);
  return explore<State>({
    start: {
      world: await restartWorker({ now: START, fleets: new Map(), holding: [] }),
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

/** Returns a program that acquires a slot, uses it and releases it, or is refused. */
const createContender =
  (answerMs: number) =>
  (name: string): Program => {
    return async (reach) => {
      const slots = createSlotAllocator(
        {
          store: createStoreStub(reach),
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
        prompt: createPrompt(400),
        expectedOutputTokens: 10,
      } as const;
      const slot = await slots.acquire(request, new AbortController().signal).catch((thrown: unknown) => {
        if (thrown instanceof LambentError || String(thrown).includes('lost')) return undefined;
        throw thrown;
      });
      if (slot === undefined) return;
      await reach.call('holds', [name]);
      await slot.markFirstToken();
      // An abort of `slot.lost` ends the answer early.
      await reach.call('sleep', [answerMs], slot.lost);
      await reach.call('stopsHolding', [name]);
      await slot.release();
    };
  };

function createStoreStub(reach: Reach): FleetStore {
  const fake = Object.fromEntries(METHODS.map((method) => [method, (...args: unknown[]) => reach.call(method, args)]));
  return { ...createMemoryFleetStore(() => reach.now()), ...fake };
}

function getLeases({ fleets }: World): Readonly<Record<string, Lease>> {
  return fleets.get(FLEET)?.workers.get('w1')?.leases ?? {};
}

function getWaiters({ fleets }: World): readonly Waiter[] {
  return [...(fleets.get(FLEET)?.waiters.values() ?? [])];
}

function getBootId({ fleets }: World): string | undefined {
  return fleets.get(FLEET)?.workers.get('w1')?.bootId;
}

/** Checks the invariants of one step. */
function checkStep(before: World, after: World, slots: number): void {
  const leases = getLeases(after);
  if (Object.keys(leases).length > slots) throw new Error('More leases than slots');
  const holdersWithLease = after.holding.filter((name) => leases[name] !== undefined);
  if (holdersWithLease.length > slots) throw new Error('More holders than slots');
  if (getBootId(before) !== getBootId(after)) return;
  for (const [name, { expiresAt }] of Object.entries(getLeases(before))) {
    const isGone = leases[name] === undefined;
    if (isGone && expiresAt > after.now && after.holding.includes(name)) throw new Error('A held slot was taken away');
  }
}

/** Checks the final state if all contenders have ended normally: no lease and no waiter may be left. */
function checkEnd(world: World): void {
  if (Object.keys(getLeases(world)).length > 0) throw new Error('A slot was not released');
  if (getWaiters(world).length > 0) throw new Error('A waiter was not removed');
}

function worldKey({ now, fleets, holding }: World): string {
  const { workers, waiters } = fleets.get(FLEET) ?? { workers: new Map(), waiters: new Map() };
  return JSON.stringify([now, [...workers], [...waiters], holding]);
}
