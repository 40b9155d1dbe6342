import {
  type Bucket,
  buildPlaceRelease,
  callsModel,
  getBucketCounters,
  hasRetries,
  isStranded,
  listBuckets,
} from './bucket.ts';
import type { CounterStore, Counters } from './counters.ts';
import { MINUTE_MS } from './windows.ts';

/**
 * Calls of one minute and model that never settled, and what they had reserved: their function died, the write that settles them was
 * lost, or they were refused because the response to their reservation was lost.
 */
export interface Stranded {
  readonly pk: string;
  readonly model: string;
  /** Epoch milliseconds of the beginning of their minute. */
  readonly startedAt: number;
  /** 0 for what calls had reserved for further attempts: they are counted with their first reservations. */
  readonly calls: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Picodollars. */
  readonly spend: bigint;
}

/**
 * Settles the calls of a key that can't settle any more: what they had reserved counts as used, and their places in flight
 * are free again.
 * @param counters the key's item, as it was last seen
 * @returns the calls of models that this call has settled. No other call returns them. Fallbacks are part of them.
 */
export async function settleStranded(
  store: CounterStore,
  pk: string,
  counters: Counters,
  now: number,
): Promise<Stranded[]> {
  const settled: Stranded[] = [];
  for (const bucket of listBuckets(counters)) {
    const calls = counters[getBucketCounters(bucket).calls] ?? 0n;
    if (calls <= 0n || !isStranded(bucket, now)) continue;
    const names = getBucketCounters(bucket);
    const { isWritten } = await store.write({
      pk,
      add: buildPlaceRelease(bucket, calls),
      remove: Object.values(names),
      equal: { [names.calls]: calls },
    });
    if (isWritten && callsModel(bucket)) settled.push(describe(pk, bucket, counters));
  }
  return settled;
}

function describe(pk: string, bucket: Bucket, counters: Counters): Stranded {
  const names = getBucketCounters(bucket);
  return {
    pk,
    model: bucket.model,
    startedAt: bucket.minute * MINUTE_MS,
    calls: hasRetries(bucket) ? 0 : Number(counters[names.calls] ?? 0n),
    inputTokens: Number(counters[names.inputTokens] ?? 0n),
    outputTokens: Number(counters[names.outputTokens] ?? 0n),
    spend: counters[names.spend] ?? 0n,
  };
}
