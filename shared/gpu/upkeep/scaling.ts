import type { FleetView, Lease, UnmetDemand, Waiter } from '../registry/worker.ts';
import type { FleetDefinition } from './fleet-definition.ts';

/** What a queued job is taken to cost while none runs: the mean of Azure's conversations of 2023, 1,155 + 2 × 211 tokens. */
const TYPICAL_JOB_TOKENS = 1_600;
/** Of the slots, what interactive work may fill before another worker is needed: above it, requests soon wait. */
const INTERACTIVE_FILL = 0.75;

/** What a fleet has, and what it needs. */
export interface FleetNeed {
  readonly readyWorkers: number;
  readonly suspectWorkers: number;
  readonly drainingWorkers: number;
  readonly slots: number;
  readonly freeSlots: number;
  /** Requests that wait for a slot or found no worker ready lately, and queued jobs that are the fleet's. */
  readonly waiting: number;
  /** Prompt tokens, and expected answer tokens twice, of all that runs and waits. */
  readonly backlogTokens: number;
  readonly neededWorkers: number;
}

/**
 * Tells what a fleet needs. docs/gpu-fleet.md has the formula.
 * @param queued jobs in the queue that are taken to be the fleet's
 */
export function computeNeed(view: FleetView, queued: number, fleet: Sized, now: number): FleetNeed {
  const { workers } = view;
  const ready = workers.filter(({ state }) => state === 'ready');
  const running = workers.flatMap(({ leases }) => Object.values(leases).filter(alive(now)));
  const waiting = waitingFor(view, now);
  const slots = sum(ready.map((worker) => worker.slots));
  const taken = sum(ready.map(({ leases }) => Object.values(leases).filter(alive(now)).length));
  const held = [...running, ...waiting];
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
    freeSlots: Math.max(0, slots - taken),
    waiting: waiting.length + Math.ceil(queued),
    backlogTokens,
    neededWorkers: Math.min(Math.max(needed, minWorkers), maxWorkers),
  };
}

/** Who waits for a model now is most likely who was refused before, and counts once. */
function waitingFor({ waiters, unmet }: FleetView, now: number): (Waiter | UnmetDemand)[] {
  const waiting = waiters.filter(alive(now));
  const models = new Set(waiting.map(({ model }) => model));
  return [...waiting, ...unmet.filter(alive(now)).filter(({ model }) => !models.has(model))];
}

type Sized = Pick<FleetDefinition, 'slots' | 'scaling'>;

/**
 * Shares the jobs of the one queue among fleets, by the batch work that each has in hand: a message doesn't say whose it
 * is until it is read. One more for each, so that a fleet without workers gets its share.
 */
export function shareQueue(depth: number, views: readonly FleetView[], now: number): number[] {
  const parts = views.map(({ workers, waiters }) => {
    const leases = workers.flatMap((worker) => Object.values(worker.leases));
    return 1 + [...leases, ...waiters].filter(alive(now)).filter(({ tier }) => tier === 'batch').length;
  });
  return parts.map((part) => (depth * part) / sum(parts));
}

/** Whether to ask for a first worker: none is there or on its way, and something waits that the fleet may serve. */
export function needsFirstWorker(
  { neededWorkers, waiting, readyWorkers }: FleetNeed,
  { desired, alive: present }: { readonly desired: number; readonly alive: number },
): boolean {
  return desired === 0 && present === 0 && readyWorkers === 0 && waiting > 0 && neededWorkers > 0;
}

function meanJobTokens(held: readonly Pick<Lease, 'tier' | 'weight'>[]): number {
  const jobs = held.filter(({ tier }) => tier === 'batch');
  return jobs.length === 0 ? TYPICAL_JOB_TOKENS : sum(jobs.map(({ weight }) => weight)) / jobs.length;
}

function alive(now: number): (each: { readonly expiresAt: number }) => boolean {
  return ({ expiresAt }) => expiresAt > now;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
