import type { ResponseError, ResponseErrorEvent } from 'openai/resources/responses/responses';
import type { GenerationEvent } from '../inference/generation.ts';
import type { LambentError } from '../runtime/errors.ts';
import { type ErrorBody, errorBody } from './errors.ts';
import {
  begunResponse,
  endStatus,
  finishedResponse,
  type ResponseObject,
  type ResponsesAnswerOptions,
} from './responses-answer.ts';
import type { OutputEvent } from './responses-open-items.ts';
import { ResponseOutput } from './responses-output.ts';
import { framesOf, type StreamEncoder, typedFrame } from './sse.ts';

/**
 * An answer as the frames of a response's stream, ending in `response.completed` or `response.incomplete` if it is
 * whole, and in `error` and `response.failed` if not.
 * @throws as `framesOf` does
 */
export function responsesFrames(
  events: AsyncIterable<GenerationEvent>,
  options: ResponsesAnswerOptions,
): AsyncGenerator<string> {
  return framesOf(events, new ResponsesEncoder(options));
}

class ResponsesEncoder implements StreamEncoder {
  readonly #options: ResponsesAnswerOptions;
  readonly #begun: ResponseObject;
  readonly #output: ResponseOutput;
  #sequenceNumber = 0;
  /** What the event at hand has added so far. */
  #frames = '';

  constructor(options: ResponsesAnswerOptions) {
    this.#options = options;
    this.#begun = begunResponse(options);
    this.#output = new ResponseOutput({ ...options, emit: (event) => this.#write(event) });
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

  fail(error: LambentError): string {
    const number = this.#sequenceNumber;
    // Nobody is told that an item is done: a function call may look so, and be called.
    this.#output.end('incomplete');
    this.#taken();
    this.#sequenceNumber = number;
    const { error: body } = errorBody(error);
    this.#write(failureEvent(body));
    this.#writeLifecycle('response.failed', {
      ...this.#begun,
      status: 'failed',
      error: { code: failureCode(error), message: body.message },
      output: this.#output.items,
    });
    return this.#taken();
  }

  #finish(event: Extract<GenerationEvent, { type: 'finish' }>): void {
    const status = endStatus(event.reason);
    this.#output.end(status);
    const response = finishedResponse(this.#begun, this.#output, event, this.#options.now());
    this.#writeLifecycle(`response.${status}`, response);
  }

  #writeLifecycle(type: Lifecycle, response: ResponseObject): void {
    this.#frames += typedFrame({ type, sequence_number: this.#sequenceNumber, response });
    this.#sequenceNumber += 1;
  }

  #write(event: OutputEvent | FailureEvent): void {
    this.#frames += typedFrame({ ...event, sequence_number: this.#sequenceNumber });
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

function failureCode(error: LambentError): ResponseError['code'] {
  return error.code === 'rate_limit_exceeded' ? 'rate_limit_exceeded' : 'server_error';
}
