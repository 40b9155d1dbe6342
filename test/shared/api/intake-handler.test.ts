import { ChangeMessageVisibilityBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import { expect, it, onTestFinished, vi } from 'vitest';
import { createIntakeHandler, getMessageBytes } from '../../../shared/api/intake-handler.ts';
import { createTelemetry } from '../../../shared/core/telemetry.ts';
import { getMaxBytes } from '../../../shared/jobs/settings.ts';
import { getHandler, makeContext, makeQueueEvent } from '../../functions/test-environment.ts';

const measure = (body: string) =>
  getMessageBytes({
    messageId: 'm',
    receiptHandle: 'r',
    body,
    attributes: { SenderId: 'AROA', ApproximateReceiveCount: '1' },
  });

it.each(['{"bodyPointer":{}}', '{"body\\u0050ointer":{}}', '{"\\u0062odyPointer":{}}', '{"bodyPo\\u006Eter":{}}'])(
  'a message whose body is in the bucket counts as the largest such body: %s',
  (body) => {
    expect(measure(body)).toBe(6_000_000);
  },
);

it('other messages count as their own size, whatever characters an encoder escapes', () => {
  const body = '{"body":{"input":"\\u00e4\\u003c\\u2028\\ud83d"}}';
  expect(measure(body)).toBe(body.length);
});

it('an environment of 1,024 MB has four bodies of 6 MB in hand, and never ten, of which it died', () => {
  const bodies = Math.floor(getMaxBytes({ AWS_LAMBDA_FUNCTION_MEMORY_SIZE: 1_024 }) / 6_000_000);
  expect(bodies).toBe(4);
});

/** Creates the handler while a store is away, with an SQS that accepts everything. `pauses` are those of the last message. */
function createHandlerInOutage() {
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  onTestFinished(() => void vi.restoreAllMocks());
  const client = new SQSClient({ region: 'eu-west-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } });
  const sent: string[] = [];
  let pauseSeconds: number | undefined;
  client.middlewareStack.add(
    (_next, { commandName = '' }) =>
      async ({ input }) => {
        sent.push(commandName);
        if (commandName === ChangeMessageVisibilityBatchCommand.name)
          pauseSeconds = Object(input).Entries[0].VisibilityTimeout;
        return { response: {}, output: { $metadata: {} } };
      },
    { step: 'initialize' },
  );
  const away = () => Promise.reject(Object.assign(new Error('away'), { $metadata: {} }));
  const handler = createIntakeHandler(
    {
      client,
      telemetry: createTelemetry({ AWS_LAMBDA_FUNCTION_NAME: 'intake', LOG_LEVEL: 'error' }),
      queueUrl: 'http://127.0.0.1/generation',
      deadLetterUrl: 'http://127.0.0.1/generation-dlq',
      maxBytes: 1_000_000,
      timingsDivisor: 1,
    },
    { senders: { find: away }, now: Date.now } as never,
  );
  return {
    sent,
    /** Delivers a message for the `received`th time. Returns whether it is kept, and for how many seconds it is hidden. */
    async deliver(received: number, firstReceivedAt: number) {
      const message = { version: 1, type: 'generate', tenant: 'local', idempotencyKey: 'k', body: { input: 'Hi' } };
      const { Records } = makeQueueEvent({ ...message, endpoint: '/v1/responses' });
      const attributes = {
        SenderId: '000000000000',
        ApproximateReceiveCount: String(received),
        ApproximateFirstReceiveTimestamp: String(firstReceivedAt),
      };
      const event = { Records: Records.map((record) => ({ ...record, attributes })) };
      const result = await getHandler({ handler })(event, makeContext());
      return { kept: Object(result).batchItemFailures.length === 1, pauseSeconds };
    },
  };
}

it('a message whose stores are away is kept for 12 hours and 70 receives at most, far fewer than SQS dead-letters it after', async () => {
  const { sent, deliver } = createHandlerInOutage();
  const pauses: number[] = [];
  let hiddenSeconds = 0;
  while (hiddenSeconds < 12 * 3_600) {
    const { kept, pauseSeconds = 0 } = await deliver(pauses.length + 1, Date.now() - hiddenSeconds * 1000);
    expect(kept).toBe(true);
    pauses.push(pauseSeconds);
    hiddenSeconds += pauseSeconds;
  }
  expect(pauses.slice(0, 10)).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
  expect(pauses.length).toBeLessThanOrEqual(70);
  expect(sent).not.toContain('SendMessageCommand');
});
