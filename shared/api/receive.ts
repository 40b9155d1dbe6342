import { LambentError } from '../core/errors.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { announce, type Submitted, submit } from '../jobs/submit.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type MessageContext, MessageRejectedError } from '../lambda/queue-pipeline.ts';
import { type AdmissionPorts, authorizeSender, deleteInboxObject, readRequestBody, toJob } from './admit.ts';
import { deriveResponseId, type GenerateMessage, parseMessage } from './queue-message.ts';
import { receivePointer, recordQueueWait, runUntilDeadline } from './receive-pointer.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';

/** What receiving a message of the generation queue depends on. */
export interface ReceiverPorts extends WorkerPorts, AdmissionPorts {}

/**
 * Processes a message of the generation queue: runs the job of a pointer, or creates the job of a request once and runs it.
 * @throws MessageRejectedError for a message that can never be processed, and AWS errors that occur before the job exists
 */
export async function receive(record: QueueRecord, ports: ReceiverPorts, call: MessageContext): Promise<Outcome> {
  const message = rejectOnClientError(() => parseMessage(record.body));
  recordQueueWait(message, record, ports);
  return message.type === 'job' ? receivePointer(message, ports, call) : receiveRequest(message, record, ports, call);
}

async function receiveRequest(
  message: GenerateMessage,
  record: QueueRecord,
  ports: ReceiverPorts,
  call: MessageContext,
): Promise<Outcome> {
  await authorizeSender(message, record, ports);
  const body = await readRequestBody(message, ports);
  if (body === undefined) return receiveWithoutBody(message, ports, call);
  const admitted = toJob(message, body, ports);
  const submitted = await submit(admitted, ports);
  if (submitted.kind === 'conflict') {
    throw new MessageRejectedError(
      new LambentError('idempotency_key_reused', 'This idempotency key was already used with a different body.', {
        param: 'idempotencyKey',
      }),
    );
  }
  // The object is deleted only now, because it was the only copy of the body until the job was submitted.
  const [outcome] = await Promise.all([
    runSubmitted(submitted, admitted.input, ports, call),
    deleteInboxObject(message, ports),
  ]);
  return outcome;
}

async function runSubmitted(
  submitted: Exclude<Submitted, { kind: 'conflict' }>,
  input: JobInput,
  ports: ReceiverPorts,
  call: MessageContext,
): Promise<Outcome> {
  if (submitted.kind === 'deleted') return DELETED;
  const { kind, job } = submitted;
  if (kind === 'created' && ports.otherLane?.(job.model) !== undefined) return forward(job, ports);
  return runSubmittedJob(job, ports, call, kind === 'created' ? input : undefined);
}

/** Enqueues a new job on its own lane instead of running it here. */
async function forward(job: Job, ports: ReceiverPorts): Promise<Outcome> {
  await announce(job, ports).catch((thrown: unknown) => ports.onError('a job could not be enqueued', thrown));
  return { kind: 'forwarded', job };
}

const DELETED: Outcome = { kind: 'refused', status: 'absent' };

/**
 * Processes a message whose inbox object doesn't exist. If its job exists or was deleted, the message is a duplicate;
 * otherwise it can never be processed.
 */
async function receiveWithoutBody(
  { tenant, idempotencyKey }: GenerateMessage,
  ports: ReceiverPorts,
  call: MessageContext,
): Promise<Outcome> {
  const id = deriveResponseId(tenant, idempotencyKey);
  const job = await ports.jobs.read(tenant, id);
  if (job !== undefined) return runSubmittedJob(job, ports, call);
  if (await ports.jobs.wasDeleted(tenant, id)) return DELETED;
  throw new MessageRejectedError(
    new LambentError('not_found', 'The object does not exist or is too large.', { param: 'bodyPointer' }),
  );
}

/** Runs a submitted job. Never throws: the sweep finds the job when it is due, so the message can be deleted. */
async function runSubmittedJob(
  { tenant, id }: Job,
  ports: ReceiverPorts,
  call: MessageContext,
  input?: JobInput,
): Promise<Outcome> {
  try {
    return await runUntilDeadline({ tenant, id }, ports, call, input);
  } catch (thrown) {
    ports.onError('a job could not be processed', thrown);
    return { kind: 'refused', status: 'queued' };
  }
}
