import type { LambentError } from '../../../core/errors.ts';
import { describeError } from '../../../core/logger.ts';
import type { Telemetry } from '../../../core/telemetry.ts';
import type { Slot } from '../../../gpu/placement/slot.ts';
import type { Worker } from '../../../gpu/registry/worker.ts';

// Each function reports to the telemetry of one request, if there is one: names, times and counts, never content.

/** Annotates the request with its worker, and publishes how long it waited for the slot. */
export function reportSlot(
  telemetry: Telemetry | undefined,
  { worker, waitedMs, cachedTokens }: Pick<Slot, 'worker' | 'waitedMs' | 'cachedTokens'>,
): void {
  telemetry?.logger.annotate({ worker: worker.id, slotWaitMs: Math.round(waitedMs), cachedTokens });
  telemetry?.metrics.publish({ SlotWaitMs: [waitedMs, 'Milliseconds'] }, { Fleet: worker.fleet });
}

/** Counts a request that was refused a slot. */
export function reportRefusedSlot(telemetry: Telemetry | undefined, fleet: string): void {
  telemetry?.metrics.publish({ SlotsRefused: [1, 'Count'] }, { Fleet: fleet });
}

/** Logs and counts a worker that a call reports as suspect. */
export function reportSuspectedWorker(
  telemetry: Telemetry | undefined,
  { fleet, id }: Pick<Worker, 'fleet' | 'id'>,
  error: LambentError,
): void {
  telemetry?.logger.warn('worker suspected', { fleet, worker: id, ...describeError(error) });
  telemetry?.metrics.publish({ WorkersSuspected: [1, 'Count'] }, { Fleet: fleet });
}

/** Logs that a worker's engine refuses the field for the request's priority or its cache salt. */
export function reportRefusedField(
  telemetry: Telemetry | undefined,
  { fleet, url }: Pick<Worker, 'fleet' | 'url'>,
  field: string,
): void {
  telemetry?.logger.warn('engine refuses a field', { fleet, url, field });
}
