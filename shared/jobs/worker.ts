import { repeatAfterFailures } from '../core/repeat.ts';
import { runAttempt } from './attempt.ts';
import { needOf } from './attention.ts';
import { CallPermit } from './call-permit.ts';
import { completeQuietly } from './completion.ts';
import { isTerminal, type Job } from './job.ts';
import type { JobKey } from './ports.ts';
import { claim, deadAt, ticketDropped } from './transitions.ts';
import { isOutage } from './verdict.ts';
import type { Again, DeferReason, Outcome, TicketCall, WorkerCall, WorkerPorts } from './worker-ports.ts';

/** A job that needs more of an invocation than remains is offered again after this time, in milliseconds. */
const OFFER_AGAIN_MS = 5_000;
/** Reading an input and committing an answer take at most this long, in milliseconds, beside the model's own time. */
const SETTLE_MS = 10_000;
/** A ticket whose claim was refused for a reason that has passed since is worked on again after this time. */
const CONTENDED_MS = 1_000;

/**
 * Works on a ticket: claims its job, asks the model, writes the answer and commits it.
 * @throws the table's errors, before the job is claimed
 */
export async function runJob(key: TicketKey, ports: WorkerPorts, call: WorkerCall): Promise<Outcome> {
  const permit = new CallPermit(ports.pace, ports.now);
  try {
    return await work(key, false, ports, { ...call, permit });
  } finally {
    permit.giveBack();
  }
}

/** The job that a ticket names, and its model if the ticket names that too. */
type TicketKey = JobKey & { readonly model?: string | undefined };

/** @param alone whether the environment runs nothing else */
async function work(key: TicketKey, alone: boolean, ports: WorkerPorts, call: TicketCall): Promise<Outcome> {
  for (;;) {
    // A claim now would only be released again, and count as a crash if the time is too short even for that.
    if (call.shutdown.aborted) return { kind: 'deferred', reason: 'shutdown', until: ports.now() };
    const until = key.model === undefined ? undefined : await call.permit.take(key.model);
    if (until !== undefined) return deferResting(key, until, ports, call);
    // The same for all repetitions: an earlier one may have claimed the job in a request whose response was lost.
    const owner = ports.ids();
    const claimed = await withoutOutage(() => claimJob(key, owner, alone, ports, call), ports, call.shutdown);
    const outcome = 'epoch' in claimed ? await runAttempt(claimed, ports, call) : claimed;
    if (outcome.kind === 'suspect') return call.runAlone(() => work(key, true, ports, call));
    if (outcome.kind !== 'again') return outcome;
  }
}

/** Leaves a job for later without a claim, and without a look at it while its ticket may be hidden. */
async function deferResting(key: JobKey, until: number, ports: WorkerPorts, call: TicketCall): Promise<Outcome> {
  if (call.mayHide(until - ports.now())) return { kind: 'deferred', reason: 'resting model', until };
  const job = await ports.jobs.read(key.tenant, key.id);
  if (job === undefined) return { kind: 'unneeded', status: 'absent' };
  if (isTerminal(job.status)) return { kind: 'unneeded', status: job.status };
  return defer(job, 'resting model', until, ports, call);
}

/**
 * Repeats `run` while a store is not available. The ticket keeps its place meanwhile: if tickets were given back, an outage
 * would pass the whole backlog through the workers, and hide it.
 * @throws the last error when `signal` aborts
 */
async function withoutOutage<T>(
  run: () => Promise<T>,
  { sleep, timings, onError }: Pick<WorkerPorts, 'sleep' | 'timings' | 'onError'>,
  signal: AbortSignal,
): Promise<T> {
  return repeatAfterFailures(
    run,
    (thrown) => isOutage(thrown) && !signal.aborted,
    (thrown) => {
      onError('store not available', thrown);
      return sleep(timings.retryMs, signal);
    },
  );
}

/** The job runs only alone in an environment, because an earlier worker of it died. */
interface Suspect {
  readonly kind: 'suspect';
}

async function claimJob(
  { tenant, id, model }: TicketKey,
  owner: string,
  alone: boolean,
  ports: WorkerPorts,
  call: TicketCall,
): Promise<Job | Outcome | Suspect | Again> {
  const { jobs, timings, now, lane } = ports;
  const { guard, change } = claim({ owner, alone, whole: canBeAnswered(model, ports, call), lane }, now(), timings);
  const claimed = await jobs.update(tenant, id, guard, change);
  if (claimed !== undefined) return claimed;
  const job = await jobs.read(tenant, id);
  // The SDK repeats a request whose response was lost, and the repetition is refused.
  if (job?.owner === owner && job.status === 'in_progress') return job;
  return examine(job, model, alone, ports, call);
}

/** Whether the end of the invocation can't cut an answer of the model off. */
function canBeAnswered(model: string | undefined, { longestAnswerMs, now }: WorkerPorts, call: TicketCall): boolean {
  if (call.isWhole()) return true;
  const answerMs = model === undefined ? undefined : longestAnswerMs?.(model);
  return answerMs !== undefined && now() + answerMs + SETTLE_MS <= call.deadlineAt;
}

/** Finds out why a job can't be claimed, and does what can be done about it. */
async function examine(
  job: Job | undefined,
  model: string | undefined,
  alone: boolean,
  ports: WorkerPorts,
  call: TicketCall,
): Promise<Outcome | Suspect | Again> {
  if (job === undefined) return { kind: 'unneeded', status: 'absent' };
  const { jobs, timings, now } = ports;
  if (isTerminal(job.status)) return { kind: 'unneeded', status: job.status };
  const lastOutageAt = ports.lastOutageAt?.();
  const need = needOf(job, now(), timings, lastOutageAt, true);
  if (need.kind === 'end' || need.kind === 'recover') {
    const after = await jobs.update(job.tenant, job.id, need.by.guard, need.by.change);
    if (after === undefined) return defer(job, 'contended', now() + CONTENDED_MS, ports, call);
    if (need.kind === 'recover') return { kind: 'again' };
    await completeQuietly(after, ports);
    return { kind: 'ended', job: after };
  }
  if (job.status === 'in_progress') return defer(job, 'held', deadAt(job, timings, lastOutageAt), ports, call);
  if (job.notBefore !== undefined && job.notBefore > now()) {
    return defer(job, 'not before', job.notBefore, ports, call);
  }
  // First, so that no environment is emptied for a job that it can't claim then either.
  if (job.cutOff === true && !canBeAnswered(model, ports, call)) {
    return defer(job, 'cut off', now() + OFFER_AGAIN_MS, ports, call);
  }
  if ((job.crashes ?? 0) > 0 && !alone) return { kind: 'suspect' };
  return defer(job, 'contended', now() + CONTENDED_MS, ports, call);
}

/** Leaves a job for later. A ticket that may not be hidden is given up, if the job waits: the sweep sends another then. */
async function defer(
  job: Job,
  reason: DeferReason,
  until: number,
  { jobs, now, timings }: WorkerPorts,
  { mayHide }: TicketCall,
): Promise<Outcome> {
  if (job.status === 'queued' && !mayHide(until - now())) {
    const { guard, change } = ticketDropped(job, until, timings);
    const dropped = await jobs.update(job.tenant, job.id, guard, change);
    if (dropped !== undefined) return { kind: 'released', job: dropped, errorCode: undefined, ticket: false };
  }
  return { kind: 'deferred', reason, until };
}

/** What becomes of a ticket: it is deleted, or hidden for this many milliseconds. */
export type TicketAction = { readonly kind: 'delete' } | { readonly kind: 'hide'; readonly ms: number };

/** Returns what becomes of the ticket that led to `outcome`, at `now` (epoch milliseconds). */
export function ticketAction(outcome: Outcome, now: number): TicketAction {
  switch (outcome.kind) {
    case 'ended':
    case 'forwarded':
    case 'unneeded':
      return DELETE;
    case 'released':
      return outcome.ticket ? hideUntil(outcome.job.notBefore ?? now, now) : DELETE;
    case 'deferred':
      return hideUntil(outcome.until, now);
    case 'fenced':
      // Whether the job still needs the ticket shows at the next look.
      return hideUntil(now + CONTENDED_MS, now);
  }
}

const DELETE: TicketAction = { kind: 'delete' };

function hideUntil(until: number, now: number): TicketAction {
  return { kind: 'hide', ms: Math.max(0, until - now) };
}
