import type { GenerationEvent, GenerationRequest } from './generation.ts';

/** An answer that has begun: its first event has arrived, so nothing can be retried any more. */
export interface Generation {
  /**
   * The whole answer, first event included. Ends after `finish`; throws `UpstreamError` (`upstream_cut`) when the
   * upstream stops before it.
   */
  readonly events: AsyncIterable<GenerationEvent>;
}

export interface GenerateOptions {
  /** An explicit cancel. */
  readonly signal: AbortSignal;
  /** Epoch milliseconds by which the function must have answered. */
  readonly deadlineAt: number;
  readonly streamed: boolean;
}

export interface Router {
  /**
   * Finds a target for `request` and waits for its first event, retrying and falling back until then.
   * @throws LambentError what the last target said, or why none could serve it
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation>;
}
