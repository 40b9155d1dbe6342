import { computeFingerprint } from '../core/fingerprint.ts';
import { omitUndefined } from '../core/objects.ts';
import { readInput, unlessUnreadable } from './completion.ts';
import { isJobInput } from './content.ts';
import { queueOf } from './index-entry.ts';
import type { BodyRef, Job, Lane } from './job.ts';
import type { Bodies, JobInput, JobStore, Ticket, TicketQueue } from './ports.ts';
import type { JobTimings } from './timings.ts';
import { MAX_ATTEMPTS, ticketSent } from './transitions.ts';

/** A request that may become a job: its caller is authorized, and its body is valid. */
export interface Admitted
  extends Pick<
    Job,
    | 'tenant'
    | 'id'
    | 'endpoint'
    | 'tier'
    | 'deadline'
    | 'background'
    | 'streamed'
    | 'stored'
    | 'expiresAt'
    | 'storedBytes'
    | 'turnBytes'
    | 'turnItems'
  > {
  readonly input: JobInput;
  readonly contextBytes?: number;
  readonly lane?: Lane;
  readonly conversation?: string;
  readonly previousResponse?: string;
  readonly replyTo?: string;
  /** How many attempts its caller's limits allow: 1 to `MAX_ATTEMPTS`. Absent if they don't limit them. */
  readonly tries?: number;
}

export interface SubmitPorts {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly timings: JobTimings;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/**
 * The result of a submission: a new job, the job that the same request created before, or none, because another request
 * or a deleted job has the id.
 */
export type Submitted =
  | { readonly kind: 'created'; readonly job: Job }
  | { readonly kind: 'known'; readonly job: Job }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'deleted' };

/**
 * Creates a job of a request: its input first, then the job. A crash between the two leaves nothing that runs. After both,
 * the sweep sends the job a ticket unless one is recorded as sent first.
 */
export async function submit(admitted: Admitted, { jobs, bodies, timings, now }: SubmitPorts): Promise<Submitted> {
  const { tenant, id, expiresAt } = admitted;
  const name = { tenant, id, kind: 'input', epoch: 0, expiresAt } as const;
  const { ref, isNew } = await bodies.writeNew(name, admitted.input);
  if (!isNew) {
    // The request was repeated, or is being repeated, or an earlier call crashed before it created the job.
    const known = await jobs.read(tenant, id);
    if (known !== undefined) return compare(known, admitted.input, bodies);
    const earlier = await bodies.find(name, ref);
    // Not found: the job was deleted with its input since. Found: the input is alone, and can be used.
    if (!isJobInput(earlier)) return { kind: 'deleted' };
    if (!isSame(earlier, admitted.input)) return { kind: 'conflict' };
  }
  const input = isNew ? ref : await bodies.write(name, admitted.input);
  const job = newJob(admitted, input, now());
  const index = { purpose: 'wake', queue: queueOf(job), dueAt: job.createdAt + timings.wakeMs } as const;
  const created = await jobs.create(job, index);
  if (created.created) return { kind: 'created', job: created.job };
  if (created.job === undefined) {
    await bodies.sweep(tenant, id);
    return { kind: 'deleted' };
  }
  // The place of an input follows from its size and from the version's limit. The job's own input is in the other place, so
  // this one belongs to no job.
  if (created.job.input.place !== input.place) await bodies.remove(name, input);
  const compared = await compare(created.job, admitted.input, bodies);
  return compared.kind === 'known' && isOwn(created.job, job) ? { kind: 'created', job: created.job } : compared;
}

/** Whether the job was created by this call, in a request whose response was lost and that the SDK repeated. */
function isOwn(found: Job, job: Job): boolean {
  return found.createdAt === job.createdAt && found.status === 'queued' && found.epoch === 0;
}

/** What sending tickets depends on. */
export interface TicketPorts {
  readonly jobs: JobStore;
  readonly queue: TicketQueue;
  readonly timings: JobTimings;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Called if tickets were not accepted while others were. */
  readonly onError: (what: string, thrown: unknown) => void;
}

/**
 * Sends the tickets of waiting jobs and records that they were sent. A job whose ticket is not recorded gets another from
 * the sweep. Throws SQS's and the table's errors.
 * @returns how many tickets SQS accepted
 */
export async function sendTickets(waiting: readonly Job[], ports: TicketPorts): Promise<number> {
  const { jobs, queue, timings, now, onError } = ports;
  const accepted = await queue.send(waiting.map(ticketOf), (thrown) => onError('tickets not accepted', thrown));
  const sent = waiting.filter((_, index) => accepted[index]);
  await Promise.all(
    sent.map((job) => {
      const { guard, change } = ticketSent(job, now(), timings);
      return jobs.update(job.tenant, job.id, guard, change);
    }),
  );
  return sent.length;
}

function ticketOf({ tenant, id, lane, tier, model, input, contextBytes = 0 }: Job): Ticket {
  return { tenant, id, tier, model, bytes: input.sizeBytes + contextBytes, ...omitUndefined({ lane }) };
}

/** Compares a job's request with another. A job whose input can't be opened any more counts as the same. */
async function compare(job: Job, input: JobInput, bodies: Bodies): Promise<Submitted> {
  const earlier = await unlessUnreadable(() => readInput(job, bodies));
  return earlier === undefined || isSame(earlier, input) ? { kind: 'known', job } : { kind: 'conflict' };
}

function isSame(earlier: JobInput, input: JobInput): boolean {
  return computeFingerprint(earlier.body).equals(computeFingerprint(input.body));
}

function newJob(admitted: Admitted, input: BodyRef, now: number): Job {
  const { input: asked, ...rest } = admitted;
  return {
    ...rest,
    model: asked.generation.model,
    input,
    status: 'queued',
    epoch: 0,
    // Those that its limit doesn't allow count as used, so that every transition respects it.
    attempts: MAX_ATTEMPTS - (admitted.tries ?? MAX_ATTEMPTS),
    releases: 0,
    cancelRequested: false,
    createdAt: now,
  };
}
