import type { ExpiringKeys } from '../access/expiring-keys.ts';
import { getDay, listWarnedDays } from '../access/expiry-warning.ts';
import type { KeyTable } from '../access/key-table.ts';
import type { PolicyTable } from '../access/policy-table.ts';
import { describeError } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { reportExpiry } from './expiring-key.ts';

/** Once an hour, so that a run that fails or doesn't finish delays no report by a day. A key is reported once a day. */
const MINUTE_OF_HOUR = 7;
/** As many as one request reads. */
const BATCH = 100;

/** True if the run of this minute should look for keys that expire soon. */
export function isExpirySweepDue(now: number): boolean {
  return new Date(now).getUTCMinutes() === MINUTE_OF_HOUR;
}

export interface ExpirySweepPorts {
  readonly expiring: Pick<ExpiringKeys, 'list'>;
  readonly keys: Pick<KeyTable, 'readAll' | 'recordWarning'>;
  readonly policies: PolicyTable;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
  readonly telemetry: Telemetry;
}

/**
 * Reports the keys that expire soon and were not used today, as the authorizer reports those that are used. Leaves out those
 * of archived projects, which refuse them anyway.
 * @param until epoch milliseconds after which nothing more is read; the next run goes on with the other keys
 * @throws DynamoDB's errors
 */
export async function sweepExpiringKeys(ports: ExpirySweepPorts, until: number): Promise<void> {
  const { expiring, now } = ports;
  for (const day of listWarnedDays(now())) {
    let batch: string[] = [];
    for await (const partition of expiring.list(day)) {
      batch.push(partition);
      if (batch.length < BATCH) continue;
      await reportBatch(ports, day, batch);
      batch = [];
      if (now() >= until) return;
    }
    await reportBatch(ports, day, batch);
    if (now() >= until) return;
  }
}

async function reportBatch(
  { keys, policies, now, telemetry }: ExpirySweepPorts,
  day: string,
  partitions: readonly string[],
): Promise<void> {
  for (const [partition, record] of await keys.readAll(partitions, now())) {
    // Its expiry was changed. It is listed under the new day, unless it was replaced.
    if (record.expiresAt === undefined || getDay(record.expiresAt * 1000) !== day) continue;
    const { tenant } = record;
    try {
      if ((await policies.find(tenant)).archived) continue;
    } catch (thrown) {
      // One invalid project must not keep the keys of others from being reported.
      telemetry.logger.warn('project of an expiring key not read', { tenant, ...describeError(thrown) });
    }
    await reportExpiry(partition, record, { keys, now }, telemetry);
  }
}
