import type { RequestLogger } from '../core/logger.ts';
import { type CleaningPorts, cleanWholeLedger } from './ledger-cleaning.ts';
import { LEDGER_PREFIX } from './ledger-entry.ts';
import { logStranded } from './log-stranded.ts';
import { settleStranded } from './stranded.ts';
import { MINUTE_MS } from './windows.ts';

/** The items of all keys are read at most this often: one request finds some thousands of them. */
const INTERVAL_MINUTES = 15;

/** True if the run of this minute should look for stranded calls. */
export function isLimitSweepDue(now: number): boolean {
  return Math.floor(now / MINUTE_MS) % INTERVAL_MINUTES === 0;
}

export interface LimitSweepPorts extends CleaningPorts {
  readonly logger: Pick<RequestLogger, 'summarize'>;
}

/**
 * Settles and logs the calls of dead functions whose keys aren't used any more, and removes the entries of ended jobs of tenants that
 * send none. Others are settled by the next call of their key, and removed when a limit is reached.
 * @throws the tables' errors
 */
export async function sweepLimits(ports: LimitSweepPorts): Promise<void> {
  const { store, logger, now } = ports;
  for await (const { pk, counters } of store.list([KEY_PREFIX, LEDGER_PREFIX])) {
    if (pk.startsWith(LEDGER_PREFIX)) {
      await cleanWholeLedger(ports, pk.slice(LEDGER_PREFIX.length), counters);
      continue;
    }
    for (const stranded of await settleStranded(store, pk, counters, now())) logStranded(logger, stranded);
  }
}

const KEY_PREFIX = 'key#';
