import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { MessageRefusedError } from '../aws/sqs.ts';
import { parseReceivedMessage } from './queue-event.ts';
import type { QueueControl } from './queue-pipeline.ts';
import { wrapRejected } from './rejected-message.ts';

export interface QueueControlOptions {
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
}

/** SQS's limit for a batch request. */
const BATCH_SIZE = 10;

/** Creates the queue control of an SQS queue. Its functions throw SQS's errors. */
export function createQueueControl(client: SQSClient, { queueUrl, deadLetterUrl }: QueueControlOptions): QueueControl {
  /**
   * Calls `send` with at most as many entries as SQS takes in a request. Throws the first failure after all requests. SQS may
   * also refuse single entries, in a response that reports success.
   */
  async function inBatches(
    receiptHandles: readonly string[],
    send: (
      entries: { Id: string; ReceiptHandle: string }[],
    ) => Promise<{ Failed?: BatchResultErrorEntry[] | undefined }>,
  ): Promise<void> {
    const failures: unknown[] = [];
    for (let from = 0; from < receiptHandles.length; from += BATCH_SIZE) {
      const handles = receiptHandles.slice(from, from + BATCH_SIZE);
      try {
        const { Failed = [] } = await send(
          handles.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle })),
        );
        failures.push(...Failed.map(({ Code }) => new MessageRefusedError(Code)));
      } catch (thrown) {
        failures.push(thrown);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  return {
    async receive(max, visibilitySeconds) {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: queueUrl,
          MaxNumberOfMessages: Math.min(max, BATCH_SIZE),
          VisibilityTimeout: visibilitySeconds,
          WaitTimeSeconds: 0,
          MessageSystemAttributeNames: [
            'SenderId',
            'ApproximateReceiveCount',
            'ApproximateFirstReceiveTimestamp',
            'SentTimestamp',
          ],
        }),
      );
      return Messages.map(parseReceivedMessage);
    },
    remove: (receiptHandles) =>
      inBatches(receiptHandles, (Entries) =>
        client.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries })),
      ),
    setVisibility: (receiptHandles, seconds) =>
      inBatches(receiptHandles, (entries) => {
        const Entries = entries.map((entry) => ({ ...entry, VisibilityTimeout: seconds }));
        return client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
      }),
    async countHidden() {
      const { Attributes } = await client.send(
        new GetQueueAttributesCommand({
          QueueUrl: queueUrl,
          AttributeNames: ['ApproximateNumberOfMessagesNotVisible'],
        }),
      );
      return Number(Attributes?.ApproximateNumberOfMessagesNotVisible ?? 0);
    },
    async deadLetter({ body, messageId, attributes: { SenderId } }, reason) {
      const rejected = wrapRejected({ body, messageId, senderId: SenderId }, reason);
      const attributes = Object.entries(rejected.attributes).map(([name, StringValue]) => [
        name,
        { DataType: 'String', StringValue },
      ]);
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetterUrl,
          MessageBody: rejected.body,
          MessageAttributes: Object.fromEntries(attributes),
        }),
      );
    },
  };
}
