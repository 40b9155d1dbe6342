import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { pointerMessage } from './pointer-message.ts';
import type { JobQueue } from './ports.ts';

/** SQS delays a message no longer than 15 minutes; a job that comes too early is put off again. */
const MAX_DELAY_SECONDS = 900;

/** Settings that name the queues of all lanes. */
export interface QueueSettings {
  readonly GENERATION_QUEUE_URL: string;
  readonly GPU_QUEUE_URL: string;
}

/**
 * The queues of jobs, by lane. A tenant's messages form a group, so that none of them crowds out another's; its flex work is a
 * group of its own, so that it doesn't crowd out the tenant's other work either.
 */
export function createSqsQueue(client: SQSClient, settings: QueueSettings): JobQueue {
  return {
    async send({ tenant, id, lane, tier }, seconds) {
      const delaySeconds = Math.min(seconds, MAX_DELAY_SECONDS);
      const delayed = delaySeconds > 0 ? { delaySeconds } : {};
      await client.send(
        new SendMessageCommand({
          QueueUrl: lane === 'gpu' ? settings.GPU_QUEUE_URL : settings.GENERATION_QUEUE_URL,
          MessageBody: pointerMessage({ tenant, id, ...(tier === undefined ? {} : { tier }), ...delayed }),
          MessageGroupId: tier === 'flex' ? `${tenant}:flex` : tenant,
          ...(delaySeconds > 0 ? { DelaySeconds: delaySeconds } : {}),
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
