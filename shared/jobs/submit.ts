import { computeFingerprint } from '../core/fingerprint.ts';
import { isJobInput } from './content.ts';
import { readInput, unlessUnreadable } from './fan-in.ts';
import type { BodyRef, Job, Lane } from './job.ts';
import type { Bodies, JobInput, JobQueue, JobStore } from './ports.ts';
import type { JobTimings } from './timings.ts';

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
  readonly timings: JobTimings;
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
 * Makes a job of a request: its input first, then the job. A crash between the two leaves nothing that runs; after them,
 * the job is due until somebody comes for it, message or no message.
 */
export async function submit(admitted: Admitted, { jobs, bodies, timings, now }: SubmitPorts): Promise<Submitted> {
  const { tenant, id, expiresAt } = admitted;
  const name = { tenant, id, kind: 'input', epoch: 0, expiresAt } as const;
  const written = await bodies.writeNew(name, admitted.input);
  if (written === undefined) {
    // Its sender comes again, or came just now at the same time, or crashed before the job was made.
    const known = await jobs.read(tenant, id);
    if (known !== undefined) return sameOrAnother(known, admitted.input, bodies);
    const earlier = await bodies.find(name);
    // Between two looks the job was deleted with its input; or its input lies there alone, and is as good as new.
    if (!isJobInput(earlier)) return { kind: 'deleted' };
    if (!isSame(earlier, admitted.input)) return { kind: 'conflict' };
  }
  const input = written ?? (await bodies.write(name, admitted.input));
  const job = newJob(admitted, input, now(), timings);
  const created = await jobs.create(job);
  if (created.created) return { kind: 'created', job };
  if (created.job === undefined) {
    await bodies.sweep(tenant, id);
    return { kind: 'deleted' };
  }
  // Where an input lies follows from its size: that of the job is in the other place, and this one is nobody's.
  if (created.job.input.place !== input.place) await bodies.remove(name, input);
  return sameOrAnother(created.job, admitted.input, bodies);
}

/** Announces a job on its lane's queue, as soon as it may be claimed. */
export async function announce(
  { tenant, id, lane, tier, notBefore }: Pick<Job, 'tenant' | 'id' | 'lane' | 'tier' | 'notBefore'>,
  { queue, now }: { readonly queue: JobQueue; readonly now: () => number },
): Promise<void> {
  const pointer = { tenant, id, tier, ...(lane === undefined ? {} : { lane }) };
  await queue.send(pointer, Math.max(0, Math.ceil(((notBefore ?? 0) - now()) / 1000)));
}

/** Whether a job was made of this request or of another. One whose input can't be opened any more can't be told apart. */
async function sameOrAnother(job: Job, input: JobInput, bodies: Bodies): Promise<Submitted> {
  const earlier = await unlessUnreadable(() => readInput(job, bodies));
  return earlier === undefined || isSame(earlier, input) ? { kind: 'known', job } : { kind: 'conflict' };
}

function isSame(earlier: JobInput, input: JobInput): boolean {
  return computeFingerprint(earlier.body).equals(computeFingerprint(input.body));
}

function newJob(admitted: Admitted, input: BodyRef, now: number, { pickupMs }: JobTimings): Job {
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
    dueAt: Math.min(now + pickupMs, admitted.deadline),
  };
}
