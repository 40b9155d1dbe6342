import type { LambentError } from '../../../core/errors.ts';
import { describeError, type Logger } from '../../../core/logger.ts';
import type { Metrics } from '../../../core/metrics.ts';
import type { Slot } from '../../../gpu/placement/leasing.ts';
import type { Worker } from '../../../gpu/registry/worker.ts';

/** Hears where calls go, for logs and metrics. Never sees content. */
export interface GpuObserver {
  placed(slot: Pick<Slot, 'worker' | 'waitedMs' | 'cachedTokens'>): void;
  /** There was no slot in time. */
  refused(fleet: string): void;
  suspected(slot: Pick<Slot, 'worker'>, error: LambentError): void;
  /** A worker's engine refuses a field that tells it whose turn it is, or whose cache. */
  fieldRefused(worker: Pick<Worker, 'fleet' | 'url'>, field: string): void;
}

/** Writes where calls go into the log and the metrics. */
export function createGpuObserver(logger: Logger, { publish }: Pick<Metrics, 'publish'>): GpuObserver {
  return {
    placed({ worker, waitedMs, cachedTokens }) {
      logger.annotate({ worker: worker.id, slotWaitMs: Math.round(waitedMs), cachedTokens });
      publish({ SlotWaitMs: [waitedMs, 'Milliseconds'], SlotsRefused: [0, 'Count'] }, { Fleet: worker.fleet });
    },
    refused(fleet) {
      publish({ SlotsRefused: [1, 'Count'] }, { Fleet: fleet });
    },
    suspected({ worker }, error) {
      logger.warn('worker suspected', { fleet: worker.fleet, worker: worker.id, ...describeError(error) });
      publish({ WorkersSuspected: [1, 'Count'] }, { Fleet: worker.fleet });
    },
    fieldRefused({ fleet, url }, field) {
      logger.warn('engine refuses a field', { fleet, url, field });
    },
  };
}
