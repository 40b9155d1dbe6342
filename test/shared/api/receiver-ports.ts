import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { HOUR_MS } from '../jobs/jobs.ts';

/**
 * Creates the receiver ports that most tests share: a sender that may use the tenant `acme`, no reply queues, and a
 * `sleep` that only ends by abort, so that no heartbeat is sent.
 */
export function createReceiverPorts(clock: { readonly now: number }) {
  let ids = 0;
  return {
    listeners: {},
    timings: JOB_TIMINGS,
    ids: () => `worker${ids++}`,
    now: () => clock.now,
    sleep: (_ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
    senders: { find: async () => ({ keyId: 'orders', tenants: ['acme'], scopes: ['inference' as const] }) },
    inbox: { name: 'ours', get: async () => undefined, remove: async () => {} },
    replyQueues: {},
    lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
  };
}
