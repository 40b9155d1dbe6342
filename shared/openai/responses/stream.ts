import type { LambentError } from '../../core/errors.ts';
import type { GenerationEvent, Usage } from '../../inference/generation.ts';
import { encodeStream, encodeTypedFrame, missingFinishError, type StreamEncoder } from '../../wire/sse.ts';
import type { OutputEvent } from './item-builders.ts';
import { ResponseOutput } from './output.ts';
import {
  createContinuationRecorder,
  type EncodeResponseOptions,
  encodeFailure,
  endStatusFor,
  type FailureEvent,
  failedResponse,
  finishedResponse,
  inProgressResponse,
  type ResponseObject,
} from './response.ts';

/**
 * Encodes a model's events as the frames of a response stream. A complete stream ends with `response.completed` or
 * `response.incomplete`, a failed one with `error` and `response.failed`.
 * @returns whether the response is complete
 * @throws the same errors as `encodeStream`
 */
export function encodeResponseStream(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): AsyncGenerator<string, boolean> {
  return encodeStream(events, new ResponsesEncoder(options));
}

class ResponsesEncoder implements StreamEncoder {
  readonly #options: EncodeResponseOptions;
  readonly #inProgress: ResponseObject;
  readonly #output: ResponseOutput;
  readonly #continuations: Record<string, string> = {};
  /** The complete response, once `finish` has been received. */
  #finished: { readonly response: ResponseObject; readonly usage: Usage | undefined } | undefined;
  #sequenceNumber = 0;
  /** The frames that are not yet returned. */
  #frames = '';

  constructor(options: EncodeResponseOptions) {
    this.#options = options;
    this.#inProgress = inProgressResponse(options);
    this.#output = new ResponseOutput({
      ...options,
      emit: (event) => this.#write(event),
      recordContinuation: createContinuationRecorder(options, this.#continuations),
    });
  }

  encode(event: GenerationEvent): string {
    if (this.#sequenceNumber === 0) {
      this.#writeLifecycleEvent('response.created', this.#inProgress);
      this.#writeLifecycleEvent('response.in_progress', this.#inProgress);
      this.#output.start();
    }
    if (event.type === 'finish') this.#finish(event);
    else this.#output.add(event);
    return this.#takeFrames();
  }

  async end(): Promise<string> {
    if (this.#finished === undefined) throw missingFinishError();
    const { response, usage } = this.#finished;
    await this.#options.commit?.({ answer: response, continuations: this.#continuations }, usage);
    this.#writeLifecycleEvent(
      response.status === 'incomplete' ? 'response.incomplete' : 'response.completed',
      response,
    );
    return this.#takeFrames();
  }

  async fail(error: LambentError): Promise<string> {
    const sequenceNumber = this.#sequenceNumber;
    // Discard the `done` events: a client that receives one for a function call could run the function.
    this.#output.end('incomplete');
    this.#takeFrames();
    this.#sequenceNumber = sequenceNumber;
    this.#write(encodeFailure(error));
    const response = { ...failedResponse(this.#inProgress, error), output: this.#output.items };
    await this.#options.commitFailure?.({ answer: response, continuations: {} }, error);
    this.#writeLifecycleEvent('response.failed', response);
    return this.#takeFrames();
  }

  #finish(event: Extract<GenerationEvent, { type: 'finish' }>): void {
    this.#output.end(endStatusFor(event.reason));
    const response = finishedResponse(this.#inProgress, this.#output, event, this.#options.now());
    this.#finished = { response, usage: event.usage };
  }

  #writeLifecycleEvent(type: LifecycleType, response: ResponseObject): void {
    this.#frames += encodeTypedFrame({ type, sequence_number: this.#sequenceNumber, response });
    this.#sequenceNumber += 1;
  }

  #write(event: OutputEvent | FailureEvent): void {
    this.#frames += encodeTypedFrame({ ...event, sequence_number: this.#sequenceNumber });
    this.#sequenceNumber += 1;
  }

  #takeFrames(): string {
    const frames = this.#frames;
    this.#frames = '';
    return frames;
  }
}

type LifecycleType =
  | 'response.created'
  | 'response.in_progress'
  | 'response.completed'
  | 'response.incomplete'
  | 'response.failed';
