import { setTimeout as sleep } from 'node:timers/promises';
import { CreateQueueCommand } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { ACCOUNT_ID } from '../../local/lambda/function.ts';
import { createQueueClient, readQueue } from './queue-reader.ts';

/** The messages of the reply queue. */
export interface Replies {
  /** The queue's alias in `replyTo`. */
  readonly alias: string;
  /** Distinct answers by response id. More than one means that the job was committed twice. */
  readonly answers: ReadonlyMap<string, ReadonlySet<string>>;
  /** Number of answers, duplicates included. */
  received(): number;
  /** Creates the queue; again after each restart of SQS. */
  create(): Promise<void>;
  close(): void;
}

const NAME = 'chaos-answers';

/** The setting `REPLY_QUEUES` of the functions. Only the URL's path matters, because an endpoint is set. */
export const REPLY_QUEUES = JSON.stringify({ chaos: `http://sqs.localhost/${ACCOUNT_ID}/${NAME}` });

const answerSchema = v.object({ id: v.string(), status: v.string(), response: v.unknown() });

/** Reads the reply queue until closed. */
export function readReplies(cloud: Cloud): Replies {
  const client = createQueueClient(cloud);
  const QueueUrl = `${cloud.endpoints['AWS_ENDPOINT_URL_SQS']}/${ACCOUNT_ID}/${NAME}`;
  const answers = new Map<string, Set<string>>();
  const ended = new AbortController();
  let received = 0;

  function note(body: string): void {
    const answer = v.safeParse(answerSchema, JSON.parse(body));
    if (!answer.success) return;
    received += 1;
    const { id, status, response } = answer.output;
    const distinct = answers.get(id) ?? new Set();
    answers.set(id, distinct.add(JSON.stringify([status, response])));
  }

  let reading = false;
  return {
    alias: 'chaos',
    answers,
    received: () => received,
    async create() {
      for (let created = false; !created && !ended.signal.aborted; ) {
        created = await client.send(new CreateQueueCommand({ QueueName: NAME })).then(
          () => true,
          () => sleep(50, false),
        );
      }
      if (!reading) void readQueue(client, QueueUrl, note, ended.signal);
      reading = true;
    },
    close() {
      ended.abort();
      client.destroy();
    },
  };
}
