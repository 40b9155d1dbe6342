import type { Context } from 'aws-lambda';
import { LambentError } from '../core/errors.ts';
import type { LogFields } from '../core/logger.ts';
import type { MetricValues } from '../core/metrics.ts';
import type { ProcessTelemetry, Telemetry } from '../core/telemetry.ts';
import { beginInvocation } from './environment.ts';

/** Does work once the response has ended. The work must not reject. */
export type Defer = (work: () => Promise<void>) => void;

/**
 * Everything that belongs to one invocation: its id, logger, metrics, deadline and duration. A process may serve many
 * invocations at once, so none of this is kept at module level.
 */
export class RequestContext {
  readonly telemetry: Telemetry;
  /** Epoch milliseconds at which `signal` aborts at the latest. */
  readonly deadlineAt: number;
  readonly #startedAt = performance.now();
  readonly #start = beginInvocation();
  readonly #deadline = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #deferred: (() => Promise<void>)[] = [];
  #silenceTimer: NodeJS.Timeout | undefined;
  #requestId: string;

  /** @param marginMs how long before the function's timeout `signal` aborts, in milliseconds */
  constructor(telemetry: ProcessTelemetry, context: Context, marginMs: number) {
    this.#requestId = context.awsRequestId;
    this.telemetry = telemetry.forRequest({ requestId: this.#requestId });
    const remainingMs = Math.max(0, context.getRemainingTimeInMillis() - marginMs);
    this.deadlineAt = Date.now() + remainingMs;
    this.#timer = setTimeout(() => {
      this.#deadline.abort(new LambentError('deadline_exceeded', 'The function is about to time out'));
    }, remainingMs);
  }

  /** Lambda's request id, or the one given to `identify`. */
  get requestId(): string {
    return this.#requestId;
  }

  /** Aborts at the deadline, or if the response is silent for too long. */
  get signal(): AbortSignal {
    return this.#deadline.signal;
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }

  /** True if this is the environment's first invocation. */
  get cold(): boolean {
    return this.#start.cold;
  }

  /** Sets the request id that the caller knows, and adds `fields` to every later log line of this request. */
  identify(requestId: string, fields: LogFields): void {
    this.#requestId = requestId;
    this.telemetry.logger.annotate({ requestId, ...fields });
  }

  /** Returns how long the environment took to start, if this is its first invocation. */
  getStartMetrics(): MetricValues {
    const { cold, initMs } = this.#start;
    return cold ? { InitMs: [initMs, 'Milliseconds'] } : {};
  }

  /** Aborts `signal` after `ms` milliseconds, unless the response has begun by then (`endSilence`). */
  limitSilence(ms: number): void {
    this.#silenceTimer = setTimeout(() => {
      this.#deadline.abort(new LambentError('deadline_exceeded', 'The response did not begin in time'));
    }, ms);
  }

  /** Notes that the response has begun. */
  endSilence(): void {
    clearTimeout(this.#silenceTimer);
  }

  /** Does work after the response's last byte. The invocation lasts until the work is done. */
  readonly defer: Defer = (work) => {
    this.#deferred.push(work);
  };

  /** Does the deferred work, once the response has ended. */
  async finish(): Promise<void> {
    while (this.#deferred.length > 0) await Promise.all(this.#deferred.splice(0).map((work) => work()));
  }

  /** Stops the timers. */
  end(): void {
    clearTimeout(this.#timer);
    this.endSilence();
  }
}
