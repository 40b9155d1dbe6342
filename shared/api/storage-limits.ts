import type { Policy } from '../access/policy.ts';
import { LambentError } from '../core/errors.ts';
import { describeError } from '../core/logger.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { GiveBackStorage } from '../jobs/ports.ts';
import type { CounterStore } from '../limits/counters.ts';
import { storageLimitError } from '../limits/limit-errors.ts';
import { findStorageLimits } from '../limits/storage-caps.ts';
import { StoredAmounts, type StoredMaxima } from '../limits/stored-amounts.ts';

/** Sealed bytes, and the number of records that the API shows. */
export interface StorageAmount {
  readonly bytes: number;
  readonly items: number;
}

/** What a request is going to store, at most. */
export interface StorageRequest {
  readonly most: StorageAmount;
  /** Epoch seconds until which it counts. */
  readonly expiresAt: number;
}

/** Storage that is reserved for a request. */
export interface ReservedStorage extends Pick<StorageRequest, 'expiresAt'> {
  /** Replaces what was reserved by what was stored, once. Never throws: a failed settling counts as the whole reservation. */
  settle(stored: StorageAmount): Promise<void>;
}

export interface StorageLimitsOptions {
  readonly store: CounterStore;
  readonly metrics: Pick<Metrics, 'publish'>;
  /** What happens to requests that store something while the table of limits is not available. */
  readonly whenDown: 'refuse' | 'pass';
  /** Returns epoch milliseconds. Default: `Date.now`. */
  readonly now?: () => number;
}

/** Counts what projects with limits store. Once per environment. */
export class StorageLimits {
  readonly #amounts: StoredAmounts;
  readonly #options: StorageLimitsOptions;

  constructor(options: StorageLimitsOptions) {
    this.#options = options;
    this.#amounts = new StoredAmounts(options.store, options.now ?? Date.now);
  }

  /** As `reserveStorage`, for a project with limits. */
  async reserve(
    tenant: string,
    { most, expiresAt }: StorageRequest,
    maxima: StoredMaxima,
    telemetry: Telemetry | undefined,
  ): Promise<ReservedStorage | undefined> {
    const { metrics, whenDown } = this.#options;
    const counted = await this.#amounts
      .reserve(tenant, toCounted(most), expiresAt, maxima)
      .catch((thrown: unknown): undefined => {
        telemetry?.logger.error('limits not available', { passed: whenDown === 'pass', ...describeError(thrown) });
        metrics.publish({ LimitsUnavailable: [1, 'Count'] }, 'stage');
        if (whenDown === 'pass') return undefined;
        throw new LambentError('overloaded', 'The table of limits is not available', { cause: thrown });
      });
    if (counted === undefined) return undefined;
    if ('name' in counted) {
      telemetry?.logger.annotate({ limit: `project.${counted.name}` });
      telemetry?.metrics.gather({ LimitedCalls: [1, 'Count'] });
      throw storageLimitError(counted);
    }
    let isSettled = false;
    return {
      expiresAt,
      async settle(stored) {
        if (isSettled) return;
        isSettled = true;
        await counted
          .settle(toCounted(stored))
          .catch((thrown: unknown) => telemetry?.logger.warn('stored amount not settled', describeError(thrown)));
      },
    };
  }

  /** As `GiveBackStorage`. What can't be given back counts until it would have expired. */
  readonly giveBack: GiveBackStorage = async (tenant, stored, expiresAt) => {
    await this.#amounts
      .remove(tenant, toCounted(stored), expiresAt)
      .catch(() => this.#options.metrics.publish({ LimitsUnavailable: [1, 'Count'] }, 'stage'));
  };
}

/** Opens the limits on storage, when they are first needed. */
export type OpenStorageLimits = () => Promise<StorageLimits>;

/**
 * Reserves what a request is going to store. Returns undefined, without a request to a table, if its project has no such limits.
 * @param getRequest called only for a project with limits
 * @throws LambentError `storage_limit_exceeded` if the project's limits don't allow it; `overloaded` if the table of limits is not
 * available
 */
export async function reserveStorage(
  open: OpenStorageLimits,
  { tenant, policy, telemetry }: StorageCaller,
  getRequest: (maxima: StoredMaxima) => StorageRequest,
): Promise<ReservedStorage | undefined> {
  const maxima = findStorageLimits(policy);
  if (maxima === undefined) return undefined;
  return (await open()).reserve(tenant, getRequest(maxima), maxima, telemetry);
}

/** The caller of a request that stores something. */
export interface StorageCaller {
  readonly tenant: string;
  readonly policy: Policy;
  readonly telemetry: Telemetry | undefined;
}

function toCounted({ bytes, items }: StorageAmount) {
  return { bytes: BigInt(bytes), items: BigInt(items) };
}
