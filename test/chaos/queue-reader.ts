import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Cloud } from '../../local/cloud.ts';

export function createQueueClient({ endpoints, credentials }: Pick<Cloud, 'endpoints' | 'credentials'>): SQSClient {
  const endpoint = endpoints['AWS_ENDPOINT_URL_SQS'] ?? '';
  return new SQSClient({ region: 'eu-west-1', endpoint, credentials });
}

/** Passes the body of each message of a queue to `note`, and deletes the message, until `ended` aborts. */
export async function readQueue(
  client: SQSClient,
  QueueUrl: string,
  note: (body: string) => void,
  ended: AbortSignal,
): Promise<void> {
  while (!ended.aborted) {
    try {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 }),
        { abortSignal: ended },
      );
      for (const { Body } of Messages) note(Body ?? '');
      const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }));
      if (Entries.length > 0) await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    } catch {
      await sleep(200);
    }
  }
}
