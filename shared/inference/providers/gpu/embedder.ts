import { toLambentError } from '../../../core/errors.ts';
import { deriveTenantSalt, hashPrefixes } from '../../../gpu/placement/prompt.ts';
import type { Slot, SlotRequest } from '../../../gpu/placement/slot.ts';
import type { Embedder, EmbeddingCall, EmbeddingRequest, Embeddings } from '../../embedding.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { createOpenAICompatibleEmbedder } from '../openai-compatible/embedder.ts';
import { CONNECT_MS } from './endpoints.ts';
import { classifyFailure, lostLeaseFailure, stalledFailure, WorkerFailure } from './failure.ts';
import { PREFILL_MS_PER_TOKEN } from './worker-call.ts';
import { createTimedOutWorkers } from './worker-failure-tracker.ts';
import { type LeaseOptions, WorkerLeases } from './worker-leases.ts';

export interface GpuEmbedderOptions extends LeaseOptions {
  readonly fleet: Pick<Fleet, 'apiKey' | 'stallMs'>;
}

/**
 * Creates the embedder behind a fleet of GPU workers. Each call leases a slot of a worker; if the worker fails, the call
 * tries another one.
 */
export function createGpuEmbedder(target: GpuTarget, options: GpuEmbedderOptions): Embedder {
  const { fleet, tier, secret } = options;
  const leases = new WorkerLeases(target, options);
  const timedOutWorkers = createTimedOutWorkers();

  function toSlotRequest({ tenant, inputs }: EmbeddingRequest): SlotRequest {
    const { model } = target;
    const salt = deriveTenantSalt(tenant, target.fleet);
    const texts = inputs.map((input) => (typeof input === 'string' ? input : input.join(' ')));
    const prompt = hashPrefixes(texts, { tenant, model, salt });
    return { fleet: target.fleet, model, tier, tenant, prompt, expectedOutputTokens: 0 };
  }

  /** Calls a leased worker and releases its slot. Throws WorkerFailure, or the signal's reason. */
  async function embedOn(slot: Slot, request: EmbeddingRequest, { signal, telemetry }: EmbeddingCall) {
    const allowedMs = fleet.stallMs + Math.ceil(slot.prefillTokens * PREFILL_MS_PER_TOKEN);
    const stalled = AbortSignal.timeout(allowedMs);
    const endpoint = createOpenAICompatibleEmbedder(
      { model: target.model, baseUrl: slot.worker.url, ...(fleet.apiKey !== undefined && { apiKey: fleet.apiKey }) },
      { secret, connectMs: CONNECT_MS },
    );
    try {
      return await endpoint.embed(request, { signal: AbortSignal.any([signal, slot.lost, stalled]), telemetry });
    } catch (thrown) {
      signal.throwIfAborted();
      if (slot.lost.aborted) throw lostLeaseFailure(toLambentError(slot.lost.reason));
      // The worker's probe shows whether it hangs. A long silence may also be that of a long request.
      if (stalled.aborted) throw stalledFailure({ allowedMs, hasStarted: false, isAlive: true });
      throw classifyFailure(thrown);
    } finally {
      await slot.release();
    }
  }

  async function embed(request: EmbeddingRequest, call: EmbeddingCall): Promise<Embeddings> {
    call.signal.throwIfAborted();
    await leases.requireKey(call.signal);
    const slotRequest = toSlotRequest(request);
    const failures = leases.trackFailures(timedOutWorkers, call.telemetry);
    for (;;) {
      const slot = await leases.acquire(slotRequest, call, failures);
      try {
        const embeddings = await embedOn(slot, request, call);
        await failures.recordAnswer(slot);
        return embeddings;
      } catch (thrown) {
        if (!(thrown instanceof WorkerFailure)) throw thrown;
        const error = await failures.recordFailure(slot, thrown);
        if (error !== undefined) throw error;
      }
    }
  }

  return { managesOwnHealth: true, embed };
}
