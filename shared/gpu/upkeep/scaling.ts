import { type FleetView, isLive, type Lease, type UnmetDemand, type Waiter } from '../registry/worker.ts';
import type { FleetDefinition } from './fleet-definition.ts';

/**
 * Assumed cost of a queued job while no job runs: the mean of Azure's 2023 conversation trace, 1,155 + 2 × 211 tokens.
 */
const TYPICAL_JOB_TOKENS = 1_600;
/** Share of the slots that interactive work may fill before another worker is needed. Above it, requests soon wait. */
const INTERACTIVE_FILL = 0.75;

/** The capacity of a fleet, and the workers that it needs. */
export interface FleetNeed {
  readonly readyWorkers: number;
  readonly suspectWorkers: number;
  readonly drainingWorkers: number;
  /** Slots of ready workers. */
  readonly slots: number;
  readonly freeSlots: number;
  /** Requests that wait for a slot or were refused lately because no worker was ready, and the fleet's queued jobs. */
  readonly waiting: number;
  /** Prompt tokens, and expected output tokens twice, of all running and waiting requests and queued jobs. */
  readonly backlogTokens: number;
  readonly neededWorkers: number;
}

type FleetSizing = Pick<FleetDefinition, 'slots' | 'scaling'>;

/**
 * Computes a fleet's need. The formula is in docs/gpu-fleet.md.
 * @param queued the fleet's share of the queued jobs
 * @param now epoch milliseconds
 */
export function computeNeed(view: FleetView, queued: number, fleet: FleetSizing, now: number): FleetNeed {
  const { workers } = view;
  const ready = workers.filter(({ state }) => state === 'ready');
  const waiting = listWaiting(view, now);
  const slots = sum(ready.map((worker) => worker.slots));
  const usedSlots = listLiveLeases({ workers: ready }, now).length;
  const held = [...listLiveLeases(view, now), ...waiting];
  const backlogTokens = Math.round(sum(held.map(({ weight }) => weight)) + queued * meanJobTokens(held));
  const { tokensPerSecond, drainSeconds, minWorkers, maxWorkers } = fleet.scaling;
  const interactive = held.filter(({ tier }) => tier === 'interactive').length;
  const needed = Math.ceil(
    backlogTokens / (tokensPerSecond * drainSeconds) + interactive / (fleet.slots * INTERACTIVE_FILL),
  );
  return {
    readyWorkers: ready.length,
    suspectWorkers: workers.filter(({ state }) => state === 'suspect').length,
    drainingWorkers: workers.filter(({ state }) => state === 'draining').length,
    slots,
    freeSlots: Math.max(0, slots - usedSlots),
    waiting: waiting.length + Math.ceil(queued),
    backlogTokens,
    neededWorkers: Math.min(Math.max(needed, minWorkers), maxWorkers),
  };
}

/**
 * Returns the live waiters, and the unmet demand for models that have no waiter. A waiter for the same model is most
 * likely the refused request that came again, and must not count twice.
 */
function listWaiting({ waiters, unmet }: FleetView, now: number): (Waiter | UnmetDemand)[] {
  const waiting = waiters.filter((waiter) => isLive(waiter, now));
  const models = new Set(waiting.map(({ model }) => model));
  return [...waiting, ...unmet.filter((demand) => isLive(demand, now) && !models.has(demand.model))];
}

function listLiveLeases({ workers }: Pick<FleetView, 'workers'>, now: number): Lease[] {
  return workers.flatMap(({ leases }) => Object.values(leases).filter((lease) => isLive(lease, now)));
}

/**
 * Divides the queued jobs among fleets in proportion to the batch work that each has in progress, because a message
 * does not name its fleet until it is read. One is added for each fleet, so that a fleet without workers gets a share.
 */
export function shareQueue(depth: number, views: readonly FleetView[], now: number): number[] {
  const parts = views.map((view) => {
    const entries = [...listLiveLeases(view, now), ...view.waiters.filter((waiter) => isLive(waiter, now))];
    return 1 + entries.filter(({ tier }) => tier === 'batch').length;
  });
  return parts.map((part) => (depth * part) / sum(parts));
}

/**
 * Returns true if a first worker must be started: there is no worker or task, none is desired, work waits, and the
 * fleet's limits allow a worker.
 */
export function needsFirstWorker(
  { neededWorkers, waiting, readyWorkers }: FleetNeed,
  { desired, alive }: { readonly desired: number; readonly alive: number },
): boolean {
  return desired === 0 && alive === 0 && readyWorkers === 0 && waiting > 0 && neededWorkers > 0;
}

function meanJobTokens(held: readonly Pick<Lease, 'tier' | 'weight'>[]): number {
  const jobs = held.filter(({ tier }) => tier === 'batch');
  return jobs.length === 0 ? TYPICAL_JOB_TOKENS : sum(jobs.map(({ weight }) => weight)) / jobs.length;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
