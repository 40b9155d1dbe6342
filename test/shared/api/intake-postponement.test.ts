import { expect, it } from 'vitest';
import { getMessageBytes, INTAKE_RETRY } from '../../../shared/api/intake-handler.ts';
import { receive } from '../../../shared/api/receive.ts';
import { type MessageAction, MessagePool, type PoolOptions } from '../../../shared/lambda/message-pool.ts';
import type { QueueRecord } from '../../../shared/lambda/queue-event.ts';
import { computeRetryPauseMs, MessageRejectedError } from '../../../shared/lambda/queue-pipeline.ts';
import { createVirtualTime } from '../gpu/virtual-time.ts';

const START = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const INVOCATION_MS = 900_000;
/** How long a message takes in the outage. */
const FAILING_MS = 12_000;
const BODY = JSON.stringify({
  version: 1,
  type: 'generate',
  tenant: 'acme',
  idempotencyKey: 'k',
  endpoint: '/v1/responses',
  bodyPointer: { bucket: 'ours', key: 'acme/inbox/k' },
});

/** Runs twenty messages for three hours in an outage of the stores. Returns how often each was received, and the rejected ones. */
async function runInOutage(changes: Partial<PoolOptions>) {
  const time = createVirtualTime(START);
  const never = new AbortController().signal;
  const messages = Array.from({ length: 20 }, (_, index) => ({
    id: `m${index}`,
    visibleAt: START,
    received: 0,
    first: 0,
  }));
  const rejected: string[] = [];
  const take = (max: number): QueueRecord[] =>
    messages
      .filter(({ id, visibleAt }) => visibleAt <= time.now() && !rejected.includes(id))
      .slice(0, max)
      .map((message) => {
        message.received += 1;
        message.first ||= time.now();
        message.visibleAt = time.now() + INVOCATION_MS;
        const attributes = {
          SenderId: 'AROA',
          ApproximateReceiveCount: String(message.received),
          ApproximateFirstReceiveTimestamp: String(message.first),
        };
        return { messageId: message.id, receiptHandle: message.id, body: BODY, attributes };
      });
  const away = async () => {
    await time.sleep(FAILING_MS, never);
    throw new Error('The table is not available');
  };
  const ports = { now: time.now, senders: { find: away }, openQueueLimits: away, onError: () => {} } as never;
  const pool = new MessagePool({
    queue: {
      receive: async (max) => take(max),
      remove: async () => {},
      async setVisibility(handles, seconds) {
        for (const each of messages) if (handles.includes(each.id)) each.visibleAt = time.now() + seconds * 1_000;
      },
      countHidden: async () => 0,
    },
    places: 20,
    maxBytes: 25_600_000,
    bytesOf: getMessageBytes,
    visibilitySeconds: 60,
    async process(record, processing, { signal }): Promise<MessageAction> {
      try {
        return await receive(record, ports, { ...processing, signal });
      } catch (thrown) {
        if (!(thrown instanceof MessageRejectedError))
          return { kind: 'hide', ms: computeRetryPauseMs(record, INTAKE_RETRY) };
        rejected.push(record.messageId);
        return { kind: 'delete' };
      }
    },
    now: time.now,
    sleep: time.sleep,
    onError: () => {},
    ...changes,
  });
  async function consume(): Promise<void> {
    while (time.now() < START + 3 * HOUR_MS) {
      const records = take(10);
      const shutdown = new AbortController();
      const invocation = { requestId: 'r', signal: shutdown.signal, deadlineAt: time.now() + INVOCATION_MS };
      const ended = new AbortController();
      void time.sleep(INVOCATION_MS, ended.signal).then(() => ended.signal.aborted || shutdown.abort());
      await pool.serve(records, invocation);
      ended.abort();
      await time.sleep(1_000, never);
    }
  }
  await time.runUntilSettled(consume());
  return { received: messages.map(({ received }) => received), rejected };
}

it('messages with large bodies that failures of others postpone in an outage do not count as crashed', async () => {
  const { received, rejected } = await runInOutage({
    postponeMs: (record) => computeRetryPauseMs(record, INTAKE_RETRY),
  });
  expect(rejected).toEqual([]);
  expect(Math.min(...received)).toBeGreaterThanOrEqual(10);
});
