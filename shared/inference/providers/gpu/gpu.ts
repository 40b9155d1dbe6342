import { LambentError } from '../../../core/errors.ts';
import type { Slot, SlotAllocator, SlotRequest } from '../../../gpu/placement/leasing.ts';
import { deriveTenantSalt, hashPrefixes } from '../../../gpu/placement/prompt.ts';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import { type Model, type ModelCall, UpstreamError } from '../../model.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { orAbort, resolvedSecret } from '../openai-compatible/openai-compatible.ts';
import { canonicalPrompt } from './canonical-prompt.ts';
import { createEndpoints, type EndpointOptions } from './endpoints.ts';
import { WorkerFailure } from './failure.ts';
import { reportRefusedSlot, reportSlot, reportSuspectedWorker } from './observe.ts';
import { callWorker } from './worker-call.ts';

export interface GpuOptions extends EndpointOptions {
  readonly fleet: Pick<Fleet, 'engine' | 'apiKey' | 'stallMs'>;
  readonly slots: SlotAllocator;
}

/** Workers that one call tries. What three have failed on is most likely the call's own fault. */
const MOST_WORKERS = 3;
/** What answers have in the mean: 343 in Mooncake's conversation trace, 211 in Azure's of 2023. */
export const EXPECTED_OUTPUT_TOKENS = 350;

/**
 * The model behind a fleet of GPU workers: each call leases a slot of one, asks it, and gives the slot back. A worker that
 * fails before its first token costs a call nothing but time: another is asked. A call that wants its answer whole may
 * change workers until the end.
 */
export function createGpuModel(target: GpuTarget, options: GpuOptions): Model {
  const { fleet, tier, slots, maxOutputTokens, secret } = options;
  const endpointAt = createEndpoints(target, options);
  /** Starts of workers of which this environment has heard nothing since a call of them was given up. */
  const silent = new Set<string>();

  function slotRequestOf(request: GenerationRequest): SlotRequest {
    const { tenant } = request;
    const { model } = target;
    const limit = Math.min(request.maxOutputTokens ?? maxOutputTokens, maxOutputTokens);
    const prompt = hashPrefixes(canonicalPrompt(request), {
      tenant,
      model,
      salt: deriveTenantSalt(tenant, target.fleet),
    });
    const expectedOutputTokens = Math.min(limit, EXPECTED_OUTPUT_TOKENS);
    return { fleet: target.fleet, model, tier, tenant, prompt, expectedOutputTokens };
  }

  async function acquire(
    asked: SlotRequest,
    { signal, telemetry }: ModelCall,
    failedOn: ReadonlySet<string>,
  ): Promise<Slot> {
    try {
      const slot = await slots.acquire(asked, signal, failedOn);
      reportSlot(telemetry, slot);
      return slot;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = refusal(thrown, target.fleet);
      if (error.code === 'overloaded') reportRefusedSlot(telemetry, target.fleet);
      throw error;
    }
  }

  async function* generate(request: GenerationRequest, call: ModelCall): AsyncGenerator<GenerationEvent> {
    const { signal, streamed, telemetry } = call;
    signal.throwIfAborted();
    // Before a slot is waited for: without the key no worker can be asked, and none becomes one.
    if (fleet.apiKey !== undefined) {
      await orAbort(resolvedSecret(fleet.apiKey, secret), signal).catch((thrown: unknown) => {
        throw tier === 'batch' ? waiting(thrown, target.fleet) : thrown;
      });
    }
    const asked = slotRequestOf(request);
    const onUsage = ({ inputTokens }: { inputTokens: number }) =>
      slots.recordUsage(asked.model, asked.prompt.bytes, inputTokens);
    const failedOn = new Set<string>();
    const tripped: { readonly slot: Slot; readonly error: UpstreamError }[] = [];
    let failure: UpstreamError | undefined;
    let broken = 0;
    let suspicious = true;
    const suspect = async (slot: Slot, error: UpstreamError): Promise<void> => {
      reportSuspectedWorker(telemetry, slot.worker, error);
      await slots.suspect(slot.worker, error.upstream ?? error.code);
    };
    for (;;) {
      const slot = await acquire(asked, call, failedOn).catch((thrown: unknown) => {
        // Why the others failed says more than that there are no more.
        throw signal.aborted ? thrown : (failure ?? thrown);
      });
      const answer = callWorker(slot, endpointAt(slot.worker.url), request, {
        signal,
        stallMs: fleet.stallMs,
        onUsage,
        telemetry,
      });
      let begun = false;
      try {
        for await (const event of streamed ? answer : wholeOf(answer)) {
          if (!begun) {
            silent.delete(startOf(slot));
            // What another can answer was not the request's doing.
            for (const each of tripped) await suspect(each.slot, each.error);
          }
          begun = true;
          yield event;
        }
        return;
      } catch (thrown) {
        if (!(thrown instanceof WorkerFailure)) throw thrown;
        const { error, ill, elsewhere } = thrown;
        // What a second worker does as well is most likely the request's doing.
        const isRepeated = ill === 'repeated' && silent.has(startOf(slot));
        if (ill === 'surely' || isRepeated || (ill === 'perhaps' && suspicious)) await suspect(slot, error);
        if (ill === 'repeated') silent.add(startOf(slot));
        if (ill === 'perhaps') suspicious = false;
        if (ill === 'alone') tripped.push({ slot, error });
        if (begun || !elsewhere) throw error;
        if (error.code === 'upstream_cut') broken += 1;
        // That workers broke under the request is not to be lost behind one that was away.
        if (failure?.code !== 'upstream_cut') failure = broken === 1 && slot.otherWorkers > 0 ? passing(error) : error;
        failedOn.add(slot.worker.id);
        if (failedOn.size === MOST_WORKERS) throw failure;
      }
    }
  }

  return { managesOwnHealth: true, generate };
}

/** The same events, once all are there. */
async function* wholeOf(answer: AsyncIterable<GenerationEvent>): AsyncGenerator<GenerationEvent> {
  const events: GenerationEvent[] = [];
  for await (const event of answer) events.push(event);
  yield* events;
}

/**
 * A worker may break under a request by chance, all the more the more workers there are: it costs a job nothing but time. Where a
 * second one does as well, or there is no other, it may be the request that kills them, and costs it an attempt.
 */
function passing(error: UpstreamError): UpstreamError {
  if (error.code !== 'upstream_cut') return error;
  const { message, recovery, upstream, cause } = error;
  const details = { recovery, cause, ...(upstream === undefined ? {} : { upstream }) };
  return new UpstreamError('upstream_unavailable', message, details);
}

function startOf({ worker }: Slot): string {
  return `${worker.id} ${worker.bootId}`;
}

/** Queued work waits until its fleet's key is there, as it does for a fleet that has no worker. */
function waiting(thrown: unknown, fleet: string): unknown {
  if (!(thrown instanceof UpstreamError && thrown.code === 'upstream_misconfigured')) return thrown;
  const { cause } = thrown;
  return new UpstreamError('overloaded', `The key of the fleet ${fleet} is not there`, {
    recovery: 'nextTarget',
    cause,
  });
}

/** Why there is no slot. It was waited for already: what is left is another target. */
function refusal(thrown: unknown, fleet: string): UpstreamError {
  if (!(thrown instanceof LambentError)) {
    const message = `The table of the fleet ${fleet} can't be reached`;
    return new UpstreamError('upstream_unavailable', message, { recovery: 'retry', cause: thrown });
  }
  const { code, message, retryAfterMs } = thrown;
  const details = { recovery: 'nextTarget', cause: thrown } as const;
  return new UpstreamError(code, message, retryAfterMs === undefined ? details : { ...details, retryAfterMs });
}
