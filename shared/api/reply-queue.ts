import { MAX_MESSAGE_BYTES } from '../aws/sqs.ts';
import type { EndedJob, Tell } from '../jobs/fan-in.ts';
import type { JobStatus } from '../jobs/job.ts';
import { viewEndedJob } from './job-view.ts';

/** What a program finds on its reply queue. At least once: `id` tells a repetition. */
export interface AnswerMessage {
  readonly version: 1;
  readonly type: 'answer';
  readonly tenant: string;
  readonly id: string;
  readonly idempotencyKey?: string;
  readonly status: JobStatus;
  /** The answer's object; absent when it is too large for a message: `GET /v1/responses/{id}` has it. */
  readonly response?: unknown;
}

/**
 * Puts answers on the queues that their programs have named.
 * @param queues URLs by alias: an alias that isn't there any more gets nothing, since nobody can be told of it
 * @param send sends text to a queue
 */
export function createReplyStep(
  queues: Readonly<Record<string, string>>,
  send: (queueUrl: string, text: string, group: string) => Promise<void>,
): Tell {
  return async (ended) => {
    const { replyTo, tenant } = ended.job;
    if (replyTo === undefined || !Object.hasOwn(queues, replyTo)) return;
    const queueUrl = queues[replyTo];
    if (queueUrl !== undefined) await send(queueUrl, answerText(ended), tenant);
  };
}

function answerText(ended: EndedJob): string {
  const { job, input } = ended;
  const head: AnswerMessage = {
    version: 1,
    type: 'answer',
    tenant: job.tenant,
    id: job.id,
    ...(input?.idempotencyKey === undefined ? {} : { idempotencyKey: input.idempotencyKey }),
    status: job.status,
  };
  const whole = messageText({ ...head, response: viewEndedJob(ended) });
  return Buffer.byteLength(whole) <= MAX_MESSAGE_BYTES ? whole : messageText(head);
}

/** JSON in which the two characters are escaped that SQS refuses in a message and JSON leaves as they are. */
function messageText(message: AnswerMessage): string {
  return JSON.stringify(message).replace(/[\ufffe\uffff]/g, (refused) => `\\u${refused.charCodeAt(0).toString(16)}`);
}
