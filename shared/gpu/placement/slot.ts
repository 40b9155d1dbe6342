import type { FleetStore } from '../registry/fleet-store.ts';
import type { Tier, Worker } from '../registry/worker.ts';
import type { PromptPrefixes } from './prompt.ts';

/** A request for a slot of a fleet. */
export interface SlotRequest {
  readonly fleet: string;
  /** The engine's name of the model or of the LoRA adapter. */
  readonly model: string;
  readonly tier: Tier;
  readonly tenant: string;
  readonly prompt: PromptPrefixes;
  /** Tokens that the answer is expected to have, at most its limit. */
  readonly expectedOutputTokens: number;
}

/** A leased slot of a worker, held until `release`. Token counts are estimates. */
export interface Slot {
  readonly worker: Pick<Worker, 'fleet' | 'id' | 'url' | 'bootId'>;
  readonly leaseId: string;
  /** Prompt tokens that the worker most likely has cached. */
  readonly cachedTokens: number;
  /**
   * Prompt tokens that the worker computes before this request's first token: this request's and those of earlier ones.
   */
  readonly prefillTokens: number;
  /** Number of other workers of the fleet that serve the model, in whatever state. */
  readonly otherWorkers: number;
  /** Milliseconds that the request waited for the slot. */
  readonly waitedMs: number;
  /** Records that the first token has arrived. Never throws: the record is a hint for placement. */
  markFirstToken(): Promise<void>;
  /** Releases the slot. Never throws: a lease that can't be released expires. */
  release(): Promise<void>;
  /** Aborts when the lease is lost. Its reason is a LambentError `upstream_cut`. */
  readonly lost: AbortSignal;
}

export interface SlotPorts {
  readonly store: FleetStore;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** 0 up to 1. */
  readonly random: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Returns an id for a lease and its waiter: unique, short, without content. */
  readonly newId: () => string;
}
