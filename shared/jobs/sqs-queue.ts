import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { pointerMessage } from './message.ts';
import type { JobQueue } from './ports.ts';

/** SQS delays a message no longer than 15 minutes; a job that comes too early is put off again. */
const MAX_DELAY_SECONDS = 900;

/** Settings that name the queues of all lanes. */
export interface QueueSettings {
  readonly GENERATION_QUEUE_URL: string;
  readonly GPU_QUEUE_URL: string;
}

/** The queues of jobs, by lane. A tenant's messages form a group, so that none of them crowds out another's. */
export function createSqsQueue(client: SQSClient, settings: QueueSettings): JobQueue {
  return {
    async send(pointer, delaySeconds) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: pointer.lane === 'gpu' ? settings.GPU_QUEUE_URL : settings.GENERATION_QUEUE_URL,
          MessageBody: pointerMessage(pointer),
          MessageGroupId: pointer.tenant,
          ...(delaySeconds > 0 ? { DelaySeconds: Math.min(delaySeconds, MAX_DELAY_SECONDS) } : {}),
        }),
      );
    },
  };
}

/** Sends text to a queue. Throws what SQS throws. */
export type SendText = (queueUrl: string, text: string, group: string) => Promise<void>;

/** Sends text to any queue that the function may send to. */
export function createSendText(client: SQSClient): SendText {
  return async (queueUrl, text, group) => {
    await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: text, MessageGroupId: group }));
  };
}
