import type { ResponseErrorEvent } from 'openai/resources/responses/responses';
import type { LambentError } from '../../core/errors.ts';
import type { GenerationEvent, Usage } from '../../inference/generation.ts';
import { type ErrorBody, encodeErrorBody } from '../errors.ts';
import { encodeStream, encodeTypedFrame, missingFinishError, type StreamEncoder } from '../sse.ts';
import type { OutputEvent } from './item-builders.ts';
import { ResponseOutput } from './output.ts';
import {
  continuationRecorder,
  type EncodeResponseOptions,
  endStatusFor,
  failedResponse,
  finishedResponse,
  inProgressResponse,
  type ResponseObject,
} from './response.ts';

/**
 * An answer as the frames of a response's stream, ending in `response.completed` or `response.incomplete` if it is
 * whole, and in `error` and `response.failed` if not.
 * @returns whether it is whole
 * @throws as `framesOf` does
 */
export function encodeResponseStream(
  events: AsyncIterable<GenerationEvent>,
  options: EncodeResponseOptions,
): AsyncGenerator<string, boolean> {
  return encodeStream(events, new ResponsesEncoder(options));
}

class ResponsesEncoder implements StreamEncoder {
  readonly #options: EncodeResponseOptions;
  readonly #begun: ResponseObject;
  readonly #output: ResponseOutput;
  readonly #continuations: Record<string, string> = {};
  /** The whole answer, from its `finish` on. */
  #finished: { readonly answer: ResponseObject; readonly usage: Usage | undefined } | undefined;
  #sequenceNumber = 0;
  /** What the event at hand has added so far. */
  #frames = '';

  constructor(options: EncodeResponseOptions) {
    this.#options = options;
    this.#begun = inProgressResponse(options);
    this.#output = new ResponseOutput({
      ...options,
      emit: (event) => this.#write(event),
      keep: continuationRecorder(options, this.#continuations),
    });
  }

  encode(event: GenerationEvent): string {
    if (this.#sequenceNumber === 0) {
      this.#writeLifecycle('response.created', this.#begun);
      this.#writeLifecycle('response.in_progress', this.#begun);
    }
    if (event.type === 'finish') this.#finish(event);
    else this.#output.add(event);
    return this.#taken();
  }

  async end(): Promise<string> {
    if (this.#finished === undefined) throw missingFinishError();
    const { answer, usage } = this.#finished;
    await this.#options.commit?.({ answer, continuations: this.#continuations }, usage);
    this.#writeLifecycle(answer.status === 'incomplete' ? 'response.incomplete' : 'response.completed', answer);
    return this.#taken();
  }

  async fail(error: LambentError): Promise<string> {
    const number = this.#sequenceNumber;
    // Nobody is told that an item is done: a function call may look so, and be called.
    this.#output.end('incomplete');
    this.#taken();
    this.#sequenceNumber = number;
    const { error: body } = encodeErrorBody(error);
    this.#write(failureEvent(body));
    const answer = { ...failedResponse(this.#begun, error), output: this.#output.items };
    await this.#options.commitFailure?.({ answer, continuations: {} }, error);
    this.#writeLifecycle('response.failed', answer);
    return this.#taken();
  }

  #finish(event: Extract<GenerationEvent, { type: 'finish' }>): void {
    this.#output.end(endStatusFor(event.reason));
    const answer = finishedResponse(this.#begun, this.#output, event, this.#options.now());
    this.#finished = { answer, usage: event.usage };
  }

  #writeLifecycle(type: Lifecycle, response: ResponseObject): void {
    this.#frames += encodeTypedFrame({ type, sequence_number: this.#sequenceNumber, response });
    this.#sequenceNumber += 1;
  }

  #write(event: OutputEvent | FailureEvent): void {
    this.#frames += encodeTypedFrame({ ...event, sequence_number: this.#sequenceNumber });
    this.#sequenceNumber += 1;
  }

  #taken(): string {
    const frames = this.#frames;
    this.#frames = '';
    return frames;
  }
}

/** Flat, as the API's reference has it, and nested, as OpenAI sends it and its client looks for it first. */
type FailureEvent = Omit<ResponseErrorEvent, 'sequence_number'> & ErrorBody;

function failureEvent(error: ErrorBody['error']): FailureEvent {
  return { type: 'error', code: error.code, message: error.message, param: error.param, error };
}

type Lifecycle =
  | 'response.created'
  | 'response.in_progress'
  | 'response.completed'
  | 'response.incomplete'
  | 'response.failed';
