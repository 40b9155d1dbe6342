import { LambentError } from '../../../core/errors.ts';
import { omitUndefined } from '../../../core/objects.ts';
import { deriveTenantSalt, hashPrefixes } from '../../../gpu/placement/prompt.ts';
import type { Slot, SlotRequest } from '../../../gpu/placement/slot.ts';
import type { SlotAllocator } from '../../../gpu/placement/slot-allocator.ts';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import { chooseOutputLimit } from '../../model-limits.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { rejectOnAbort, resolveSecret } from '../openai-compatible/access.ts';
import { canonicalizePrompt } from './canonical-prompt.ts';
import { createEndpoints, type EndpointOptions } from './endpoints.ts';
import { WorkerFailure } from './failure.ts';
import { reportRefusedSlot, reportSlot, reportSuspectedWorker } from './observe.ts';
import { callWorker } from './worker-call.ts';
import { createTimedOutWorkers, WorkerFailureTracker } from './worker-failure-tracker.ts';

export interface GpuOptions extends EndpointOptions {
  readonly fleet: Pick<Fleet, 'engine' | 'apiKey' | 'stallMs'>;
  readonly slots: SlotAllocator;
}

/** About the mean of Mooncake's conversation trace, 343 tokens; Azure's trace of 2023 has 211. */
export const EXPECTED_OUTPUT_TOKENS = 350;

/**
 * Creates the model behind a fleet of GPU workers. Each call leases a slot of a worker, sends the request to it and
 * releases the slot. If the worker fails before its first token, the call tries another one. A call that is not
 * streamed can change workers until its answer is complete.
 */
export function createGpuModel(target: GpuTarget, options: GpuOptions): Model {
  const { fleet, tier, slots, maxOutputTokens, secret } = options;
  const endpointAt = createEndpoints(target, options);
  const timedOutWorkers = createTimedOutWorkers();

  /** Resolves the fleet's key before the call waits for a slot. Without it, no worker can be called or registered. */
  async function requireKey(signal: AbortSignal): Promise<void> {
    if (fleet.apiKey === undefined) return;
    await rejectOnAbort(resolveSecret(fleet.apiKey, secret), signal).catch((thrown: unknown) => {
      throw tier === 'batch' ? retryableKeyError(thrown, target.fleet) : thrown;
    });
  }

  function toSlotRequest(request: GenerationRequest): SlotRequest {
    const { tenant } = request;
    const { model } = target;
    const limit = chooseOutputLimit(request.maxOutputTokens, maxOutputTokens) ?? EXPECTED_OUTPUT_TOKENS;
    const salt = deriveTenantSalt(tenant, target.fleet);
    const prompt = hashPrefixes(canonicalizePrompt(request), { tenant, model, salt });
    const expectedOutputTokens = Math.min(limit, EXPECTED_OUTPUT_TOKENS);
    return { fleet: target.fleet, model, tier, tenant, prompt, expectedOutputTokens };
  }

  async function acquireSlot(
    request: SlotRequest,
    { signal, telemetry }: ModelCall,
    failures: WorkerFailureTracker,
  ): Promise<Slot> {
    try {
      const slot = await slots.acquire(request, signal, failures.failedWorkers);
      reportSlot(telemetry, slot);
      return slot;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = noSlotError(thrown, target.fleet);
      if (error.code === 'overloaded') reportRefusedSlot(telemetry, target.fleet);
      // A worker's failure explains more than the fact that no other worker is free.
      throw failures.error ?? error;
    }
  }

  async function* generate(request: GenerationRequest, call: ModelCall): AsyncGenerator<GenerationEvent> {
    const { signal, streamed, telemetry } = call;
    signal.throwIfAborted();
    await requireKey(signal);
    const slotRequest = toSlotRequest(request);
    const workerCall = {
      signal,
      stallMs: fleet.stallMs,
      telemetry,
      onUsage: ({ inputTokens }: { inputTokens: number }) =>
        slots.recordUsage(target.model, slotRequest.prompt.bytes, inputTokens),
    };
    const failures = new WorkerFailureTracker(timedOutWorkers, async ({ worker }, error) => {
      reportSuspectedWorker(telemetry, worker, error);
      await slots.suspect(worker, error.upstream ?? error.code);
    });
    for (;;) {
      const slot = await acquireSlot(slotRequest, call, failures);
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

/** Maps a missing key to `overloaded`: a queued job waits for the key, as it waits for a fleet without workers. */
function retryableKeyError(thrown: unknown, fleet: string): unknown {
  if (!(thrown instanceof UpstreamError && thrown.code === 'upstream_misconfigured')) return thrown;
  return new UpstreamError('overloaded', `The key of the fleet ${fleet} is missing`, {
    recovery: 'nextTarget',
    cause: thrown.cause,
  });
}

/**
 * Maps a failure to get a slot. The recovery is `retry` if the fleet table failed, else `nextTarget`, because the call
 * has waited for a slot already.
 */
function noSlotError(thrown: unknown, fleet: string): UpstreamError {
  if (!(thrown instanceof LambentError)) {
    const message = `The fleet table could not be reached to lease a slot of the fleet ${fleet}`;
    return new UpstreamError('upstream_unavailable', message, { recovery: 'retry', cause: thrown });
  }
  const { code, message, retryAfterMs } = thrown;
  return new UpstreamError(code, message, {
    recovery: 'nextTarget',
    cause: thrown,
    ...omitUndefined({ retryAfterMs }),
  });
}
