import { type ErrorCode, type ErrorDetails, LambentError } from '../core/errors.ts';
import type { GenerationEvent, GenerationRequest } from './generation.ts';

/** A model behind a provider: the port that every provider implements. */
export interface Model {
  /**
   * Whether it leaves out by itself whatever is ill of the many that answer for it. One failure then says nothing about all
   * of it, and it needs no circuit breaker.
   */
  readonly managesOwnHealth?: boolean;
  /**
   * Asks the model and yields its answer. Nothing is sent before the first `next()`. Ends after `finish`; throws an
   * `UpstreamError` for every failure, before the first event or after it, and an abort's reason when
   * `call.signal` aborts. Returning early (a `break`) closes the upstream connection.
   */
  generate(request: GenerationRequest, call: ModelCall): AsyncIterable<GenerationEvent>;
}

export interface ModelCall {
  /** Cancels: the caller's cancel, the first-token timeout or the deadline. Reaches the upstream within a second. */
  readonly signal: AbortSignal;
  /** Whether to use the upstream's streaming call. Without it all events come at once when the answer is whole. */
  readonly streamed: boolean;
  /** Called when the first piece of a streamed answer arrives, whether or not an event is in it. Providers may pass it over. */
  readonly onFirstChunk?: () => void;
}

/**
 * What the router may do after a failed attempt:
 * - `again`: the same target may work in a moment (throttled, briefly unavailable);
 * - `once`: the same target may be tried one more time, no more (Bedrock's ModelTimeoutException);
 * - `elsewhere`: this target will not work for this request, another may (bad credentials, first-token timeout);
 * - `never`: no target will (the request itself is at fault).
 */
export type Recovery = 'again' | 'once' | 'elsewhere' | 'never';

export interface UpstreamErrorDetails extends ErrorDetails {
  readonly recovery: Recovery;
  /** The upstream's own HTTP status or exception name, for the log. */
  readonly upstream?: string;
}

/** A provider's failure, mapped once, by the provider, into Lambent's codes. */
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
