import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { FunctionError } from './errors.ts';

/** What a function answers, from its first byte on. */
export interface FunctionResponse {
  readonly requestId: string;
  /** Whether the function streams, or answers in one piece. */
  readonly streamed: boolean;
  /** As the function's runtime declares it: `application/vnd.awslambda.http-integration-response` for a prelude. */
  readonly contentType: string | undefined;
  /**
   * The bytes, as they come. They must be read to their end, or the function can't go on; destroying the stream cuts
   * the function's connection. An `error`, or a `close` without `end`, means that the function stopped midway.
   */
  readonly body: Readable;
  /** After `end`: the failure that the function reported behind what it had already sent. */
  failure(): FunctionError | undefined;
}

export interface InvokeOptions {
  /** Alias or version. */
  readonly qualifier?: string;
  /** Client context, JSON: what only a direct invocation can carry. */
  readonly clientContext?: string;
}

/** One call of a function, from its arrival until the last byte of its answer. */
export class Invocation {
  readonly requestId: string = randomUUID();
  readonly payload: Uint8Array | string;
  readonly functionArn: string;
  readonly clientContext: string | undefined;
  /** Settles at the first byte of the answer, or at the failure before it. */
  readonly response: Promise<FunctionResponse>;
  #resolve: (response: FunctionResponse) => void = noop;
  #reject: (error: Error) => void = noop;
  #release: () => void;
  #answered = false;

  /** @param release called once, when the invocation no longer counts against concurrency */
  constructor(
    payload: Uint8Array | string,
    functionArn: string,
    clientContext: string | undefined,
    release: () => void,
  ) {
    this.payload = payload;
    this.functionArn = functionArn;
    this.clientContext = clientContext;
    this.#release = release;
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Whether the answer has begun, or the invocation has failed. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Begins the answer: `message` is the runtime's request that carries it. */
  answer(message: IncomingMessage): void {
    this.#answered = true;
    this.#resolve({
      requestId: this.requestId,
      streamed: message.headers['lambda-runtime-function-response-mode'] === 'streaming',
      contentType: message.headers['content-type'],
      body: message,
      failure: () => failureIn(message.trailers),
    });
  }

  /** Fails it, unless its answer has begun: then only its end can tell. */
  fail(error: Error): void {
    if (!this.#answered) this.#reject(error);
    this.#answered = true;
    this.end();
  }

  /** Ends it: concurrency is free again. */
  end(): void {
    this.#release();
    this.#release = noop;
  }
}

function failureIn(trailers: IncomingMessage['trailers']): FunctionError | undefined {
  if (trailers['lambda-runtime-function-error-type'] === undefined) return undefined;
  const body = trailers['lambda-runtime-function-error-body'] ?? '';
  return FunctionError.fromReport(Buffer.from(body, 'base64').toString('utf8'));
}

function noop(): void {}
