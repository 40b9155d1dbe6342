import {
  GetQueueAttributesCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
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

  async function sendBatch(QueueUrl: string, tickets: readonly Ticket[]): Promise<ReadonlySet<Ticket>> {
    const Entries = tickets.map((ticket, index) => ({
      Id: String(index),
      MessageBody: encodeTicket(ticket),
      MessageGroupId: groupOf(ticket),
    }));
    const { Successful = [] } = await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
    return new Set(Successful.flatMap(({ Id }) => tickets[Number(Id)] ?? []));
  }

  return {
    async send(tickets) {
      const sent = new Set<Ticket>();
      let failure: unknown;
      for (const name of QUEUE_NAMES) {
        const own = tickets.filter((ticket) => queueOf(ticket) === name);
        for (let from = 0; from < own.length; from += BATCH_SIZE) {
          try {
            for (const ticket of await sendBatch(urls[name], own.slice(from, from + BATCH_SIZE))) sent.add(ticket);
          } catch (thrown) {
            failure ??= thrown;
          }
        }
      }
      if (failure !== undefined && sent.size === 0) throw failure;
      return tickets.map((ticket) => sent.has(ticket));
    },
  };
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
