import { createTokenEstimator } from '../../core/token-estimate.ts';
import type { Worker } from '../registry/worker.ts';
import type { SlotSettings } from './settings.ts';
import type { Slot, SlotPorts, SlotRequest } from './slot.ts';
import { SlotSearch } from './slot-search.ts';

/** Leases slots of a fleet's workers. */
export interface SlotAllocator {
  /**
   * Places a request and leases a slot, waiting for one if necessary. Renews the lease until it is released.
   * @param excluded ids of workers on which the request has failed
   * @throws LambentError `overloaded` with `retryAfterMs` if no slot became free in time, or if the request has failed
   * on every ready worker; or the signal's reason
   */
  acquire(request: SlotRequest, signal: AbortSignal, excluded?: ReadonlySet<string>): Promise<Slot>;
  /** Marks a worker that failed as suspect: it gets no work until a probe succeeds. Never throws. */
  suspect(worker: Pick<Worker, 'fleet' | 'id' | 'bootId'>, reason: string): Promise<void>;
  /** Learns the model's bytes per token from an answer's usage. */
  recordUsage(model: string, promptBytes: number, inputTokens: number): void;
}

/**
 * Creates a slot allocator. Each request is placed on the state of the fleet that the table has at that moment. Between
 * requests the allocator keeps only the estimated bytes per token.
 */
export function createSlotAllocator(ports: SlotPorts, settings: SlotSettings): SlotAllocator {
  const { store, now } = ports;
  const tokens = createTokenEstimator();
  return {
    async acquire(request, signal, excluded = new Set()) {
      signal.throwIfAborted();
      const bytesPerToken = tokens.getBytesPerToken(request.model);
      return new SlotSearch(request, { bytesPerToken, excluded, ports, settings }).run(signal);
    },
    async suspect({ fleet, id, bootId }, reason) {
      await store.setState(fleet, id, bootId, { state: 'suspect', reason, at: now(), from: 'ready' }).catch(() => {});
    },
    recordUsage: tokens.recordUsage,
  };
}
