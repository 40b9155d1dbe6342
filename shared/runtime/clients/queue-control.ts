import { ChangeMessageVisibilityBatchCommand, SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { QueueControl } from '../queue.ts';

export interface QueueControlOptions {
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
}

/** SQS's limit for one batch. */
const BATCH_SIZE = 10;
/** As much as a person needs; with the message's own body it has to stay below SQS's limit. */
const MAX_DETAIL_CHARACTERS = 256;

/** What can be done to the messages of a queue in SQS. Throws what SQS throws. */
export function createQueueControl(client: SQSClient, { queueUrl, deadLetterUrl }: QueueControlOptions): QueueControl {
  return {
    async hide(receiptHandles, seconds) {
      for (let from = 0; from < receiptHandles.length; from += BATCH_SIZE) {
        const Entries = receiptHandles.slice(from, from + BATCH_SIZE).map((ReceiptHandle, index) => ({
          Id: String(index),
          ReceiptHandle,
          VisibilityTimeout: seconds,
        }));
        await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
      }
    },
    async refuse({ body, messageId, attributes }, { code, param, message }) {
      const attribute = (StringValue: string) => ({ DataType: 'String', StringValue });
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetterUrl,
          MessageBody: body,
          MessageAttributes: {
            reason: attribute(code),
            detail: attribute(printable(message)),
            ...(param === undefined ? {} : { param: attribute(printable(param)) }),
            messageId: attribute(messageId),
            senderId: attribute(attributes.SenderId),
          },
        }),
      );
    },
  };
}

/** SQS takes no control characters, and no empty text. */
function printable(text: string): string {
  const clean = text.replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd]/g, ' ');
  return clean.slice(0, MAX_DETAIL_CHARACTERS) || '-';
}
