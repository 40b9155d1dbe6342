import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { MAX_MESSAGE_BYTES, MessageRefusedError } from '../aws/sqs.ts';
import { parseReceivedMessage } from './queue-event.ts';
import type { QueueControl } from './queue-pipeline.ts';

export interface QueueControlOptions {
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
}

/** SQS's limit for a batch request. */
const BATCH_SIZE = 10;
/** Enough for a person to understand the reason. */
const MAX_DETAIL_CHARACTERS = 256;

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
    async deadLetter({ body, messageId, attributes }, { code, param, message }) {
      const attribute = (StringValue: string) => ({ DataType: 'String', StringValue });
      const required = {
        reason: attribute(code),
        messageId: attribute(messageId),
        senderId: attribute(attributes.SenderId),
      };
      const withParam = { ...required, ...(param === undefined ? {} : { param: attribute(toAttributeText(param)) }) };
      const complete = { ...withParam, detail: attribute(toAttributeText(message)) };
      // A body may leave no room for attributes. Then the body is left out: its sender has it, and the reason matters
      // more.
      const fitting = [complete, withParam, required].find((each) => computeSizeBytes(body, each) <= MAX_MESSAGE_BYTES);
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetterUrl,
          MessageBody: fitting ? body : JSON.stringify({ messageId, leftOutBytes: Buffer.byteLength(body) }),
          MessageAttributes: fitting ?? complete,
        }),
      );
    },
  };
}

/** Returns a message's size as SQS counts it: its body and each attribute's name, type and value. */
function computeSizeBytes(body: string, attributes: Readonly<Record<string, MessageAttributeValue>>): number {
  const counted = Object.entries(attributes).flatMap(([name, { DataType = '', StringValue = '' }]) => [
    name,
    DataType,
    StringValue,
  ]);
  return [body, ...counted].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

/** Shortens a text and removes what SQS rejects in attributes: control characters and empty text. */
function toAttributeText(text: string): string {
  const excerpt = text.slice(0, MAX_DETAIL_CHARACTERS);
  return excerpt.replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, ' ') || '-';
}
