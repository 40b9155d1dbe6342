import type { ErrorCode } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { AnswerJob, JobAnswer } from './answer-job.ts';
import { needOf } from './attention.ts';
import { EventWriter } from './event-writer.ts';
import { type Listeners, readInput, tellOf } from './fan-in.ts';
import { isTerminal, type Job, type JobStatus, type Lane } from './job.ts';
import { keep, type Lease, type LeaseOptions, type LeasePorts, Stopped } from './lease.ts';
import type { Bodies, EventLog, JobInput, JobOutput, JobQueue } from './ports.ts';
import { announce } from './submit.ts';
import { claim, commit, type Ending, release, retry, type Transition } from './transitions.ts';
import { isAwsFailure, standBackMs, type Verdict, verdictOn } from './verdict.ts';
import type { Yielding } from './yielding.ts';

export interface WorkerPorts extends LeasePorts {
  readonly bodies: Bodies;
  readonly events: EventLog;
  readonly queue: JobQueue;
  readonly answerJob: AnswerJob;
  readonly listeners: Listeners;
  /** Makes ids, never twice the same. */
  readonly ids: () => string;
  /** 0 up to 1. */
  readonly random: () => number;
  /**
   * The lane that jobs of a model belong on, when that is not the one that is served here: they are handed over there, and
   * not run. Absent where all are run.
   */
  readonly otherLane?: (model: string) => Lane | undefined;
  /** The lane on which a job of a model may still be answered after what was thrown here: it goes there with its attempt. */
  readonly fallbackLane?: (model: string, thrown: unknown) => Lane | undefined;
  /** What makes flex jobs wait for other work. Absent where they don't. */
  readonly yielding?: Yielding;
  /**
   * What an attempt may fail of and be followed at once by the next, in the same invocation: where another machine does it,
   * there is nothing to wait for.
   */
  readonly movesOnAfter?: ReadonlySet<ErrorCode>;
  /** Hears what can't be told to anybody else, and is mended later by the sweep. */
  readonly onError: (what: string, thrown: unknown) => void;
}

export interface WorkerCall extends LeaseOptions {
  /** Epoch milliseconds by which the function must have let go of the job. */
  readonly deadlineAt: number;
  /** The telemetry of the message. */
  readonly telemetry?: Telemetry | undefined;
}

/** What became of a message about a job. */
export type Outcome =
  | { readonly kind: 'ended'; readonly job: Job }
  /** Back in the queue, to be tried again. */
  | { readonly kind: 'paused'; readonly job: Job; readonly errorCode: ErrorCode | undefined }
  /** On its way to the function that runs it. */
  | { readonly kind: 'forwarded'; readonly job: Job }
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
  for (;;) {
    const job = await claimed(tenant, id, ports);
    if (job === undefined) return attended(tenant, id, ports);
    const lease = keep(job, ports, call);
    try {
      const outcome = await attempt(job, input, lease, ports, call);
      if (outcome.kind !== 'again') return outcome;
    } finally {
      await lease.letGo();
    }
  }
}

/** The attempt has failed, and the next is to begin at once. */
interface Again {
  readonly kind: 'again';
}

async function claimed(tenant: string, id: string, { jobs, timings, ids, now }: WorkerPorts): Promise<Job | undefined> {
  const owner = ids();
  const { guard, change } = claim(owner, now(), timings);
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
  const need = needOf(job, ports.now(), ports.timings);
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
): Promise<Outcome | Again> {
  const lane = ports.otherLane?.(job.model);
  if (lane !== undefined || ports.yielding?.standsBack(job)) return setAside(job, lane, lease, ports);
  const progress = { asked: false };
  let input = given;
  try {
    input ??= await readInput(job, ports.bodies);
    const answer = await generated(job, input, lease, ports, call, progress);
    const output = await persistently(() => writeOutput(job, answer.output, ports), lease, ports);
    const { status, usage, endSequence } = answer;
    const ending = {
      status,
      output,
      ...(usage === undefined ? {} : { usage }),
      ...(endSequence === undefined ? {} : { endSequence }),
    };
    return await end(job, ending, lease, ports, { input, output: answer.output });
  } catch (thrown) {
    const { timings } = ports;
    const circumstances = {
      stop: lease.stop,
      asked: progress.asked,
      now: ports.now(),
      random: ports.random(),
      timings,
    };
    const verdict = verdictOn(thrown, job, circumstances);
    if (!(thrown instanceof Stopped)) ports.onError('attempt failed', thrown);
    const further = lease.stop === undefined ? ports.fallbackLane?.(job.model, thrown) : undefined;
    if (further !== undefined) return setAside(job, further, lease, ports);
    return carryOut(verdict, job, lease, ports, call, input);
  }
}

async function generated(
  job: Job,
  input: JobInput,
  lease: Lease,
  ports: WorkerPorts,
  { deadlineAt, telemetry }: WorkerCall,
  progress: { asked: boolean },
): Promise<JobAnswer & { readonly endSequence?: number }> {
  lease.signal.throwIfAborted();
  const log = job.streamed ? new EventWriter(job, ports.events) : undefined;
  progress.asked = true;
  try {
    const until = Math.min(job.deadline, deadlineAt);
    const answer = await ports.answerJob(job, input, { signal: lease.signal, deadlineAt: until, telemetry, log });
    return log === undefined ? answer : { ...answer, endSequence: log.next };
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
  call: WorkerCall,
  input: JobInput | undefined,
): Promise<Outcome | Again> {
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
      return paused(verdict, job, lease, ports, call, input);
  }
}

async function end(
  job: Job,
  ending: Ending,
  lease: Lease,
  ports: WorkerPorts,
  known: { readonly input?: JobInput; readonly output?: JobOutput },
): Promise<Outcome> {
  const { guard, change } = commit(job, ending, ports.now(), ports.timings);
  const update = () => ports.jobs.update(job.tenant, job.id, guard, change);
  const ended = await persistently(update, lease, ports);
  if (ended === undefined) return refused(job, lease, ports, known.input);
  await told(ended, ports, known);
  return { kind: 'ended', job: ended };
}

/**
 * What was refused may have been done by ourselves, in a request whose answer was lost. Or the job was cancelled: then
 * that is how it ends.
 */
async function refused(job: Job, lease: Lease, ports: WorkerPorts, input: JobInput | undefined): Promise<Outcome> {
  const found = await ports.jobs.read(job.tenant, job.id);
  if (found?.epoch !== job.epoch || found.owner !== job.owner) return fenced(job, ports);
  const known = input === undefined ? {} : { input };
  if (isTerminal(found.status)) {
    await told(found, ports, known);
    return { kind: 'ended', job: found };
  }
  return found.cancelRequested ? end(job, { status: 'cancelled' }, lease, ports, known) : fenced(job, ports);
}

async function paused(
  verdict: Extract<Verdict, { kind: 'retry' | 'release' }>,
  job: Job,
  lease: Lease,
  ports: WorkerPorts,
  call: WorkerCall,
  input: JobInput | undefined,
): Promise<Outcome | Again> {
  const { errorCode } = verdict;
  const movesOn = verdict.kind === 'retry' && mayMoveOn(verdict.errorCode, ports, call);
  const notBefore = ports.now() + (movesOn ? 0 : verdict.pauseMs);
  const pause = { notBefore, ...(errorCode === undefined ? {} : { errorCode }) };
  const waiting = await letGo(
    job,
    (verdict.kind === 'release' ? release : retry)(job, pause, ports.timings),
    lease,
    ports,
  );
  if (waiting === undefined) return refused(job, lease, ports, input);
  if (movesOn) return { kind: 'again' };
  await announced(waiting, ports);
  return { kind: 'paused', job: waiting, errorCode };
}

/** Less of a function's own time is not worth an attempt. */
const MOVE_ON_MS = 30_000;

function mayMoveOn(errorCode: ErrorCode, { movesOnAfter, now }: WorkerPorts, { deadlineAt }: WorkerCall): boolean {
  return (movesOnAfter?.has(errorCode) ?? false) && now() + MOVE_ON_MS < deadlineAt;
}

/** Gives a job that came to the wrong function to that of its lane; one that isn't to be run now comes back later. */
async function setAside(job: Job, lane: Lane | undefined, lease: Lease, ports: WorkerPorts): Promise<Outcome> {
  const { now, random, timings } = ports;
  const pause =
    lane === undefined
      ? { notBefore: now() + standBackMs(job, { random: random(), timings }) }
      : { notBefore: now(), lane };
  const waiting = await letGo(job, release(job, pause, timings), lease, ports);
  if (waiting === undefined) return refused(job, lease, ports, undefined);
  await announced(waiting, ports);
  if (lane !== undefined) return { kind: 'forwarded', job: waiting };
  return { kind: 'paused', job: waiting, errorCode: undefined };
}

/** Undefined when the job is no longer ours to let go of. */
function letGo(job: Job, { guard, change }: Transition, lease: Lease, ports: WorkerPorts): Promise<Job | undefined> {
  // An attempt that isn't given back counts: three of them, and throttling would have failed the job.
  return persistently(() => ports.jobs.update(job.tenant, job.id, guard, change), lease, ports);
}

/** A job that can't be announced now is found by the sweep. */
async function announced(job: Job, ports: WorkerPorts): Promise<void> {
  await announce(job, ports).catch((thrown: unknown) => ports.onError('a job could not be announced', thrown));
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
