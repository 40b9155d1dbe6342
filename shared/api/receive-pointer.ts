import { LambentError } from '../core/errors.ts';
import type { Job, Lane } from '../jobs/job.ts';
import type { JobPointer } from '../jobs/pointer-message.ts';
import type { JobInput } from '../jobs/ports.ts';
import { type Outcome, runJob, type WorkerPorts } from '../jobs/worker.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type MessageContext, MessageRejectedError } from '../lambda/queue-pipeline.ts';
import { type GenerateMessage, parseMessage, tierFor } from './queue-message.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';

/** Delay, in seconds, after which a pointer is enqueued again if its job could not be processed. */
const RESEND_DELAY_SECONDS = 30;

/**
 * Processes a message of a lane's queue. Only Lambent sends to these queues, and only pointers to jobs.
 * @throws MessageRejectedError for any other message
 */
export async function receiveOnLane(
  lane: Lane,
  record: QueueRecord,
  ports: WorkerPorts,
  call: MessageContext,
): Promise<Outcome> {
  const message = rejectOnClientError(() => parseMessage(record.body));
  recordQueueWait(message, record, ports);
  if (message.type === 'job') return receivePointer({ ...message, lane }, ports, call);
  throw new MessageRejectedError(
    new LambentError('unsupported_value', 'Requests must be sent to the generation queue, for every model.', {
      param: 'type',
    }),
  );
}

/**
 * Records how long a message has waited in its queue. Flex jobs yield when waits are long. Redelivered messages are ignored,
 * because they were hidden meanwhile.
 */
export function recordQueueWait(
  message: GenerateMessage | JobPointer,
  { attributes: { SentTimestamp: sentAt, ApproximateReceiveCount: received } }: QueueRecord,
  { yielding, now }: WorkerPorts,
): void {
  const tier = tierFor(message);
  if (tier === undefined || sentAt === undefined || received !== '1') return;
  const delaySeconds = message.type === 'job' ? (message.delaySeconds ?? 0) : 0;
  yielding?.saw(tier, now() - Number(sentAt) - delaySeconds * 1_000);
}

/**
 * Runs the job that a pointer names. Pointers need no authorization: a forged pointer only makes a worker check a job that
 * the sweep checks anyway. Never throws: the sweep finds the job when it is due, so the message can be deleted.
 */
export async function receivePointer(
  pointer: JobPointer & Pick<Job, 'lane'>,
  ports: WorkerPorts,
  call: MessageContext,
): Promise<Outcome> {
  try {
    return await runUntilDeadline(pointer, ports, call);
  } catch (thrown) {
    ports.onError('a job could not be processed', thrown);
    await ports.queue
      .send(pointer, RESEND_DELAY_SECONDS)
      .catch((failure: unknown) => ports.onError('a job could not be enqueued', failure));
    return { kind: 'refused', status: 'absent' };
  }
}

/**
 * Runs a job until the invocation's deadline.
 * @param input the job's input, if the caller has it
 */
export function runUntilDeadline(
  job: Pick<Job, 'tenant' | 'id'>,
  ports: WorkerPorts,
  call: MessageContext,
  input?: JobInput,
): Promise<Outcome> {
  const { signal: shutdown, deadlineAt, extendVisibility, telemetry } = call;
  return runJob(job, ports, { shutdown, deadlineAt, extendVisibility, telemetry }, input);
}
