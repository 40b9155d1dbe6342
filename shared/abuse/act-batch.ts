import { createHash } from 'node:crypto';
import { type Act, describeAct } from '../audit/act.ts';
import type { LogBatch } from '../lambda/log-event.ts';

/**
 * Returns an act of the service as a batch of log lines, for the audit log. The same act and time give the same batch, which a
 * chain records once. The log group of the function `record` has no subscription, because the function would invoke itself forever.
 * @param at epoch milliseconds
 * @param logGroup that of the function
 */
export function makeActBatch(act: Act, at: number, logGroup: string): LogBatch {
  const line = JSON.stringify({ time: new Date(at).toISOString(), ...describeAct(act) });
  return { id: createHash('sha256').update(line).digest('hex'), logGroup, logStream: 'abuse', lines: [line] };
}
