import { type ErrorCode, type ErrorDetails, LambentError } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { GenerationEvent, GenerationRequest } from './generation.ts';

/** What a target offers: a model that generates, or one that embeds. */
export interface Callable {
  /**
   * True if the provider balances over several workers and excludes unhealthy ones itself. Its failures then open no
   * circuit breaker, because one worker's failure says nothing about the others.
   */
  readonly managesOwnHealth?: boolean;
}

/** The interface that every provider implements for one model that generates. */
export interface Model extends Callable {
  /**
   * True if the answer to a request arrives whole even if the call is streamed, because the upstream can't stream it. The
   * first-token timeout doesn't apply then.
   */
  answersAtOnce?(request: GenerationRequest): boolean;
  /**
   * False if the upstream enforces strict schemas, but those of this request only in part. The router then checks the
   * answer.
   */
  enforcesSchemas?(request: GenerationRequest): boolean;
  /**
   * True if the upstream can't enforce the JSON format of this request, so that the model is only asked for it in the
   * prompt. The router then checks the answer, strict or not.
   */
  asksForFormat?(request: GenerationRequest): boolean;
  /**
   * True if the upstream can't force the model to make the tool call of this request, so that only the prompt asks for it.
   * The router then checks that the answer has the call.
   */
  asksForCall?(request: GenerationRequest): boolean;
  /**
   * Lists the caller's parameters that this upstream doesn't get in a native request, besides those that no upstream
   * gets.
   */
  listIgnored?(request: GenerationRequest): Promise<readonly string[]>;
  /**
   * Sends the request and yields the answer's events. Nothing is sent before the first `next()`. The last event is
   * `finish`. Returning early (a `break`) closes the upstream connection.
   * @throws UpstreamError for every failure, before or after the first event; the abort reason if `call.signal` aborts
   */
  generate(request: GenerationRequest, call: ModelCall): AsyncIterable<GenerationEvent>;
}

export interface ModelCall {
  /** Aborts on a cancel, the first-token timeout or the deadline. An abort must reach the upstream within a second. */
  readonly signal: AbortSignal;
  /** True for the upstream's streaming call. If false, all events are yielded when the answer is complete. */
  readonly streamed: boolean;
  /**
   * Called when the first chunk of a streamed answer arrives, even if it holds no event. Providers need not support it.
   */
  readonly onFirstChunk?: () => void;
  /** The telemetry of the request that makes the call. Providers with nothing to report ignore it. */
  readonly telemetry?: Telemetry | undefined;
}

/**
 * How the router continues after a failed attempt:
 * - `retry`: try the same target again after a pause (throttled, briefly unavailable);
 * - `retryOnce`: try the same target once more (Bedrock's ModelTimeoutException);
 * - `nextTarget`: try another target; this one can't serve the request (bad credentials, first-token timeout);
 * - `fail`: give up, because the request itself is invalid and every target would refuse it.
 */
export type Recovery = 'retry' | 'retryOnce' | 'nextTarget' | 'fail';

export interface UpstreamErrorDetails extends ErrorDetails {
  readonly recovery: Recovery;
  /** The upstream's HTTP status or exception name, for the log. */
  readonly upstream?: string;
}

/** A provider's failure. The provider maps it to one of Lambent's error codes. */
export class UpstreamError extends LambentError {
  override readonly name = 'UpstreamError';
  readonly recovery: Recovery;
  readonly upstream: string | undefined;

  constructor(code: ErrorCode, message: string, details: UpstreamErrorDetails) {
    super(code, message, details);
    this.recovery = details.recovery;
    this.upstream = details.upstream;
  }
}

/** The most characters of an upstream's error that are read. */
const MAX_ERROR_TEXT = 4_096;

/**
 * Cuts a text of an upstream's error before it is searched or shown. The time of some regular expressions grows with the
 * square of the text, and an upstream may quote a whole request.
 */
export function boundErrorText(text: string): string {
  return text.slice(0, MAX_ERROR_TEXT).toWellFormed();
}
