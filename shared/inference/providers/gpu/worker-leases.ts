import { LambentError } from '../../../core/errors.ts';
import { omitUndefined } from '../../../core/objects.ts';
import type { Telemetry } from '../../../core/telemetry.ts';
import type { Slot, SlotRequest } from '../../../gpu/placement/slot.ts';
import type { SlotAllocator } from '../../../gpu/placement/slot-allocator.ts';
import type { Tier } from '../../../gpu/registry/worker.ts';
import { UpstreamError } from '../../model.ts';
import type { Fleet, GpuTarget } from '../../registry.ts';
import { rejectOnAbort, resolveSecret } from '../openai-compatible/access.ts';
import { reportRefusedSlot, reportSlot, reportSuspectedWorker } from './observe.ts';
import { type TimedOutWorkers, WorkerFailureTracker } from './worker-failure-tracker.ts';

export interface LeaseOptions {
  readonly fleet: Pick<Fleet, 'apiKey'>;
  readonly tier: Tier;
  readonly slots: SlotAllocator;
  /** Resolves `env:…`, `ssm:…` and `secret:…` references. Called for each request, so it should cache. */
  readonly secret: (reference: string) => Promise<string>;
}

interface LeaseCall {
  readonly signal: AbortSignal;
  readonly telemetry?: Telemetry | undefined;
}

/** Leases slots of a fleet's workers for calls of one target, and reports what becomes of them. */
export class WorkerLeases {
  readonly #target: GpuTarget;
  readonly #options: LeaseOptions;

  constructor(target: GpuTarget, options: LeaseOptions) {
    this.#target = target;
    this.#options = options;
  }

  /**
   * Resolves the fleet's key before a call waits for a slot. Without it, no worker can be called or registered.
   * @throws UpstreamError if the key is missing; the signal's reason
   */
  async requireKey(signal: AbortSignal): Promise<void> {
    const { fleet, secret, tier } = this.#options;
    if (fleet.apiKey === undefined) return;
    await rejectOnAbort(resolveSecret(fleet.apiKey, secret), signal).catch((thrown: unknown) => {
      throw tier === 'batch' ? retryableKeyError(thrown, this.#target.fleet) : thrown;
    });
  }

  /**
   * Leases a slot of a worker that has not failed in this call.
   * @throws UpstreamError the failure of a worker that was tried before, or why no slot could be leased
   */
  async acquire(request: SlotRequest, { signal, telemetry }: LeaseCall, failures: WorkerFailureTracker): Promise<Slot> {
    try {
      const slot = await this.#options.slots.acquire(request, signal, failures.failedWorkers);
      reportSlot(telemetry, slot);
      return slot;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = noSlotError(thrown, this.#target.fleet);
      if (error.code === 'overloaded') reportRefusedSlot(telemetry, this.#target.fleet);
      // A worker's failure explains more than the fact that no other worker is free.
      throw failures.error ?? error;
    }
  }

  /** Returns the tracker of one call's failures. It marks workers as suspect in the registry. */
  trackFailures(timedOutWorkers: TimedOutWorkers, telemetry: Telemetry | undefined): WorkerFailureTracker {
    return new WorkerFailureTracker(timedOutWorkers, async ({ worker }, error) => {
      reportSuspectedWorker(telemetry, worker, error);
      await this.#options.slots.suspect(worker, error.upstream ?? error.code);
    });
  }
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
