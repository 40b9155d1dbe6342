import { type ErrorCode, LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { repeatAfterFailures } from '../core/repeat.ts';
import { UpstreamError } from '../inference/model.ts';
import type { JobAnswer } from './answer-job.ts';
import { completeQuietly, readInput, unlessUnreadable } from './completion.ts';
import { isJobAnswer } from './content.ts';
import { EventWriter } from './event-writer.ts';
import { type BodyRef, isTerminal, type Job, type Lane } from './job.ts';
import { keepLease, type Lease, Stopped } from './lease.ts';
import type { EventChunk, JobInput, JobOutput } from './ports.ts';
import { sendTickets } from './submit.ts';
import { begin, commit, type Ending, type Pause, release } from './transitions.ts';
import { isOutage, type Progress, type Verdict, verdictOn, yieldPauseMs } from './verdict.ts';
import type { Again, Outcome, TicketCall, WorkerPorts } from './worker-ports.ts';

/**
 * Makes one attempt at a claimed job: asks its model, writes the answer and commits it, or does what follows from a failure.
 * @returns `again` if the job can be claimed at once
 */
export async function runAttempt(job: Job, ports: WorkerPorts, call: TicketCall): Promise<Outcome | Again> {
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
  /** Writes the output as it was prepared before the model was asked. Absent if the model isn't asked. */
  #writeOutput: ((output: JobOutput) => Promise<BodyRef>) | undefined;
  /** True if the tenant's key went away while the answer was streamed: from there on, its events are not stored. */
  #areEventsCut = false;
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
    if (saved !== undefined) {
      if (saved.notes !== undefined) this.#call.telemetry?.logger.annotate(saved.notes);
      return saved;
    }
    // Prepared now, because an outage may outlast the keys in the cache, and the tenant's external key may be revoked.
    const { expiresAt } = this.#job;
    const writeResult = await bodies.prepare({ ...this.#resultName(), expiresAt });
    this.#writeOutput = await bodies.prepare({ ...this.#outputName(), expiresAt });
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
    return log === undefined || this.#areEventsCut ? answer : { ...answer, endSequence: log.next };
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

  #outputName() {
    const { tenant, id, epoch } = this.#job;
    return { tenant, id, kind: 'output', epoch } as const;
  }

  #openLog(): EventWriter {
    return new EventWriter(this.#job, { append: (chunk) => this.#appendEvents(chunk) });
  }

  /** Appends events, unless the tenant's key has gone: the answer, which is paid for, is stored without them. */
  async #appendEvents(chunk: EventChunk): Promise<void> {
    const { events, onError } = this.#ports;
    // None after those that are missing, so that a reader never sees a gap.
    if (this.#areEventsCut) return;
    try {
      await this.#persist(() => events.append(chunk));
    } catch (thrown) {
      if (!(thrown instanceof LambentError && thrown.code === 'external_key_unavailable')) throw thrown;
      this.#areEventsCut = true;
      onError('events not stored', thrown);
    }
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
    if (this.#writeOutput !== undefined) return this.#writeOutput(output);
    return this.#ports.bodies.write({ ...this.#outputName(), expiresAt: this.#job.expiresAt }, output);
  }

  /** Decides what follows from a failed attempt, and does it. */
  async #fail(thrown: unknown): Promise<Outcome | Again> {
    const { now, random, timings, pace, fallbackLane, onError } = this.#ports;
    const { model } = this.#job;
    if (!(thrown instanceof Stopped)) onError('attempt failed', thrown);
    if (this.#progress === 'asked' && isThrottled(thrown, this.#ports.lane)) {
      pace?.throttled(model, thrown.retryAfterMs);
    }
    if (thrown instanceof LambentError && thrown.details.isUnasked) this.#noteUnasked();
    const { stop } = this.#lease;
    if (stop === 'shutdown' && (await this.#save())) return this.#pause({ kind: 'release', pauseMs: 0, saved: true });
    const further = stop === undefined ? fallbackLane?.(model, thrown) : undefined;
    if (further !== undefined) return this.#forward(further);
    const circumstances = { stop, progress: this.#progress, now: now(), random: random(), timings };
    return this.#carryOut(verdictOn(thrown, this.#job, circumstances));
  }

  /** Notes that a limit refused the attempt before its model was called. */
  #noteUnasked(): void {
    // Otherwise the jobs of a tenant with an exhausted budget would use up the permits that all tenants share.
    if (this.#progress === 'asked') this.#ports.pace?.giveBack(this.#job.model);
    this.#progress = 'unasked';
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
      case 'end': {
        const { kind: _, ...ending } = verdict;
        return this.#end(ending);
      }
      case 'release':
        return this.#pause(verdict);
    }
  }

  async #pause(verdict: Extract<Verdict, { kind: 'release' }>): Promise<Outcome | Again> {
    const { errorCode, errorLimit, counts = false, cutOff = false, saved = false } = verdict;
    const movesOn = this.#mayMoveOn(errorCode);
    const pauseMs = movesOn ? 0 : verdict.pauseMs;
    const ticket = this.#call.mayHide(pauseMs);
    const reason = omitUndefined({ errorCode, errorLimit });
    const job = await this.#release({ pauseMs, counts, cutOff, saved, ticket, ...reason });
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
