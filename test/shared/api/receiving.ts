import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { HOUR_MS } from '../jobs/jobs.ts';

/**
 * What receiving a message takes that a test of something else doesn't care about: a sender who may do all, no reply queues, and
 * heartbeats that never beat.
 */
export function receivingPorts(clock: { readonly now: number }) {
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
