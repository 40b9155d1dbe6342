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
/** Workers of the fleet that the time budgets and the crowds use. */
export const BUDGET_FLEET = 32;
export const CROWD_PROMPT = 8_192;
/** Milliseconds for which a crowd's slots are held, so that several are held at once. */
export const HOLD_MS = 20;

export const CROWDS = [1, 8, 32];
export const createHalfFullFleet = (workers: number): FleetSize => ({ workers, leases: SLOTS / 2 });
/** Every worker has one slot left. */
export const ALMOST_FULL: FleetSize = { workers: BUDGET_FLEET, leases: SLOTS - 1 };
