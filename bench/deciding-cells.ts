import type { Cell, DecisionTimes } from './targets/decisions.ts';
import { type FleetSize, SLOTS } from './targets/fleet-table.ts';
import type { Count } from './targets/request-counter.ts';

export interface DecidingOptions {
  /** Decider processes, one after another. Each measures every cell. */
  readonly rounds: number;
  /** Decisions per fleet and prompt in each round. */
  readonly decisions: number;
}

/** A fleet and a prompt, with the times and requests of their decisions. */
export interface PlacementCell extends Pick<Cell, 'fleet' | 'promptTokens'> {
  readonly times: readonly DecisionTimes[];
  /** Requests and capacity units per slot from placement to release, by operation. */
  readonly requests: ReadonlyMap<string, Count>;
}

/** Concurrent decisions on one fleet. */
export interface Crowd extends Pick<Cell, 'fleet' | 'deciders'> {
  readonly times: readonly DecisionTimes[];
}

export const FLEETS = [2, 8, 32, 100, 200];
export const PROMPTS = [1_024, 8_192, 32_768, 131_072];
/** Workers of the fleet for which the time budgets apply and on which concurrent deciders are measured. */
export const BUDGET_FLEET = 32;
/** Prompt tokens of concurrent deciders. */
export const CROWD_PROMPT = 8_192;
/** Milliseconds for which a concurrent decider holds its slot, so that several slots are held at once. */
export const HOLD_MS = 20;
/** Numbers of concurrent deciders. */
export const CROWDS = [1, 8, 32];
/** Returns a fleet in which half of each worker's slots are leased. */
export const createHalfFullFleet = (workers: number): FleetSize => ({ workers, leases: SLOTS / 2 });
/** A fleet in which every worker has one free slot. */
export const ALMOST_FULL: FleetSize = { workers: BUDGET_FLEET, leases: SLOTS - 1 };
