import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createFunctionEnvironment, type FleetSize } from './fleet-table.ts';

/** What is placed where. */
export interface Cell {
  readonly fleet: FleetSize;
  readonly promptTokens: number;
  /** Requests that decide at the same time, each one decision after another. */
  readonly deciders: number;
  /** Milliseconds that a slot is held, besides the time that its requests to the table take. */
  readonly holdMs: number;
}

/** What one deciding process does. */
export interface DecisionRun {
  /** In this order. */
  readonly cells: readonly Cell[];
  /** Decisions of each cell, all its deciders together. */
  readonly count: number;
  /** Decisions of the first cell before anything counts. */
  readonly warmUp: number;
  /** Whether the same requests, and plain ones, are made in turn with each decision. */
  readonly withComparison: boolean;
}

/** What was seen of one cell. Times are milliseconds, one for each decision. */
export interface DecisionTimes {
  /** From the request to the slot. */
  readonly placedMs: readonly number[];
  /** Of `placedMs`, what it took to name the prompt's beginnings. */
  readonly hashedMs: readonly number[];
  readonly releasedMs: readonly number[];
  /** The requests that a decision waits for, without the code that decides. */
  readonly sameMs: readonly number[];
  /** As many requests, after next to nothing. */
  readonly plainMs: readonly number[];
  /** Leases that were refused, since another was quicker. */
  readonly refusedLeases: number;
  /** Looks at the fleet. */
  readonly fleetReads: number;
}

/**
 * Decides in a process of its own, with the client that functions have.
 * @param url where DynamoDB is
 * @throws Error when a decision fails
 */
export async function runDecisions(url: string, decisions: DecisionRun): Promise<DecisionTimes[]> {
  const file = join(import.meta.dirname, 'decider.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(decisions)], {
    env: { ...process.env, ...createFunctionEnvironment(url) },
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as DecisionTimes[];
}
