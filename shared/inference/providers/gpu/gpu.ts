import { deriveTenantSalt, hashPrefixes } from '../../../gpu/placement/prompt.ts';
import type { SlotRequest } from '../../../gpu/placement/slot.ts';
import type { SlotAllocator } from '../../../gpu/placement/slot-allocator.ts';
import { EXPECTED_OUTPUT_TOKENS } from '../../../gpu/placement/weight.ts';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import type { Model, ModelCall } from '../../model.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { canonicalizePrompt } from './canonical-prompt.ts';
import { createEndpoints, type EndpointOptions } from './endpoints.ts';
import { WorkerFailure } from './failure.ts';
import { callWorker } from './worker-call.ts';
import { createTimedOutWorkers } from './worker-failure-tracker.ts';
import { WorkerLeases } from './worker-leases.ts';

export interface GpuOptions extends EndpointOptions {
  readonly fleet: Pick<Fleet, 'engine' | 'apiKey' | 'stallMs'>;
  readonly slots: SlotAllocator;
}

/**
 * Creates the model behind a fleet of GPU workers. Each call leases a slot of a worker, sends the request to it and
 * releases the slot. If the worker fails before its first token, the call tries another one. A call that is not
 * streamed can change workers until its answer is complete.
 */
export function createGpuModel(target: GpuTarget, options: GpuOptions): Model {
  const { fleet, tier, slots, maxOutputTokens } = options;
  const endpointAt = createEndpoints(target, options);
  const timedOutWorkers = createTimedOutWorkers();
  const leases = new WorkerLeases(target, options);

  function toSlotRequest(request: GenerationRequest): SlotRequest {
    const { tenant } = request;
    const { model } = target;
    const limit = chooseOutputLimit(request.maxOutputTokens, maxOutputTokens) ?? EXPECTED_OUTPUT_TOKENS;
    const salt = deriveTenantSalt(tenant, target.fleet);
    const hasSession = request.inSession || request.hints.promptCacheKey !== undefined;
    const owner = { tenant, model, salt, ...(hasSession && { session: request.conversationKey }) };
    const prompt = hashPrefixes(canonicalizePrompt(request), owner);
    const expectedOutputTokens = Math.min(limit, EXPECTED_OUTPUT_TOKENS);
    return { fleet: target.fleet, model, tier, tenant, prompt, expectedOutputTokens };
  }

  async function* generate(request: GenerationRequest, call: ModelCall): AsyncGenerator<GenerationEvent> {
    const { signal, streamed, telemetry } = call;
    signal.throwIfAborted();
    await leases.requireKey(signal);
    const slotRequest = toSlotRequest(request);
    const workerCall = {
      signal,
      stallMs: fleet.stallMs,
      telemetry,
      onUsage: ({ inputTokens }: { inputTokens: number }) =>
        slots.recordUsage(target.model, slotRequest.prompt.bytes, inputTokens),
    };
    const failures = leases.trackFailures(timedOutWorkers, telemetry);
    for (;;) {
      const slot = await leases.acquire(slotRequest, call, failures);
      const answer = callWorker(slot, endpointAt(slot.worker.url), request, workerCall);
      try {
        for await (const event of streamed ? answer : collectEvents(answer)) {
          await failures.recordAnswer(slot);
          yield event;
        }
        return;
      } catch (thrown) {
        if (!(thrown instanceof WorkerFailure)) throw thrown;
        const error = await failures.recordFailure(slot, thrown);
        if (error !== undefined) throw error;
      }
    }
  }

  return { managesOwnHealth: true, generate };
}

/** Yields the same events once all of them have arrived. */
async function* collectEvents(answer: AsyncIterable<GenerationEvent>): AsyncGenerator<GenerationEvent> {
  const events: GenerationEvent[] = [];
  for await (const event of answer) events.push(event);
  yield* events;
}
