import {
  ChangeMessageVisibilityBatchCommand,
  type MessageAttributeValue,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { MAX_MESSAGE_BYTES } from '../aws/sqs.ts';
import type { QueueControl } from './queue-pipeline.ts';

export interface QueueControlOptions {
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
}

/** SQS's limit for one batch. */
const BATCH_SIZE = 10;
/** As much as a person needs. */
const MAX_DETAIL_CHARACTERS = 256;

/** What can be done to the messages of a queue in SQS. Throws what SQS throws. */
export function createQueueControl(client: SQSClient, { queueUrl, deadLetterUrl }: QueueControlOptions): QueueControl {
  return {
    async setVisibility(receiptHandles, seconds) {
      for (let from = 0; from < receiptHandles.length; from += BATCH_SIZE) {
        const Entries = receiptHandles.slice(from, from + BATCH_SIZE).map((ReceiptHandle, index) => ({
          Id: String(index),
          ReceiptHandle,
          VisibilityTimeout: seconds,
        }));
        await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
      }
    },
    async deadLetter({ body, messageId, attributes }, { code, param, message }) {
      const attribute = (StringValue: string) => ({ DataType: 'String', StringValue });
      const named = {
        reason: attribute(code),
        messageId: attribute(messageId),
        senderId: attribute(attributes.SenderId),
      };
      const withParam = { ...named, ...(param === undefined ? {} : { param: attribute(printable(param)) }) };
      const whole = { ...withParam, detail: attribute(printable(message)) };
      // A body may take up all the room by itself; its sender has it, and without a reason it would help nobody.
      const fitting = [whole, withParam, named].find((each) => sizeBytes(body, each) <= MAX_MESSAGE_BYTES);
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetterUrl,
          MessageBody: fitting ? body : JSON.stringify({ messageId, leftOutBytes: Buffer.byteLength(body) }),
          MessageAttributes: fitting ?? whole,
        }),
      );
    },
  };
}

/** What SQS counts: the body, and each attribute's name, type and value. */
function sizeBytes(body: string, attributes: Readonly<Record<string, MessageAttributeValue>>): number {
  const counted = Object.entries(attributes).flatMap(([name, { DataType = '', StringValue = '' }]) => [
    name,
    DataType,
    StringValue,
  ]);
  return [body, ...counted].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

/** SQS takes no control characters, and no empty text. */
function printable(text: string): string {
  const some = text.slice(0, MAX_DETAIL_CHARACTERS);
  return some.replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, ' ') || '-';
}
