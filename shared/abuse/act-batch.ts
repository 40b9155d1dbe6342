import { createHash } from 'node:crypto';
import { type Act, describeAct } from '../audit/act.ts';
import type { LogBatch } from '../lambda/log-event.ts';

/**
 * Returns an act of the service as a batch of its own, for the audit log: the same batch for the same act and time, which a chain
 * records once. No subscription delivers the lines of the function `record`, because it would call itself forever.
 * @param at epoch milliseconds
 * @param logGroup that of the function
 */
export function makeActBatch(act: Act, at: number, logGroup: string): LogBatch {
  const line = JSON.stringify({ time: new Date(at).toISOString(), ...describeAct(act) });
  return { id: createHash('sha256').update(line).digest('hex'), logGroup, logStream: 'abuse', lines: [line] };
}
