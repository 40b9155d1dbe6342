import type { RequestLogger } from '../core/logger.ts';
import type { CounterStore } from './counters.ts';
import { logStranded } from './log-stranded.ts';
import { settleStranded } from './stranded.ts';
import { MINUTE_MS } from './windows.ts';

/** The items of all keys are read at most this often: one request finds some thousands of them. */
const INTERVAL_MINUTES = 15;

/** True if the run of this minute should look for stranded calls. */
export function isLimitSweepDue(now: number): boolean {
  return Math.floor(now / MINUTE_MS) % INTERVAL_MINUTES === 0;
}

/**
 * Settles and logs the calls of dead functions whose keys aren't used any more. Others are settled by the next call of their
 * key.
 * @throws the table's errors
 */
export async function sweepLimits(
  store: CounterStore,
  logger: Pick<RequestLogger, 'summarize'>,
  now: number,
): Promise<void> {
  for await (const { pk, counters } of store.listKeys()) {
    for (const stranded of await settleStranded(store, pk, counters, now)) logStranded(logger, stranded);
  }
}
