import { MAX_MESSAGE_BYTES } from '../aws/sqs.ts';
import { omitUndefined } from '../core/objects.ts';
import { type CompletionStep, type EndedJob, StepFailedError } from '../jobs/completion.ts';
import type { JobStatus } from '../jobs/job.ts';

/** A message on a reply queue. It is delivered at least once; consumers deduplicate by `id`. */
export interface AnswerMessage {
  readonly version: 1;
  readonly type: 'answer';
  readonly tenant: string;
  readonly id: string;
  readonly idempotencyKey?: string;
  readonly status: JobStatus;
  /** The response, or absent if it is too large for a message. `GET /v1/responses/{id}` returns it. */
  readonly response?: unknown;
}

/**
 * Creates the completion step that sends an ended job to its reply queue.
 * @param queues queue URLs by alias. Jobs whose alias was removed are skipped
 * @param send sends text to a queue, with a message group id
 */
export function createReplyStep(
  queues: Readonly<Record<string, string>>,
  send: (queueUrl: string, text: string, group: string) => Promise<void>,
): CompletionStep {
  return async (ended) => {
    const { replyTo, tenant } = ended.job;
    if (replyTo === undefined || !Object.hasOwn(queues, replyTo)) return;
    const queueUrl = queues[replyTo];
    if (queueUrl === undefined) return;
    try {
      await sendAnswer((text) => send(queueUrl, text, tenant), ended);
    } catch (thrown) {
      // A queue that doesn't exist may be created again, but SQS would refuse the same message each time.
      const isRefused = isTooLarge(thrown) || (thrown instanceof Error && thrown.name === 'InvalidMessageContents');
      throw isRefused ? new StepFailedError('The reply can not be sent', { cause: thrown }) : thrown;
    }
  };
}

/** Sends the answer of a job, without the response if that is too large for SQS or for the queue. */
async function sendAnswer(send: (text: string) => Promise<void>, ended: EndedJob): Promise<void> {
  // Imported here, because most jobs have no reply queue.
  const { viewEndedJob } = await import('./job-view.ts');
  const { job, input } = ended;
  const head: AnswerMessage = {
    version: 1,
    type: 'answer',
    tenant: job.tenant,
    id: job.id,
    ...omitUndefined({ idempotencyKey: input?.idempotencyKey }),
    status: job.status,
  };
  const text = encodeMessage({ ...head, response: viewEndedJob(ended) });
  if (Buffer.byteLength(text) <= MAX_MESSAGE_BYTES)
    try {
      return await send(text);
    } catch (thrown) {
      if (!isTooLarge(thrown)) throw thrown;
    }
  await send(encodeMessage(head));
}

/**
 * Returns whether SQS refused a message because it is larger than the queue's `MaximumMessageSize`. The error's name is that of any
 * invalid parameter.
 */
function isTooLarge(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.message.includes('Message must be shorter than');
}

/** Encodes a message as JSON and escapes U+FFFE and U+FFFF, which JSON allows and SQS rejects. */
function encodeMessage(message: AnswerMessage): string {
  return JSON.stringify(message).replace(
    /[\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16)}`,
  );
}
