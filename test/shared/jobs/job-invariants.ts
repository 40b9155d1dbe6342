import { purposeOf, queueOf } from '../../../shared/jobs/index-entry.ts';
import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import type { JobChange } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { MAX_ASKS, MAX_ATTEMPTS } from '../../../shared/jobs/transitions.ts';
import { isDeleted, jobIn, placeIn, type World } from './job-world.ts';

/** One step of a process: a call that the world answered. */
export interface TakenStep {
  readonly before: World;
  readonly after: World;
  /** The process's name. */
  readonly by: string;
  readonly method: string;
  readonly args: readonly unknown[];
  /** The process's clock when it made the call: a call may be answered later. */
  readonly madeAt: number;
}

const { leaseMs, graceMs } = JOB_TIMINGS;

/** Throws if a step does what no step may do. */
export function checkStep(step: TakenStep): void {
  const { before, after, method, args } = step;
  const [was, is] = [jobIn(before), jobIn(after)];
  if (isDeleted(before) && is !== undefined) throw new Error('A deleted job came back');
  if (method === 'tickets.delete') checkDeletedTicket(before, Number(args[0]));
  if (method === 'reply' && is !== undefined && !isTerminal(is.status)) {
    throw new Error('A reply was sent before the job ended');
  }
  if (method === 'jobs.delete' && isDeleted(after) && !isDeleted(before)) checkDeletion(step, was);
  if (was === undefined || is === undefined) return;
  if (isTerminal(was.status)) checkEnded(was, is);
  else checkOpen(was, is, step);
}

/** A ticket is deleted only if its job needs none, has another one, or waits for the sweep to send one. */
function checkDeletedTicket(world: World, id: number): void {
  const job = jobIn(world);
  if (job === undefined || isTerminal(job.status) || purposeOf(job) === 'wake') return;
  if (world.mayLackTicket || !world.tickets.some((ticket) => ticket.id === id)) return;
  if (world.tickets.every((ticket) => ticket.id === id)) {
    throw new Error(`The only ticket of a job that is ${job.status} was deleted`);
  }
}

function checkDeletion({ after, by }: TakenStep, was: Job | undefined): void {
  if (placeIn(after).duePartition === undefined) throw new Error('A tombstone has no index entry');
  // The job of a program that stores nothing is deleted by its last completion step.
  if (!by.startsWith('delete') && was?.replyTo !== undefined && !after.replied) {
    throw new Error('A job was forgotten before its reply was sent');
  }
}

function checkEnded(was: Job, is: Job): void {
  if (is.status !== was.status) throw new Error(`A job that was ${was.status} became ${is.status}`);
  if (is.epoch !== was.epoch) throw new Error(`A job that was ${was.status} was claimed`);
  if (is.output?.epoch !== was.output?.epoch) throw new Error('A committed answer was exchanged');
  if (is.attempts !== was.attempts) throw new Error('The attempts of an ended job changed');
}

function checkOpen(was: Job, is: Job, step: TakenStep): void {
  if (was.cancelRequested && isTerminal(is.status) && is.status !== 'cancelled') {
    throw new Error(`A cancelled job became ${is.status}`);
  }
  if (was.cancelRequested && !is.cancelRequested) throw new Error('A cancel was forgotten');
  if (is.attempts > MAX_ATTEMPTS) throw new Error('A job was tried more than three times');
  if ((is.asks ?? 0) > MAX_ASKS) throw new Error('A job asked its model too often');
  if (is.begun === true && was.begun !== true && is.attempts !== was.attempts + 1) {
    throw new Error('An attempt whose model began to answer was not counted');
  }
  if (was.begun === true && isBegin(step) && is.attempts > was.attempts)
    throw new Error('An attempt was counted twice');
  if (is.epoch !== was.epoch) checkClaim(was, is, step);
  else if (was.status === 'in_progress' && is.status !== 'in_progress') checkLetGo(was, is, step);
}

function isBegin({ method, args }: TakenStep): boolean {
  return method === 'jobs.update' && (args[3] as JobChange).set?.begun === true;
}

function checkClaim(was: Job, is: Job, { madeAt }: TakenStep): void {
  if (was.status !== 'queued') throw new Error('A held job was claimed');
  if (was.cancelRequested) throw new Error('A job was claimed after its cancel');
  if (was.deadline <= madeAt) throw new Error('An overdue job was claimed');
  if ((was.notBefore ?? 0) > madeAt) throw new Error('A job was claimed during its pause');
  if ((was.crashes ?? 0) > 0 && is.alone !== true) throw new Error('A suspect was claimed among others');
}

/** A job stops being held by its holder's own step, or after its holder's death. */
function checkLetGo(was: Job, is: Job, { before, after, by }: TakenStep): void {
  const isOwn = was.owner?.startsWith(`${by}/`) === true;
  if (!isOwn && (was.leaseExpiresAt ?? 0) + graceMs > after.now) throw new Error('A held job was taken over');
  if (is.status !== 'queued') return;
  if (was.cancelRequested) throw new Error('A job went on after its cancel');
  const isCounted = was.begun === true || is.attempts > was.attempts;
  if (!isOwn) {
    if ((is.crashes ?? 0) !== (was.crashes ?? 0) + 1) throw new Error('A crash was not counted');
    if (was.alone === true && !isCounted) throw new Error('A crash of a job that ran alone was not counted');
  } else if (before.begun.includes(was.epoch) && !isCounted) {
    throw new Error('An attempt whose model began to answer was not counted');
  }
}

/** Throws if the job may not be in this state. */
export function checkState(world: World): void {
  const job = jobIn(world);
  if (job === undefined) return;
  checkPlace(job);
  if (isTerminal(job.status)) checkAnswer(job, world);
  else if (!world.bodies.has('input#0')) throw new Error('An unfinished job has no input');
  const needsTicket = purposeOf(job) === 'wait' || purposeOf(job) === 'run';
  if (needsTicket && world.tickets.length === 0 && !world.mayLackTicket) {
    throw new Error(`A job that is ${job.status} has no ticket`);
  }
}

/** The index has a job exactly as long as something remains to be done for it, and says what. */
function checkPlace(job: Job): void {
  const purpose = purposeOf(job);
  if ((job.duePartition === undefined) !== (job.dueAt === undefined)) throw new Error('Half an index entry');
  if (job.duePartition !== undefined && purpose === undefined) throw new Error('An index entry without a purpose');
  if (!purposesOf(job).includes(purpose)) {
    throw new Error(`A job that is ${job.status} has the index entry ${purpose ?? 'none'}`);
  }
  if (job.status === 'queued' && job.duePartition?.split('#')[1] !== queueOf(job)) {
    throw new Error('A waiting job is in the index of another queue');
  }
  // The sweep looks at claims that are older than a lease and its grace period.
  if (job.status === 'in_progress' && (job.dueAt ?? 0) + leaseMs > (job.leaseExpiresAt ?? 0)) {
    throw new Error('A dead holder would be found late');
  }
}

function purposesOf(job: Job): readonly unknown[] {
  if (job.status === 'queued') return ['wake', 'wait'];
  if (job.status === 'in_progress') return ['run'];
  return job.fanIn === undefined ? [undefined] : ['step'];
}

/** A committed answer can be read, and is that of the attempt that committed it. */
function checkAnswer(job: Job, { bodies }: World): void {
  if (job.errorCode === 'record_unreadable') throw new Error('A job failed because its input was missing');
  if (job.status !== 'completed') return;
  if (job.output?.epoch !== job.epoch) throw new Error('A committed answer is not its own');
  if (!bodies.has(`output#${job.output.epoch}`)) throw new Error('A committed answer is gone');
}
