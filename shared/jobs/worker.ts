import type { ErrorCode } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { repeatAfterFailures } from '../core/repeat.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { UpstreamError } from '../inference/model.ts';
import type { AnswerJob, JobAnswer } from './answer-job.ts';
import { needOf } from './attention.ts';
import { CallPermit } from './call-permit.ts';
import {
  type CompletionOptions,
  type CompletionPorts,
  completeJob,
  readInput,
  unlessUnreadable,
} from './completion.ts';
import { isJobAnswer } from './content.ts';
import { EventWriter } from './event-writer.ts';
import { isTerminal, type Job, type JobStatus, type Lane } from './job.ts';
import { keepLease, type Lease, type LeasePorts, Stopped } from './lease.ts';
import type { Pace } from './pace.ts';
import type { EventLog, JobInput, JobKey, JobOutput, TicketQueue } from './ports.ts';
import { sendTickets } from './submit.ts';
import { begin, claim, commit, deadAt, type Ending, type Pause, release, ticketDropped } from './transitions.ts';
import { isOutage, type Progress, type Verdict, verdictOn, yieldPauseMs } from './verdict.ts';
import type { Yielding } from './yielding.ts';

export interface WorkerPorts extends LeasePorts, CompletionPorts {
  readonly events: EventLog;
  readonly queue: TicketQueue;
  readonly answerJob: AnswerJob;
  /** Completes a job's input before its model is asked: adds what is not stored with it. */
  readonly prepareInput?: (job: Job, input: JobInput) => Promise<JobInput>;
  /** Returns when the table was last not available, in epoch milliseconds: see `watchOutages`. */
  readonly lastOutageAt?: () => number;
  /** Returns a new id, never the same twice. */
  readonly ids: () => string;
  /** Returns a number from 0 up to 1. */
  readonly random: () => number;
  /** The lane that this worker serves. Absent for the default lane. */
  readonly lane?: Lane;
  /** Returns the lane of a model's jobs if another function serves it: they are forwarded instead of being run. */
  readonly otherLane?: (model: string) => Lane | undefined;
  /** Returns the lane on which a job may still be answered after this error. The job then continues there. */
  readonly fallbackLane?: (model: string, thrown: unknown) => Lane | undefined;
  /** Makes flex jobs yield to other work. Absent if they don't. */
  readonly yielding?: Yielding;
  /** Limits how often a throttled model is asked. */
  readonly pace?: Pace;
  /** Errors after which the next attempt follows at once in the same invocation, because it runs on another machine. */
  readonly movesOnAfter?: ReadonlySet<ErrorCode>;
}

export interface WorkerCall {
  /** Aborts when the function is about to time out. */
  readonly shutdown: AbortSignal;
  /** Epoch milliseconds by which the function must have let go of the job. */
  readonly deadlineAt: number;
  /** Whether a whole invocation remains. It doesn't after a long wait. */
  readonly isWhole: () => boolean;
  /** Runs a function while this environment runs nothing else. Waits for that first. */
  readonly runAlone: <T>(run: () => Promise<T>) => Promise<T>;
  /** Whether the ticket may be hidden for this long; otherwise the sweep sends a new one. */
  readonly mayHide: (ms: number) => boolean;
  /** The telemetry of the ticket. */
  readonly telemetry?: Telemetry | undefined;
}

/** The result of working on a ticket. `ticketAction` says what becomes of the ticket. */
export type Outcome =
  | { readonly kind: 'ended'; readonly job: Job }
  /** The job waits again. With `ticket`, this ticket serves it; otherwise the sweep sends another. */
  | {
      readonly kind: 'released';
      readonly job: Job;
      readonly errorCode: ErrorCode | undefined;
      readonly ticket: boolean;
    }
  /** The job waits on the queue of another lane. */
  | { readonly kind: 'forwarded'; readonly job: Job }
  /** The job needs no ticket: it has ended, or doesn't exist. */
  | { readonly kind: 'unneeded'; readonly status: JobStatus | 'absent' }
  /** The job can't be claimed before `until` (epoch milliseconds). */
  | { readonly kind: 'deferred'; readonly reason: DeferReason; readonly until: number }
  /** Another worker took the job over, or it ended otherwise, while this one worked on it. */
  | { readonly kind: 'fenced'; readonly job: Job };
export type DeferReason = 'held' | 'not before' | 'cut off' | 'resting model' | 'contended' | 'shutdown';

/** A job that only an environment with a whole invocation may claim is offered again after this time, in milliseconds. */
const OFFER_AGAIN_MS = 5_000;
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

/** The call of a ticket, with its permit to call a model. */
interface TicketCall extends WorkerCall {
  readonly permit: CallPermit;
}

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
/** The job has changed so that it can be claimed now. */
interface Again {
  readonly kind: 'again';
}

async function claimJob(
  { tenant, id }: JobKey,
  owner: string,
  alone: boolean,
  ports: WorkerPorts,
  call: TicketCall,
): Promise<Job | Outcome | Suspect | Again> {
  const { jobs, timings, now, lane } = ports;
  const { guard, change } = claim({ owner, alone, whole: call.isWhole(), lane }, now(), timings);
  const claimed = await jobs.update(tenant, id, guard, change);
  if (claimed !== undefined) return claimed;
  const job = await jobs.read(tenant, id);
  // The SDK repeats a request whose response was lost, and the repetition is refused.
  if (job?.owner === owner && job.status === 'in_progress') return job;
  return examine(job, alone, ports, call);
}

/** Finds out why a job can't be claimed, and does what can be done about it. */
async function examine(
  job: Job | undefined,
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
  if (job.cutOff === true && !call.isWhole()) return defer(job, 'cut off', now() + OFFER_AGAIN_MS, ports, call);
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

async function runAttempt(job: Job, ports: WorkerPorts, call: TicketCall): Promise<Outcome | Again> {
  const lease = keepLease(job, ports, call.shutdown);
  try {
    return await new Attempt(job, lease, ports, call).run();
  } finally {
    await lease.stopHeartbeat();
  }
}

/** One attempt at a claimed job. */
class Attempt {
  readonly #job: Job;
  readonly #lease: Lease;
  readonly #ports: WorkerPorts;
  readonly #call: TicketCall;
  #progress: Progress = 'unasked';
  #input: JobInput | undefined;
  /** Saves the complete answer of this attempt for a later one. Present once there is one. */
  #saveAnswer: (() => Promise<unknown>) | undefined;
  /** The write that counts the attempt. Resolves to whether it was made; never rejects. */
  #counting: Promise<boolean> | undefined;

  constructor(job: Job, lease: Lease, ports: WorkerPorts, call: TicketCall) {
    this.#job = job;
    this.#lease = lease;
    this.#ports = ports;
    this.#call = call;
  }

  async run(): Promise<Outcome | Again> {
    try {
      return await this.#attempt();
    } catch (thrown) {
      if (!(thrown instanceof Stopped)) throw thrown;
      // The attempt was stopped while its last write was repeated. The next look at the job shows whether the write was made.
      return this.#fenced();
    }
  }

  async #attempt(): Promise<Outcome | Again> {
    const { otherLane, yielding } = this.#ports;
    const lane = otherLane?.(this.#job.model);
    if (lane !== undefined) return this.#forward(lane);
    if (yielding?.shouldDefer(this.#job)) return this.#yield();
    const until = await this.#call.permit.take(this.#job.model);
    if (until !== undefined) return this.#rest(until);
    try {
      const { status, usage, endSequence, output } = await this.#answer();
      const stored = await this.#persist(() => this.#storeOutput(output));
      return await this.#end({ status, output: stored, ...omitUndefined({ usage, endSequence }) }, output);
    } catch (thrown) {
      return this.#fail(thrown);
    }
  }

  async #answer(): Promise<JobAnswer & { readonly endSequence?: number }> {
    const { bodies, answerJob, prepareInput } = this.#ports;
    const { signal } = this.#lease;
    const stored = await readInput(this.#job, bodies);
    this.#input = stored;
    const input = prepareInput === undefined ? stored : await prepareInput(this.#job, stored);
    const saved = await this.#findSavedAnswer();
    if (saved !== undefined) return saved;
    // Prepared now, because an outage may outlast the keys in the cache.
    const writeResult = await bodies.prepare({ ...this.#resultName(), expiresAt: this.#job.expiresAt });
    signal.throwIfAborted();
    this.#call.permit.use();
    const log = this.#job.streamed ? this.#openLog() : undefined;
    this.#progress = 'asked';
    const answer = await answerJob(this.#job, input, {
      signal,
      deadlineAt: Math.min(this.#job.deadline, this.#call.deadlineAt),
      telemetry: this.#call.telemetry,
      log,
      onBegin: () => this.#begin(),
    }).finally(() => log?.flush());
    // After the events: what a reader finds when the job has ended is all there will be.
    this.#saveAnswer = () => writeResult(answer);
    return log === undefined ? answer : { ...answer, endSequence: log.next };
  }

  /**
   * Finds the complete answer of an earlier attempt that could not commit it. Its events may not be the last ones in the log, so
   * it has no `endSequence`.
   */
  async #findSavedAnswer(): Promise<JobAnswer | undefined> {
    const { bodies, onError } = this.#ports;
    const { epoch, releases } = this.#job;
    // An attempt that saved its answer has not counted a release, nor has one whose worker died.
    if (epoch - 1 <= releases) return undefined;
    const found = await unlessUnreadable(
      () => bodies.find(this.#resultName(), { place: 's3' }),
      (thrown) => onError('saved answer not readable', thrown),
    );
    return isJobAnswer(found) ? found : undefined;
  }

  /** All attempts of a job save under one name, since each saved answer is complete. */
  #resultName() {
    const { tenant, id } = this.#job;
    return { tenant, id, kind: 'result', epoch: 0 } as const;
  }

  #openLog(): EventWriter {
    const { events } = this.#ports;
    return new EventWriter(this.#job, { append: (chunk) => this.#persist(() => events.append(chunk)) });
  }

  /** Counts the attempt, while the answer goes on. */
  #begin(): void {
    if (this.#progress === 'begun') return;
    this.#progress = 'begun';
    const { pace, now, timings } = this.#ports;
    pace?.accepted(this.#job.model);
    this.#counting = this.#persist(() => this.#lease.write(begin(this.#job, now(), timings))).then(
      () => true,
      () => false,
    );
  }

  #storeOutput(output: JobOutput) {
    const { tenant, id, epoch, expiresAt } = this.#job;
    return this.#ports.bodies.write({ tenant, id, kind: 'output', epoch, expiresAt }, output);
  }

  /** Decides what follows from a failed attempt, and does it. */
  async #fail(thrown: unknown): Promise<Outcome | Again> {
    const { now, random, timings, pace, fallbackLane, onError } = this.#ports;
    const { model } = this.#job;
    if (!(thrown instanceof Stopped)) onError('attempt failed', thrown);
    if (this.#progress === 'asked' && isThrottled(thrown, this.#ports.lane)) {
      pace?.throttled(model, thrown.retryAfterMs);
    }
    const { stop } = this.#lease;
    if (stop === 'shutdown' && (await this.#save())) return this.#pause({ kind: 'release', pauseMs: 0, saved: true });
    const further = stop === undefined ? fallbackLane?.(model, thrown) : undefined;
    if (further !== undefined) return this.#forward(further);
    const circumstances = { stop, progress: this.#progress, now: now(), random: random(), timings };
    return this.#carryOut(verdictOn(thrown, this.#job, circumstances));
  }

  /**
   * Saves a complete answer that could not be committed before the end of the invocation.
   * @returns false if the attempt has no answer, or if the bucket is not available
   */
  async #save(): Promise<boolean> {
    if (this.#saveAnswer === undefined) return false;
    try {
      await this.#saveAnswer();
      return true;
    } catch (thrown) {
      this.#ports.onError('answer not saved', thrown);
      return false;
    }
  }

  async #carryOut(verdict: Verdict): Promise<Outcome | Again> {
    switch (verdict.kind) {
      case 'none':
        return this.#fenced();
      case 'end':
        return this.#end({ status: verdict.status, ...omitUndefined({ errorCode: verdict.errorCode }) });
      case 'release':
        return this.#pause(verdict);
    }
  }

  async #pause(verdict: Extract<Verdict, { kind: 'release' }>): Promise<Outcome | Again> {
    const { errorCode, counts = false, cutOff = false, saved = false } = verdict;
    const movesOn = this.#mayMoveOn(errorCode);
    const pauseMs = movesOn ? 0 : verdict.pauseMs;
    const ticket = this.#call.mayHide(pauseMs);
    const job = await this.#release({ pauseMs, counts, cutOff, saved, ticket, ...omitUndefined({ errorCode }) });
    if (job === undefined) return this.#refused();
    return movesOn ? { kind: 'again' } : { kind: 'released', job, errorCode, ticket };
  }

  #mayMoveOn(errorCode: ErrorCode | undefined): boolean {
    const { movesOnAfter, now } = this.#ports;
    const isEnabled = errorCode !== undefined && (movesOnAfter?.has(errorCode) ?? false);
    return isEnabled && now() + MOVE_ON_MS < this.#call.deadlineAt;
  }

  /** Releases a job of another lane, and sends its ticket there. */
  async #forward(lane: Lane): Promise<Outcome> {
    const job = await this.#release({ pauseMs: 0, lane, ticket: false });
    if (job === undefined) return this.#refused();
    await sendTickets([job], this.#ports).catch((thrown: unknown) => this.#ports.onError('ticket not sent', thrown));
    return { kind: 'forwarded', job };
  }

  /** Releases a flex job, because other work waits. */
  #yield(): Promise<Outcome> {
    const { random, timings } = this.#ports;
    return this.#postpone(yieldPauseMs(this.#job, { random: random(), timings }));
  }

  /** Releases a job whose ticket doesn't name its model, because the model takes no more calls until then. */
  #rest(until: number): Promise<Outcome> {
    return this.#postpone(Math.max(0, until - this.#ports.now()));
  }

  async #postpone(pauseMs: number): Promise<Outcome> {
    const ticket = this.#call.mayHide(pauseMs);
    const job = await this.#release({ pauseMs, ticket });
    return job === undefined ? this.#refused() : { kind: 'released', job, errorCode: undefined, ticket };
  }

  /** Returns the released job, or undefined if it isn't held any more or was cancelled. */
  async #release({ pauseMs, ...pause }: Omit<Pause, 'notBefore' | 'asked'> & { readonly pauseMs: number }) {
    const { jobs, now, timings } = this.#ports;
    const { tenant, id } = this.#job;
    const isUncounted = (await this.#counting) === false;
    const { guard, change } = release(
      this.#job,
      {
        ...pause,
        notBefore: now() + pauseMs,
        asked: this.#progress !== 'unasked',
        counts: (pause.counts ?? false) || isUncounted,
      },
      timings,
    );
    return this.#persist(() => jobs.update(tenant, id, guard, change));
  }

  async #end(ending: Ending, output?: JobOutput): Promise<Outcome> {
    const { jobs, now, timings } = this.#ports;
    await this.#counting;
    const { guard, change } = commit(this.#job, ending, now(), timings);
    const ended = await this.#persist(() => jobs.update(this.#job.tenant, this.#job.id, guard, change));
    if (ended === undefined) return this.#refused();
    await completeQuietly(ended, this.#ports, { input: this.#input, output });
    return { kind: 'ended', job: ended };
  }

  /**
   * Finds out why a write was refused: this attempt may have made it in a request whose response was lost, or the job was
   * cancelled and has to end so.
   */
  async #refused(): Promise<Outcome> {
    const { jobs } = this.#ports;
    const found = await jobs.read(this.#job.tenant, this.#job.id);
    if (found?.epoch !== this.#job.epoch || found.owner !== this.#job.owner) return this.#fenced();
    if (isTerminal(found.status)) {
      await completeQuietly(found, this.#ports, { input: this.#input });
      return { kind: 'ended', job: found };
    }
    return found.cancelRequested ? this.#end({ status: 'cancelled' }) : this.#fenced();
  }

  /** Removes what this attempt may have written for a job that has ended without it. */
  async #fenced(): Promise<Outcome> {
    const { jobs, bodies, onError } = this.#ports;
    const { tenant, id } = this.#job;
    try {
      const found = await jobs.read(tenant, id);
      if (found === undefined) await bodies.sweep(tenant, id);
      else if (isTerminal(found.status)) await bodies.sweep(tenant, id, found.output?.epoch ?? -1);
    } catch (thrown) {
      onError('bodies of a fenced attempt not removed', thrown);
    }
    return { kind: 'fenced', job: this.#job };
  }

  /** Repeats a write while its store is unavailable and the job is held, because the answer has been paid for. */
  async #persist<T>(write: () => Promise<T>): Promise<T> {
    const { signal } = this.#lease;
    const { sleep, timings, onError } = this.#ports;
    return repeatAfterFailures(write, isOutage, async (thrown) => {
      onError('store not available', thrown);
      await sleep(timings.retryMs, signal);
      signal.throwIfAborted();
    });
  }
}

/**
 * Whether a model throttled a call. A fleet of GPU workers that is full, or has no worker yet, doesn't: a refused slot costs
 * nothing, and requests wait for slots in a queue of the fleet's own, which would run empty while the model rests.
 */
function isThrottled(thrown: unknown, lane: Lane | undefined): thrown is UpstreamError {
  if (!(thrown instanceof UpstreamError)) return false;
  return thrown.code === 'rate_limit_exceeded' || (thrown.code === 'overloaded' && lane === undefined);
}

/** With less of the invocation left, an attempt isn't worth beginning. */
const MOVE_ON_MS = 30_000;

/** Runs completion steps. Those that fail are left to the sweep. */
async function completeQuietly(job: Job, ports: WorkerPorts, options?: CompletionOptions): Promise<void> {
  await completeJob(job, ports, options).catch((thrown: unknown) =>
    ports.onError('completion steps not finished', thrown),
  );
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
