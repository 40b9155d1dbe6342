import {
  GetQueueAttributesCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { MessageRefusedError } from '../aws/sqs.ts';
import { QUEUE_NAMES, type QueueName, queueOf } from './index-entry.ts';
import type { Ticket, TicketQueue } from './ports.ts';
import { encodeTicket } from './ticket-message.ts';

/** Settings that name the ticket queues of all lanes. */
export interface QueueSettings {
  readonly JOBS_QUEUE_URL: string;
  readonly GPU_QUEUE_URL: string;
}

/** SQS's limit for a batch request. */
const BATCH_SIZE = 10;

/**
 * Creates the ticket queues of all lanes. A tenant's tickets form a message group, so that SQS serves tenants fairly. Those of
 * its flex work form another, so that it doesn't delay the tenant's other work either. Throws SQS's
 * errors if no ticket was sent because of them.
 */
export function createTicketQueue(client: SQSClient, settings: QueueSettings): TicketQueue {
  const urls = urlsOf(settings);

  async function sendBatch(QueueUrl: string, tickets: readonly Ticket[]): Promise<Batch> {
    const Entries = tickets.map((ticket, index) => ({
      Id: String(index),
      MessageBody: encodeTicket(ticket),
      MessageGroupId: groupOf(ticket),
    }));
    try {
      const { Successful = [], Failed } = await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
      const sent = Successful.flatMap(({ Id }) => tickets[Number(Id)] ?? []);
      return { sent, ...(Failed?.[0] && { failure: new MessageRefusedError(Failed[0].Code) }) };
    } catch (failure) {
      return { sent: [], failure };
    }
  }

  return {
    async send(tickets, onFailed) {
      const batches = await Promise.all(
        QUEUE_NAMES.flatMap((name) => {
          const own = tickets.filter((ticket) => queueOf(ticket) === name);
          return Array.from({ length: Math.ceil(own.length / BATCH_SIZE) }, (_, index) =>
            sendBatch(urls[name], own.slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)),
          );
        }),
      );
      const sent = new Set(batches.flatMap((batch) => batch.sent));
      const failures = batches.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
      const isRefusal = failures.every((failure) => failure instanceof MessageRefusedError);
      if (sent.size === 0 && !isRefusal) throw failures.find((failure) => !(failure instanceof MessageRefusedError));
      for (const failure of failures) onFailed?.(failure);
      return tickets.map((ticket) => sent.has(ticket));
    },
  };
}

/** The result of a request. */
interface Batch {
  readonly sent: readonly Ticket[];
  /** Why the request failed, or SQS refused the first of those that it refused. */
  readonly failure?: unknown;
}

function groupOf({ tenant, tier }: Ticket): string {
  return tier === 'flex' ? `${tenant}:flex` : tenant;
}

/** Creates a function that counts the messages of a ticket queue: visible, delayed and hidden. Throws SQS's errors. */
export function createTicketCount(client: SQSClient, settings: QueueSettings): (queue: QueueName) => Promise<number> {
  const urls = urlsOf(settings);
  return async (queue) => {
    const { Attributes = {} } = await client.send(
      new GetQueueAttributesCommand({ QueueUrl: urls[queue], AttributeNames: [...COUNTS] }),
    );
    return COUNTS.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
  };
}

const COUNTS = [
  'ApproximateNumberOfMessages',
  'ApproximateNumberOfMessagesNotVisible',
  'ApproximateNumberOfMessagesDelayed',
] as const;

function urlsOf(settings: QueueSettings): Readonly<Record<QueueName, string>> {
  return { jobs: settings.JOBS_QUEUE_URL, gpu: settings.GPU_QUEUE_URL };
}

/** Sends text to a queue. Throws SQS's errors. */
export type SendText = (queueUrl: string, text: string, group: string) => Promise<void>;

/** Creates a function that sends text to any queue that the Lambda function may send to. */
export function createSendText(client: SQSClient): SendText {
  return async (queueUrl, text, group) => {
    await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: text, MessageGroupId: group }));
  };
}
