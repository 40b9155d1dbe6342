import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { HOUR_MS } from '../jobs/jobs.ts';

/** Opens limits where no caller has any. */
export const rejectLimits = (): Promise<never> => Promise.reject(new Error('No caller has limits'));

/** Creates the ports of a receiver that most tests share: a sender with all rights, and no reply queues. */
export function createReceiverPorts(clock: { readonly now: number }) {
  return {
    timings: JOB_TIMINGS,
    now: () => clock.now,
    senders: {
      find: async () => ({ keyId: 'orders', tenants: ['acme'], scopes: ['generate'], replyQueues: [] }),
    },
    policies: { find: async () => ({ archived: false }) },
    openQueueLimits: rejectLimits,
    openStorageLimits: rejectLimits,
    inbox: { name: 'ours', get: async () => undefined, remove: async () => {} },
    replyQueues: {},
    lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
  };
}

/** Creates the ports of a worker that most tests share, with a `sleep` that only ends by abort, so that no heartbeat is sent. */
export function createWorkerPorts(clock: { readonly now: number }) {
  let ids = 0;
  return {
    timings: JOB_TIMINGS,
    steps: {},
    onStepFailed: async () => {},
    ids: () => `worker${ids++}`,
    now: () => clock.now,
    sleep: (_ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
  };
}
