import { DeleteQueueCommand, ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createTelemetry } from '../../../shared/core/telemetry.ts';
import type { MessageAction } from '../../../shared/lambda/message-pool.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import {
  type BatchResponse,
  createQueuePipeline,
  type MessageContext,
  MessageRejectedError,
} from '../../../shared/lambda/queue-pipeline.ts';
import { getHandler, makeContext } from '../../functions/test-environment.ts';
import { type Services, startServices } from '../jobs/services.ts';

let services: Services;
const written: string[] = [];
beforeAll(async () => {
  services = await startServices();
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => {
    written.push(String(line));
    return true;
  });
});
afterAll(async () => {
  vi.restoreAllMocks();
  await services[Symbol.asyncDispose]();
});

/** Receives a message as the event source mapping of its queue passes it on. */
async function receiveRecord(queueUrl: string) {
  const { Messages: [message] = [] } = await services.sqs.send(
    new ReceiveMessageCommand({ QueueUrl: queueUrl, MessageSystemAttributeNames: ['All'] }),
  );
  const { MessageId = '', ReceiptHandle = '', Body = '', Attributes } = message ?? {};
  const eventSourceARN = `arn:aws:sqs:eu-west-1:000000000000:${queueUrl.slice(queueUrl.lastIndexOf('/') + 1)}`;
  return { messageId: MessageId, receiptHandle: ReceiptHandle, body: Body, attributes: Attributes, eventSourceARN };
}

/** Creates a function behind a queue. Records what it sets the visibility of messages to. */
async function createFunction(run: (body: string, context: MessageContext) => MessageAction) {
  const [queueUrl, deadLetterUrl] = [await services.newQueue(), await services.newQueue()];
  const hidden: { readonly receiptHandles: readonly string[]; readonly seconds: number }[] = [];
  const control = createQueueControl(services.sqs, { queueUrl, deadLetterUrl });
  const handler = createQueuePipeline(
    {
      telemetry: createTelemetry({ AWS_LAMBDA_FUNCTION_NAME: 'function', LOG_LEVEL: 'warn' }),
      queue: {
        ...control,
        setVisibility(receiptHandles, seconds) {
          hidden.push({ receiptHandles, seconds });
          return control.setVisibility(receiptHandles, seconds);
        },
      },
      queueUrl,
      places: 10,
      maxBytes: 1_000_000,
      bytesOf: ({ body }) => body.length,
      visibilitySeconds: 60,
      firstRetryMs: 5_000,
      longestRetryMs: 30_000,
    },
    async ({ body }, context) => run(body, context),
  );
  return {
    queueUrl,
    deadLetterUrl,
    invoke: (...Records: unknown[]) => getHandler({ handler })({ Records }, makeContext()),
    /** Returns for how many seconds a message is hidden in the end. */
    pauseOf: ({ receiptHandle }: { readonly receiptHandle: string }) =>
      hidden.findLast(({ receiptHandles }) => receiptHandles.includes(receiptHandle))?.seconds,
    async receive(body: string) {
      await services.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: body }));
      return receiveRecord(queueUrl);
    },
  };
}

it("messages of another queue, which an old event source mapping delivers, are left to that queue's function", async () => {
  const processed: string[] = [];
  const [own, other] = await Promise.all(
    [0, 1].map(() =>
      createFunction((body) => {
        processed.push(body);
        return { kind: 'delete' };
      }),
    ),
  );
  const foreign = await other?.receive('foreign');
  expect(await own?.invoke(await own.receive('own'), foreign)).toEqual({
    batchItemFailures: [{ itemIdentifier: foreign?.messageId }],
  });
  expect(processed).toEqual(['own']);
});

it('a message that fails is reported to Lambda, so that it is not deleted, and fails no other', async () => {
  const { receive, invoke, pauseOf } = await createFunction((body) => {
    if (body === 'failing') throw new Error('The table is away.');
    return body === 'done' ? { kind: 'delete' } : { kind: 'hide', ms: 90_000 };
  });
  const [failing, done, hidden] = [await receive('failing'), await receive('done'), await receive('hidden')];
  const response = (await invoke(failing, done, hidden)) as BatchResponse;
  expect(new Set(response.batchItemFailures)).toEqual(
    new Set([failing, hidden].map(({ messageId }) => ({ itemIdentifier: messageId }))),
  );
  expect(pauseOf(failing)).toBe(5);
  expect(pauseOf(hidden)).toBe(90);
});

it('the pause after a failure doubles with each delivery, up to a limit', async () => {
  const { receive, invoke, pauseOf } = await createFunction(() => {
    throw new Error('The table is away.');
  });
  for (const [count, seconds] of Object.entries({ 1: 5, 2: 10, 3: 20, 4: 30, 50: 30 })) {
    const record = await receive('failing');
    const attributes = { ...record.attributes, ApproximateReceiveCount: count };
    await invoke({ ...record, attributes });
    expect(pauseOf(record)).toBe(seconds);
  }
});

it('a rejected message goes to the dead-letter queue, and is deleted only when it is there', async () => {
  const { receive, invoke, pauseOf, deadLetterUrl } = await createFunction(() => {
    throw new MessageRejectedError(new LambentError('invalid_value', 'This is no request.'));
  });
  expect(await invoke(await receive('rejected'))).toEqual({ batchItemFailures: [] });
  expect(await services.messagesOf(deadLetterUrl)).toMatchObject([
    { body: expect.stringContaining('"message":"rejected"'), attributes: { reason: 'invalid_value' } },
  ]);
  await services.sqs.send(new DeleteQueueCommand({ QueueUrl: deadLetterUrl }));
  const kept = await receive('rejected');
  expect(await invoke(kept)).toEqual({ batchItemFailures: [{ itemIdentifier: kept.messageId }] });
  expect(pauseOf(kept)).toBe(5);
});

it('the log of a rejected message names its sender without the session, by which an operator can admit it', async () => {
  const { receive, invoke } = await createFunction(() => {
    throw new MessageRejectedError(new LambentError('insufficient_permissions', 'This sender may not.'));
  });
  const record = await receive('rejected');
  written.length = 0;
  await invoke({ ...record, attributes: { ...record.attributes, SenderId: 'AROAEXAMPLE:session' } });
  const lines = written.filter((line) => line.includes('message rejected')).map((line) => JSON.parse(line));
  expect(lines).toMatchObject([{ code: 'insufficient_permissions', senderId: 'AROAEXAMPLE' }]);
  const recorded = written.filter((line) => line.includes('"record"')).map((line) => JSON.parse(line));
  expect(recorded).toMatchObject([
    { record: 'call', errorCode: 'insufficient_permissions', senderId: 'AROAEXAMPLE', messageId: record.messageId },
  ]);
  // Nothing that describes the code, nor a second name for the error's code.
  for (const field of ['at', 'code', 'error']) expect(recorded[0]).not.toHaveProperty(field);
});

it('each message is counted once in the metrics, with how it ended', async () => {
  const { receive, invoke } = await createFunction((body) => {
    if (body === 'rejected') throw new MessageRejectedError(new LambentError('invalid_value', 'This is no request.'));
    if (body === 'failing') throw new Error('The table is away.');
    return { kind: 'delete' };
  });
  const counted = [];
  for (const body of ['done', 'failing', 'rejected']) {
    const record = await receive(body);
    written.length = 0;
    await invoke(record);
    const lines = written.filter((line) => line.startsWith('{"_aws"')).map((line) => JSON.parse(line));
    counted.push(...lines.filter(({ Messages }) => Messages !== undefined));
  }
  expect(counted).toMatchObject([
    { Messages: 1 },
    { Messages: 1, MessagesFailed: 1 },
    { Messages: 1, MessagesRefused: 1 },
  ]);
  const units = counted.flatMap(({ _aws }) =>
    _aws.CloudWatchMetrics[0].Metrics.map(({ Unit }: { Unit: string }) => Unit),
  );
  expect(new Set(units)).toEqual(new Set(['Count']));
});

it('metrics that a message gathers are published when it has been processed', async () => {
  const { receive, invoke } = await createFunction((_, { telemetry }) => {
    telemetry.metrics.gather({ Gathered: [7, 'Count'] });
    return { kind: 'delete' };
  });
  const record = await receive('done');
  written.length = 0;
  await invoke(record);
  expect(written.join('')).toContain('"Gathered":7');
});
