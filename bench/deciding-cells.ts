import type { Cell, DecisionTimes } from './targets/decisions.ts';
import { type FleetSize, SLOTS } from './targets/fleet-table.ts';
import type { Count } from './targets/request-counter.ts';

export interface DecidingOptions {
  /** Deciding processes, one after another: each measures everything. */
  readonly rounds: number;
  /** Decisions of each fleet and prompt in each round. */
  readonly decisions: number;
}

/** A fleet and a prompt, and what deciding between them took. */
export interface PlacementCell extends Pick<Cell, 'fleet' | 'promptTokens'> {
  readonly times: readonly DecisionTimes[];
  /** Requests and capacity units of one slot from its placing to its release, by operation. */
  readonly requests: ReadonlyMap<string, Count>;
}

/** Requests that decided at the same time. */
export interface Crowd extends Pick<Cell, 'fleet' | 'deciders'> {
  readonly times: readonly DecisionTimes[];
}

export const FLEETS = [2, 8, 32, 100, 200];
export const PROMPTS = [1_024, 8_192, 32_768, 131_072];
/** What the budget for the time is about, and where the crowds are. */
export const BUDGET_FLEET = 32;
export const CROWD_PROMPT = 8_192;
/** Milliseconds that a crowd's slots are held, so that several are at any moment. */
export const HOLD_MS = 20;

export const CROWDS = [1, 8, 32];
export const createHalfFullFleet = (workers: number): FleetSize => ({ workers, leases: SLOTS / 2 });
/** Every worker has one slot left. */
export const ALMOST_FULL: FleetSize = { workers: BUDGET_FLEET, leases: SLOTS - 1 };
