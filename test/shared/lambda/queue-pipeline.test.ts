import { ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createTelemetry } from '../../../shared/core/telemetry.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import { createQueuePipeline } from '../../../shared/lambda/queue-pipeline.ts';
import { getHandler, makeContext } from '../../functions/test-environment.ts';
import { type Services, startServices } from '../jobs/services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
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

it("messages of another queue, which an old event source mapping delivers, are left to that queue's function", async () => {
  const [own, other] = [await services.newQueue(), await services.newQueue()];
  for (const QueueUrl of [own, other])
    await services.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: QueueUrl }));
  const processed: string[] = [];
  const handler = createQueuePipeline(
    {
      telemetry: createTelemetry({ AWS_LAMBDA_FUNCTION_NAME: 'function', LOG_LEVEL: 'error' }),
      queue: createQueueControl(services.sqs, { queueUrl: own, deadLetterUrl: 'unused' }),
      queueUrl: own,
      places: 10,
      maxBytes: 1_000_000,
      bytesOf: ({ body }) => body.length,
      visibilitySeconds: 60,
      firstRetryMs: 5_000,
      longestRetryMs: 30_000,
    },
    async ({ body }) => {
      processed.push(body);
      return { kind: 'delete' };
    },
  );
  const foreign = await receiveRecord(other);
  const Records = [await receiveRecord(own), foreign];
  expect(await getHandler({ handler })({ Records }, makeContext())).toEqual({
    batchItemFailures: [{ itemIdentifier: foreign.messageId }],
  });
  expect(processed).toEqual([own]);
});
