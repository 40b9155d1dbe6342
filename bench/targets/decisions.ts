import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createFunctionEnvironment, type FleetSize } from './fleet-table.ts';

/** One measured case: a fleet, a prompt length, and the number of concurrent deciders. */
export interface Cell {
  readonly fleet: FleetSize;
  readonly promptTokens: number;
  /** Concurrent deciders, each of which makes one decision after another. */
  readonly deciders: number;
  /** Milliseconds for which a slot is held, without the time of its requests to the table. */
  readonly holdMs: number;
}

/** The work of one decider process. */
export interface DecisionRun {
  /** Measured in this order. */
  readonly cells: readonly Cell[];
  /** Decisions per cell, summed over its deciders. */
  readonly count: number;
  /** Unmeasured decisions of the first cell at the start. */
  readonly warmUp: number;
  /** True to send the same requests and plain requests in turn with each decision. */
  readonly withComparison: boolean;
}

/** The measurements of one cell. Times are milliseconds, one for each decision. */
export interface DecisionTimes {
  /** From the request to the slot. */
  readonly placedMs: readonly number[];
  /** The part of `placedMs` spent on hashing the prompt's prefixes. */
  readonly hashedMs: readonly number[];
  readonly releasedMs: readonly number[];
  /** The requests that a decision waits for, without the code of the decision. */
  readonly sameMs: readonly number[];
  /** As many requests for a small item. */
  readonly plainMs: readonly number[];
  /** Leases refused because another decider was faster. */
  readonly refusedLeases: number;
  /** Reads of the fleet. */
  readonly fleetReads: number;
}

/**
 * Runs a decider in its own process, with the DynamoDB client of the functions.
 * @param url DynamoDB's endpoint
 * @throws Error if a decision fails
 */
export async function runDecisions(url: string, decisions: DecisionRun): Promise<DecisionTimes[]> {
  const file = join(import.meta.dirname, 'decider.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(decisions)], {
    env: { ...process.env, ...createFunctionEnvironment(url) },
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as DecisionTimes[];
}
