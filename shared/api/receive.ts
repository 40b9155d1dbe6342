import { LambentError } from '../core/errors.ts';
import type { Job } from '../jobs/job.ts';
import type { JobInput } from '../jobs/ports.ts';
import { announce, type Submitted, submit } from '../jobs/submit.ts';
import type { Outcome, WorkerPorts } from '../jobs/worker.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type QueueCall, Refused } from '../lambda/queue-pipeline.ts';
import { type AdmissionPorts, authorizeSender, deleteInboxObject, readRequestBody, toJob } from './admit.ts';
import { deriveResponseId, type GenerateMessage, parseMessage } from './queue-message.ts';
import { receivePointer, recordQueueWait, runUntilDeadline } from './receive-pointer.ts';
import { rejectOnClientError } from './reject-on-client-error.ts';

export interface ReceiverPorts extends WorkerPorts, AdmissionPorts {}

/**
 * Serves one message of the generation queue: runs the job that a pointer names, or turns a request into a job, once, and runs it.
 * @throws Refused for a message that can never be served; what AWS throws before there is a job
 */
export async function receive(record: QueueRecord, ports: ReceiverPorts, call: QueueCall): Promise<Outcome> {
  const message = rejectOnClientError(() => parseMessage(record.body));
  recordQueueWait(message, record, ports);
  return message.type === 'job' ? receivePointer(message, ports, call) : receiveRequest(message, record, ports, call);
}

async function receiveRequest(
  message: GenerateMessage,
  record: QueueRecord,
  ports: ReceiverPorts,
  call: QueueCall,
): Promise<Outcome> {
  await authorizeSender(message, record, ports);
  const body = await readRequestBody(message, ports);
  if (body === undefined) return receiveWithoutBody(message, ports, call);
  const admitted = toJob(message, body, ports);
  const submitted = await submit(admitted, ports);
  if (submitted.kind === 'conflict') {
    throw new Refused(
      new LambentError('idempotency_key_reused', 'The idempotency key was used with another body before.', {
        param: 'idempotencyKey',
      }),
    );
  }
  // Not earlier: until the job was submitted, the object was the only copy of the body.
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
  call: QueueCall,
): Promise<Outcome> {
  if (submitted.kind === 'deleted') return DELETED;
  const { kind, job } = submitted;
  if (kind === 'created' && ports.otherLane?.(job.model) !== undefined) return forward(job, ports);
  return runSubmittedJob(job, ports, call, kind === 'created' ? input : undefined);
}

/** Announces a new job on the lane that it belongs to, without claiming it here. */
async function forward(job: Job, ports: ReceiverPorts): Promise<Outcome> {
  await announce(job, ports).catch((thrown: unknown) => ports.onError('a job could not be announced', thrown));
  return { kind: 'forwarded', job };
}

const DELETED: Outcome = { kind: 'refused', status: 'absent' };

/**
 * Serves a message whose inbox object is gone. It was delivered before if its job exists, or existed; otherwise it can never be
 * served.
 */
async function receiveWithoutBody(
  { tenant, idempotencyKey }: GenerateMessage,
  ports: ReceiverPorts,
  call: QueueCall,
): Promise<Outcome> {
  const id = deriveResponseId(tenant, idempotencyKey);
  const job = await ports.jobs.read(tenant, id);
  if (job !== undefined) return runSubmittedJob(job, ports, call);
  if (await ports.jobs.wasDeleted(tenant, id)) return DELETED;
  throw new Refused(
    new LambentError('not_found', 'There is no object of this key, or it is too large.', { param: 'bodyPointer' }),
  );
}

/** Runs a job that its message has made. Never throws: the job has a due time, so the message need not come back. */
async function runSubmittedJob(
  { tenant, id }: Job,
  ports: ReceiverPorts,
  call: QueueCall,
  input?: JobInput,
): Promise<Outcome> {
  try {
    return await runUntilDeadline({ tenant, id }, ports, call, input);
  } catch (thrown) {
    ports.onError('a job could not be looked at', thrown);
    return { kind: 'refused', status: 'queued' };
  }
}
