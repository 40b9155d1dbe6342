import type { Router } from '../inference/router.ts';
import type { ErrorCode } from '../runtime/errors.ts';
import { type Answer, answerOf } from './answer.ts';
import { needOf } from './attention.ts';
import { EventWriter } from './event-writer.ts';
import { type Listeners, readInput, tellOf } from './fan-in.ts';
import { isTerminal, type Job, type JobStatus } from './job.ts';
import { keep, type Lease, type LeaseOptions, type LeasePorts, Stopped } from './lease.ts';
import type { Bodies, EventLog, JobInput, JobOutput, JobQueue } from './ports.ts';
import { announce } from './submit.ts';
import { claim, commit, type Ending, release, retry } from './transitions.ts';
import { isAwsFailure, type Verdict, verdictOn } from './verdict.ts';

export interface WorkerPorts extends LeasePorts {
  readonly bodies: Bodies;
  readonly events: EventLog;
  readonly queue: JobQueue;
  readonly router: Router;
  readonly listeners: Listeners;
  /** `system_fingerprint` of a model's name. */
  readonly fingerprint: (model: string) => string;
  /** Makes ids, never twice the same. */
  readonly ids: () => string;
  /** 0 up to 1. */
  readonly random: () => number;
  /** Hears what can't be told to anybody else, and is mended later by the sweep. */
  readonly onError: (what: string, thrown: unknown) => void;
}

export interface WorkerCall extends LeaseOptions {
  /** Epoch milliseconds by which the function must have let go of the job. */
  readonly deadlineAt: number;
}

/** What became of a message about a job. */
export type Outcome =
  | { readonly kind: 'ended'; readonly job: Job }
  /** Back in the queue, to be tried again. */
  | { readonly kind: 'paused'; readonly job: Job; readonly errorCode: ErrorCode | undefined }
  /** Nothing to do here: it has ended, is deleted, isn't due yet, or another holds it. */
  | { readonly kind: 'refused'; readonly status: JobStatus | 'absent' }
  /** Another has it by now, or it was deleted while it ran. */
  | { readonly kind: 'fenced'; readonly job: Job };

/**
 * Runs a job that a message points to: claims it, asks its model, writes its answer and commits it. Whatever comes of it,
 * the message has served: what remains to be done has a due time.
 * @param input what the job is asked, when the caller has it at hand
 * @throws what the table throws before the job is claimed
 */
export async function runJob(
  { tenant, id }: Pick<Job, 'tenant' | 'id'>,
  ports: WorkerPorts,
  call: WorkerCall,
  input?: JobInput,
): Promise<Outcome> {
  const job = await claimed(tenant, id, ports);
  if (job === undefined) return attended(tenant, id, ports);
  const lease = keep(job, ports, call);
  try {
    return await attempt(job, input, lease, ports, call);
  } finally {
    await lease.letGo();
  }
}

async function claimed(tenant: string, id: string, { jobs, ids, now }: WorkerPorts): Promise<Job | undefined> {
  const owner = ids();
  const { guard, change } = claim(owner, now());
  const job = await jobs.update(tenant, id, guard, change);
  if (job !== undefined) return job;
  // A request whose answer was lost is sent again by the SDK, and refused: by ourselves, then.
  const found = await jobs.read(tenant, id);
  return found?.owner === owner && found.status === 'in_progress' ? found : undefined;
}

/** A job that can't be claimed may still have to be ended, and whoever finds that does it. */
async function attended(tenant: string, id: string, ports: WorkerPorts): Promise<Outcome> {
  const job = await ports.jobs.read(tenant, id);
  if (job === undefined) return { kind: 'refused', status: 'absent' };
  const need = needOf(job, ports.now());
  if (need.kind !== 'end') return { kind: 'refused', status: job.status };
  const ended = await ports.jobs.update(tenant, id, need.by.guard, need.by.change);
  if (ended === undefined) return { kind: 'refused', status: job.status };
  await told(ended, ports);
  return { kind: 'ended', job: ended };
}

async function attempt(
  job: Job,
  given: JobInput | undefined,
  lease: Lease,
  ports: WorkerPorts,
  call: WorkerCall,
): Promise<Outcome> {
  const progress = { asked: false };
  let input = given;
  try {
    input ??= await readInput(job, ports.bodies);
    const answer = await generated(job, input, lease, ports, call, progress);
    const output = await persistently(() => writeOutput(job, answer.output, ports), lease, ports);
    const ending = { status: answer.status, output, ...(answer.usage === undefined ? {} : { usage: answer.usage }) };
    return await end(job, ending, lease, ports, { input, output: answer.output });
  } catch (thrown) {
    const circumstances = { stop: lease.stop, asked: progress.asked, now: ports.now(), random: ports.random() };
    const verdict = verdictOn(thrown, job, circumstances);
    if (!(thrown instanceof Stopped)) ports.onError('attempt failed', thrown);
    return carryOut(verdict, job, lease, ports, input);
  }
}

async function generated(
  job: Job,
  input: JobInput,
  lease: Lease,
  ports: WorkerPorts,
  { deadlineAt }: WorkerCall,
  progress: { asked: boolean },
): Promise<Answer> {
  lease.signal.throwIfAborted();
  const log = job.streamed ? new EventWriter(job, ports.events) : undefined;
  progress.asked = true;
  const { events } = await ports.router.generate(input.generation, {
    signal: lease.signal,
    deadlineAt: Math.min(job.deadline, deadlineAt),
    // Streamed even where nobody reads along: an upstream that is cut off then stops to generate.
    streamed: true,
  });
  const { now, fingerprint } = ports;
  try {
    return await answerOf(events, { job, input, now, fingerprint, log });
  } finally {
    // Before the commit: what a reader finds when the job has ended is all there will be.
    await log?.flush();
  }
}

function writeOutput({ tenant, id, epoch, expiresAt }: Job, output: JobOutput, { bodies }: WorkerPorts) {
  return bodies.write({ tenant, id, kind: 'output', epoch, expiresAt }, output);
}

/** Milliseconds between two tries to store an answer. */
const STORE_PAUSE_MS = 2_000;

/** An answer has been paid for: as long as the job is ours, an outage of what stores it is waited out. */
async function persistently<T>(write: () => Promise<T>, { signal }: Lease, ports: WorkerPorts): Promise<T> {
  for (;;) {
    try {
      return await write();
    } catch (thrown) {
      if (!isPassing(thrown)) throw thrown;
      ports.onError('an answer could not be stored yet', thrown);
      await ports.sleep(STORE_PAUSE_MS, signal);
      signal.throwIfAborted();
    }
  }
}

function isPassing(thrown: unknown): boolean {
  return isAwsFailure(thrown) || (thrown instanceof Error && 'code' in thrown && thrown.code === 'vault_unavailable');
}

async function carryOut(
  verdict: Verdict,
  job: Job,
  lease: Lease,
  ports: WorkerPorts,
  input: JobInput | undefined,
): Promise<Outcome> {
  switch (verdict.kind) {
    case 'none':
      return fenced(job, ports);
    case 'end': {
      const { status, errorCode } = verdict;
      const ending = { status, ...(errorCode === undefined ? {} : { errorCode }) };
      return end(job, ending, lease, ports, input === undefined ? {} : { input });
    }
    case 'retry':
    case 'release':
      return paused(verdict, job, lease, ports, input);
  }
}

async function end(
  job: Job,
  ending: Ending,
  lease: Lease,
  ports: WorkerPorts,
  known: { readonly input?: JobInput; readonly output?: JobOutput },
): Promise<Outcome> {
  const { guard, change } = commit(job, ending, ports.now());
  const update = () => ports.jobs.update(job.tenant, job.id, guard, change);
  const ended = (await persistently(update, lease, ports)) ?? (await mineAfterAll(job, ports));
  if (ended === undefined) return fenced(job, ports);
  await told(ended, ports, known);
  return { kind: 'ended', job: ended };
}

/** A commit that is refused may have been made by ourselves, in a request whose answer was lost. */
async function mineAfterAll({ tenant, id, epoch, owner }: Job, { jobs }: WorkerPorts): Promise<Job | undefined> {
  const found = await jobs.read(tenant, id);
  const isMine = found !== undefined && isTerminal(found.status) && found.epoch === epoch && found.owner === owner;
  return isMine ? found : undefined;
}

async function paused(
  verdict: Extract<Verdict, { kind: 'retry' | 'release' }>,
  job: Job,
  lease: Lease,
  ports: WorkerPorts,
  input: JobInput | undefined,
): Promise<Outcome> {
  const { errorCode, pauseMs } = verdict;
  const pause = { notBefore: ports.now() + pauseMs, ...(errorCode === undefined ? {} : { errorCode }) };
  const { guard, change } = verdict.kind === 'release' ? release(job, pause) : retry(job, pause);
  // An attempt that isn't given back counts: three of them, and throttling would have failed the job.
  const waiting = await persistently(() => ports.jobs.update(job.tenant, job.id, guard, change), lease, ports);
  if (waiting !== undefined) {
    await announce(waiting, ports).catch((thrown: unknown) => ports.onError('a job could not be announced', thrown));
    return { kind: 'paused', job: waiting, errorCode };
  }
  const found = await ports.jobs.read(job.tenant, job.id);
  const isMine = found?.epoch === job.epoch && found.status === 'in_progress';
  if (!isMine || !found.cancelRequested) return fenced(job, ports);
  return end(job, { status: 'cancelled' }, lease, ports, input === undefined ? {} : { input });
}

/** Takes away what this attempt may have left beside a job that has ended without it. */
async function fenced(job: Job, { jobs, bodies, onError }: WorkerPorts): Promise<Outcome> {
  try {
    const found = await jobs.read(job.tenant, job.id);
    if (found === undefined) await bodies.sweep(job.tenant, job.id);
    else if (isTerminal(found.status)) await bodies.sweep(job.tenant, job.id, found.output?.epoch ?? -1);
  } catch (thrown) {
    onError('a fenced attempt could not be swept', thrown);
  }
  return { kind: 'fenced', job };
}

/** What can't be told now is told by the sweep. */
async function told(job: Job, ports: WorkerPorts, known?: { input?: JobInput; output?: JobOutput }): Promise<void> {
  await tellOf(job, ports, known).catch((thrown: unknown) => ports.onError('an end could not be told', thrown));
}
