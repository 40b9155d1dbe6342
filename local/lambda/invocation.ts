import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { FunctionError } from './errors.ts';
import { formatTraceHeader, type Lineage } from './lineage.ts';

/** A function's response, of which at least the first byte has arrived. */
export interface FunctionResponse {
  readonly requestId: string;
  /** True if the function streams its response; false if it sends it in one piece. */
  readonly streamed: boolean;
  /** As the function's runtime declares it: `application/vnd.awslambda.http-integration-response` for a prelude. */
  readonly contentType: string | undefined;
  /**
   * The response's bytes. Read them to the end: the function waits while they are not read. Destroying the stream
   * closes the function's connection. An `error`, or a `close` without `end`, means that the function stopped midway.
   */
  readonly body: Readable;
  /** Returns the error that the function reported after the bytes it had already sent. Call it after `end`. */
  failure(): FunctionError | undefined;
}

export interface InvokeOptions {
  /** Alias or version. */
  readonly qualifier?: string;
  /** Client context as JSON, which only a direct invocation can carry. */
  readonly clientContext?: string;
  /** The trace headers of the messages, or of the call, that cause the invocation. */
  readonly traceHeaders?: readonly string[];
  /** Its request id. Default: a random one. */
  readonly requestId?: string;
  /**
   * Milliseconds until the deadline that the function sees. Default: its timeout. The runner ends an invocation only after that
   * timeout, so that on a busy machine an invocation may outlast this deadline.
   */
  readonly remainingMs?: number;
}

/** What `Invocation` is created from. */
export interface InvocationOptions {
  readonly payload: Uint8Array | string;
  readonly functionArn: string;
  readonly clientContext: string | undefined;
  readonly requestId: string | undefined;
  readonly remainingMs: number | undefined;
  readonly lineage: Lineage;
  /** Called once, when the invocation no longer counts against concurrency. */
  readonly release: () => void;
}

/** One call of a function, from its arrival until the last byte of its response. */
export class Invocation {
  readonly requestId: string;
  readonly payload: Uint8Array | string;
  readonly functionArn: string;
  readonly clientContext: string | undefined;
  readonly traceHeader: string;
  /** Milliseconds until the deadline that the function sees, if it isn't its timeout. */
  readonly remainingMs: number | undefined;
  /** Resolves at the first byte of the response; rejects when the invocation fails before it. */
  readonly response: Promise<FunctionResponse>;
  #resolve: (response: FunctionResponse) => void = noop;
  #reject: (error: Error) => void = noop;
  #release: () => void;
  #isSettled = false;
  #body: IncomingMessage | undefined;

  constructor({ payload, functionArn, clientContext, lineage, release, ...options }: InvocationOptions) {
    this.requestId = options.requestId ?? randomUUID();
    this.remainingMs = options.remainingMs;
    this.payload = payload;
    this.traceHeader = formatTraceHeader(this.requestId, lineage);
    this.functionArn = functionArn;
    this.clientContext = clientContext;
    this.#release = release;
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** True if the response has begun, or the invocation has failed. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Begins the response: `message` is the runtime's request that carries it. */
  respond(message: IncomingMessage): void {
    this.#isSettled = true;
    this.#body = message;
    this.#resolve({
      requestId: this.requestId,
      streamed: message.headers['lambda-runtime-function-response-mode'] === 'streaming',
      contentType: message.headers['content-type'],
      body: message,
      failure: () => readFailure(message.trailers),
    });
  }

  /** Fails the invocation. If its response has begun, the failure shows only in how that response ends. */
  fail(error: Error): void {
    if (!this.#isSettled) this.#reject(error);
    this.#isSettled = true;
    this.end();
  }

  /** Cuts a response that has begun but is not complete. */
  cut(): void {
    if (this.#body?.complete === false) this.#body.destroy(new Error('aborted'));
  }

  /** Stops counting the invocation against concurrency. */
  end(): void {
    this.#release();
    this.#release = noop;
  }
}

function readFailure(trailers: IncomingMessage['trailers']): FunctionError | undefined {
  if (trailers['lambda-runtime-function-error-type'] === undefined) return undefined;
  const body = trailers['lambda-runtime-function-error-body'] ?? '';
  return FunctionError.fromReport(Buffer.from(body, 'base64').toString('utf8'));
}

function noop(): void {}
