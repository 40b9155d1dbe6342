import type { RequestLogger } from '../core/logger.ts';
import { LIST_PARTS } from './counters.ts';
import { type ForgettingPorts, IdleChildren, PARENTS } from './forget-idle.ts';
import { type CleaningPorts, cleanWholeLedger } from './ledger-cleaning.ts';
import { getLedgerPartition, LEDGER_PREFIX } from './ledger-entry.ts';
import { logStranded } from './log-stranded.ts';
import { settleStranded } from './stranded.ts';
import { MINUTE_MS } from './windows.ts';

/** The items of all keys are read at most this often: one request finds some thousands of them. */
const INTERVAL_MINUTES = 15;

/** True if the run of this minute should look for stranded calls. */
export function isLimitSweepDue(now: number): boolean {
  return Math.floor(now / MINUTE_MS) % INTERVAL_MINUTES === 0;
}

export interface LimitSweepPorts extends CleaningPorts, Pick<ForgettingPorts, 'pause' | 'idleMinutes'> {
  readonly logger: Pick<RequestLogger, 'summarize'>;
  /** Called if the item of a key or of a tenant could not be swept. The next sweep tries it again. */
  readonly onError: (what: string, thrown: unknown) => void;
}

/**
 * Settles and logs the calls of dead functions whose keys aren't used any more, and removes the entries of ended jobs of tenants that
 * send none. Others are settled by the next call of their key, and removed when a limit is reached. Keys and projects that hold
 * nothing are removed from the items that grant them places in flight. Each sweep begins in another part of
 * the table, so that all items have their turn although there are too many for one sweep.
 * @param until epoch milliseconds after which no further item is swept
 * @returns false if the time was over before all items were swept
 * @throws the error of the table of limits if its items can't be listed
 */
export async function sweepLimits(ports: LimitSweepPorts, until: number): Promise<boolean> {
  const { store, logger, now, onError } = ports;
  const children = new IdleChildren();
  const scanUntil = now() + (until - now()) * SCAN_SHARE;
  let isComplete = true;
  for await (const { pk, counters } of store.list([KEY_PREFIX, LEDGER_PREFIX, ...PARENTS], getFirstPart(now()))) {
    if (now() >= scanUntil) {
      isComplete = false;
      break;
    }
    children.see(pk, counters);
    if (pk.startsWith(LEDGER_PREFIX)) {
      await cleanTenant(ports, pk.slice(LEDGER_PREFIX.length), scanUntil);
      continue;
    }
    if (!pk.startsWith(KEY_PREFIX)) continue;
    try {
      for (const stranded of await settleStranded(store, pk, counters, now())) logStranded(logger, stranded);
    } catch (thrown) {
      onError('calls of a key not settled', thrown);
    }
  }
  await children.forget(ports, until, isComplete);
  return isComplete && now() < until;
}

const KEY_PREFIX = 'key#';
/** The share of the time in which items are read. The rest is for those that grant places in flight. */
const SCAN_SHARE = 0.6;

/** Has no divisor in common with the number of parts. Two sweeps in a row begin far from each other. */
const PARTS_STEP = 5;

function getFirstPart(now: number): number {
  return (Math.floor(now / MINUTE_MS / INTERVAL_MINUTES) * PARTS_STEP) % LIST_PARTS;
}

async function cleanTenant(ports: LimitSweepPorts, tenant: string, until: number): Promise<void> {
  const { store, now, onError } = ports;
  // A tenant with too many jobs for one sweep takes half of the time, so that others have theirs.
  const half = now() + (until - now()) / 2;
  try {
    await cleanWholeLedger(ports, tenant, await store.read(getLedgerPartition(tenant)), half);
  } catch (thrown) {
    onError('ended jobs of a tenant still counted', thrown);
  }
}
