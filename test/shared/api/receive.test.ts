import { expect, it } from 'vitest';
import { deriveResponseId } from '../../../shared/api/queue-message.ts';
import { receive } from '../../../shared/api/receive.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { makeAnswer } from '../inference/requests.ts';
import { HOUR_MS, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault } from '../jobs/services.ts';
import { answerWith } from './answer-with.ts';

const KEY = 'acme/inbox/order-1';
const body = JSON.stringify({ model: 'default', input: 'Hello' });
const models = {
  default: { targets: [{ provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1/v1' }] },
};

async function* events() {
  yield* makeAnswer('Hello');
}

/**
 * Creates a receiver with one inbox object and a message that points to it. The job store's method `failing` throws,
 * and `remove` replaces the deletion of the inbox object.
 */
function createReceiver({ failing, remove }: { failing?: keyof JobStore; remove?: () => Promise<void> } = {}) {
  const objects = new Map([[KEY, Buffer.from(body)]]);
  const vault = aVault();
  const blobs = createMemoryBlobs();
  const store = createMemoryStore(() => START);
  const fail = async () => {
    throw Object.assign(new Error('unavailable'), { $metadata: {} });
  };
  const jobs = failing === undefined ? store : { ...store, [failing]: fail };
  const errors: string[] = [];
  const ports = {
    jobs,
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    queue: { send: async () => {} },
    answerJob: answerWith(
      async () => ({ events: events() }),
      () => START,
    ),
    listeners: {},
    timings: JOB_TIMINGS,
    ids: () => 'worker',
    random: () => 0.5,
    onError: (message: string) => void errors.push(message),
    now: () => START,
    sleep: (_ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
    senders: { find: async () => ({ keyId: 'orders', tenants: ['acme'], scopes: ['inference' as const] }) },
    registry: parseModelRegistry(JSON.stringify({ models }), 'models.json'),
    inbox: {
      name: 'ours',
      get: async (key: string) => objects.get(key),
      remove: remove ?? (async (key: string) => void objects.delete(key)),
    },
    replyQueues: {},
    lifetime: { deadlineMs: HOUR_MS, retentionMs: HOUR_MS },
  };
  const message = {
    version: 1,
    type: 'generate',
    tenant: 'acme',
    idempotencyKey: 'order-1',
    endpoint: '/v1/responses',
    bodyPointer: { bucket: 'ours', key: KEY },
  };
  const record = {
    messageId: 'm1',
    receiptHandle: 'r1',
    body: JSON.stringify(message),
    attributes: { SenderId: 'AROA', ApproximateReceiveCount: '1' },
  };
  const call = {
    signal: new AbortController().signal,
    deadlineAt: START + HOUR_MS,
    extendVisibility: async () => {},
    telemetry: recordTelemetry(),
  };
  return {
    objects,
    errors,
    job: () => store.read('acme', deriveResponseId('acme', 'order-1')),
    receive: () => receive(record, ports, call),
    /** Ends the failures of the job store. */
    restoreStore: () => Object.assign(jobs, store),
  };
}

it('an inbox object is kept until its job exists', async () => {
  const receiver = createReceiver({ failing: 'create' });
  await expect(receiver.receive()).rejects.toThrow('unavailable');
  expect(receiver.objects.has(KEY)).toBe(true);
  receiver.restoreStore();
  expect(await receiver.receive()).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  expect(receiver.objects.has(KEY)).toBe(false);
});

it('an inbox object is deleted even if running its job fails', async () => {
  const receiver = createReceiver({ failing: 'update' });
  expect(await receiver.receive()).toMatchObject({ kind: 'refused' });
  expect(await receiver.job()).toMatchObject({ status: 'queued' });
  expect(receiver.objects.has(KEY)).toBe(false);
});

it('a job completes even if its inbox object cannot be deleted', async () => {
  const receiver = createReceiver({ remove: () => Promise.reject(new Error('denied')) });
  expect(await receiver.receive()).toMatchObject({ kind: 'ended', job: { status: 'completed' } });
  expect(receiver.errors).toEqual(['an inbox object could not be deleted']);
  expect(await receiver.receive()).toEqual({ kind: 'refused', status: 'completed' });
});
