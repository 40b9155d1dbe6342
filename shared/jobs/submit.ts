import { fingerprintOf } from '../idempotency/fingerprint.ts';
import { begunResponse } from '../openai/responses-answer.ts';
import { firstSequenceOf } from './blobs.ts';
import { isJobInput, isResponsesBody } from './content.ts';
import type { BodyRef, Job, Lane } from './job.ts';
import type { Bodies, EventLog, JobInput, JobQueue, JobStore } from './ports.ts';
import { PICKUP_MS } from './transitions.ts';

/** A request that may become a job: whoever calls has been let in, and the body is right. */
export interface Admitted
  extends Pick<
    Job,
    'tenant' | 'id' | 'endpoint' | 'tier' | 'deadline' | 'background' | 'streamed' | 'stored' | 'expiresAt'
  > {
  readonly input: JobInput;
  readonly lane?: Lane;
  readonly conversation?: string;
  readonly previousResponse?: string;
  readonly replyTo?: string;
}

export interface SubmitPorts {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly events: EventLog;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/**
 * What became of a request: a new job, the one that the same request made before, or nothing, since its id is taken by
 * another request or by a job that has been deleted.
 */
export type Submitted =
  | { readonly kind: 'created'; readonly job: Job }
  | { readonly kind: 'known'; readonly job: Job }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'deleted' };

/**
 * Makes a job of a request: its input first, then the events that say that it was accepted, then the job. A crash on the
 * way leaves nothing that runs; after it, the job is due until somebody comes for it, message or no message.
 */
export async function submit(admitted: Admitted, ports: SubmitPorts): Promise<Submitted> {
  const { tenant, id, expiresAt, streamed } = admitted;
  const { bodies, jobs } = ports;
  const name = { tenant, id, kind: 'input', epoch: 0, expiresAt } as const;
  const input = await bodies.writeNew(name, admitted.input);
  if (input === undefined) return sameAgain(admitted, ports);
  const job = newJob(admitted, input, ports.now());
  if (streamed) await ports.events.append(acceptedEvents(job, admitted.input));
  const created = await jobs.create(job);
  if (created.created) return { kind: 'created', job };
  if (created.job !== undefined) return { kind: 'known', job: created.job };
  await bodies.sweep(tenant, id);
  return { kind: 'deleted' };
}

/** Announces a job on its lane's queue, as soon as it may be claimed. */
export async function announce(
  { tenant, id, lane, tier, notBefore }: Pick<Job, 'tenant' | 'id' | 'lane' | 'tier' | 'notBefore'>,
  { queue, now }: { readonly queue: JobQueue; readonly now: () => number },
): Promise<void> {
  const pointer = { tenant, id, tier, ...(lane === undefined ? {} : { lane }) };
  await queue.send(pointer, Math.max(0, Math.ceil(((notBefore ?? 0) - now()) / 1000)));
}

/** The input is there: its sender comes again, or came just now at the same time, or crashed before the job was made. */
async function sameAgain(admitted: Admitted, ports: SubmitPorts): Promise<Submitted> {
  const { tenant, id } = admitted;
  const { jobs, bodies } = ports;
  const earlier = await bodies.find({ tenant, id, kind: 'input', epoch: 0 });
  const known = await jobs.read(tenant, id);
  // Between two looks the job was deleted with its input; or its input lies there alone, and is as good as new.
  if (earlier === undefined || !isJobInput(earlier))
    return known === undefined ? { kind: 'deleted' } : { kind: 'known', job: known };
  if (!fingerprintOf(earlier.body).equals(fingerprintOf(admitted.input.body))) return { kind: 'conflict' };
  if (known !== undefined) return { kind: 'known', job: known };
  const input = await bodies.write(
    { tenant, id, kind: 'input', epoch: 0, expiresAt: admitted.expiresAt },
    admitted.input,
  );
  const job = newJob(admitted, input, ports.now());
  if (admitted.streamed) await ports.events.append(acceptedEvents(job, admitted.input));
  const created = await jobs.create(job);
  if (created.created) return { kind: 'created', job };
  return created.job === undefined ? { kind: 'deleted' } : { kind: 'known', job: created.job };
}

function newJob(admitted: Admitted, input: BodyRef, now: number): Job {
  const { input: asked, ...rest } = admitted;
  return {
    ...rest,
    model: asked.generation.model,
    input,
    status: 'queued',
    epoch: 0,
    attempts: 0,
    releases: 0,
    cancelRequested: false,
    createdAt: now,
    dueAt: Math.min(now + PICKUP_MS, admitted.deadline),
  };
}

/** What every reader of a stream sees first, before any worker has come. */
function acceptedEvents(job: Job, { body }: JobInput) {
  const { tenant, id, expiresAt, createdAt, stored } = job;
  const response = isResponsesBody(body)
    ? { ...begunResponse({ body, id, createdAt: Math.floor(createdAt / 1000), stored }), status: 'queued' }
    : { id };
  return {
    tenant,
    id,
    epoch: 0,
    firstSequence: firstSequenceOf(0),
    events: [
      { type: 'response.created', sequence_number: 0, response },
      { type: 'response.queued', sequence_number: 1, response },
    ],
    expiresAt,
  };
}
