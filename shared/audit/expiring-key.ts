import { getWarningDay } from '../access/expiry-warning.ts';
import type { KeyTable } from '../access/key-table.ts';
import type { KeyRecord } from '../access/keys.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { describeError } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { logAct } from './act.ts';

export interface ReportPorts {
  readonly keys: Pick<KeyTable, 'recordWarning'>;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Logs and counts a key that expires soon, once a day. The day is recorded first: of several callers, one logs it, and if
 * that one dies before, the key is reported on the next day. Never throws.
 * @param partition the key's partition in the access table
 */
export async function reportExpiry(
  partition: string,
  record: KeyRecord,
  { keys, now }: ReportPorts,
  { logger, metrics }: Telemetry,
): Promise<void> {
  const day = getWarningDay(record, now());
  if (day === undefined) return;
  const { tenant, keyId: objectId, expiresAt: expires_at } = record;
  const project = tenant === ORGANIZATION ? {} : { project: tenant };
  try {
    if (!(await keys.recordWarning(partition, day))) return;
    logAct({ logger }, { type: 'api_key.expiring', objectId, ...project, details: { expires_at } });
    metrics.publish({ KeysExpiring: [1, 'Count'] }, 'stage');
  } catch (thrown) {
    logger.warn('expiry warning not recorded', describeError(thrown));
  }
}
