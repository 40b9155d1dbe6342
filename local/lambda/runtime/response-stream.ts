import type { ClientRequest } from 'node:http';
import { openAnswer } from './api-client.ts';
import type { Handler } from './handler.ts';

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const PRELUDE_CONTENT_TYPE = 'application/vnd.awslambda.http-integration-response';
const PRELUDE_DELIMITER = new Uint8Array(8);

/** Methods and properties of the request that a handler may use on its response stream. AWS offers the same ones. */
const STREAM_METHODS = [
  ...['cork', 'destroy', 'end', 'uncork', 'write', 'addListener', 'on', 'once', 'prependListener', 'setContentType'],
  ...['prependOnceListener', 'off', 'removeListener', 'removeAllListeners', 'setMaxListeners', 'getMaxListeners'],
  ...['listeners', 'rawListeners', 'listenerCount', 'eventNames', 'emit'],
];
const STREAM_PROPERTIES = [
  ...['destroyed', '_onBeforeFirstWrite', 'writableFinished', 'writableObjectMode', 'writableEnded', 'writable'],
  ...['writableNeedDrain', 'writableHighWaterMark', 'writableCorked', 'writableLength'],
];

interface ResponseRequest extends ClientRequest {
  setContentType?: (contentType: string) => void;
  _onBeforeFirstWrite?: (write: (chunk: string | Uint8Array) => void) => void;
}

/** The part of the global `awslambda` that every handler has in AWS. */
export const streamingGlobals = {
  streamifyResponse: (handler: Handler): Handler => Object.assign(handler, { [STREAMING]: 'response' }),
  HttpResponseStream: {
    /** Makes `stream` begin with `prelude` (status, headers, cookies) when it is first written to. */
    from(stream: Pick<ResponseRequest, 'setContentType' | '_onBeforeFirstWrite'>, prelude: unknown): object {
      stream.setContentType?.(PRELUDE_CONTENT_TYPE);
      stream._onBeforeFirstWrite = (write) => {
        write(JSON.stringify(prelude));
        write(PRELUDE_DELIMITER);
      };
      return stream;
    },
  },
};

/** Returns true if a handler was wrapped by `awslambda.streamifyResponse`. */
export function isStreaming(handler: Handler): boolean {
  return STREAMING in handler;
}

/**
 * Opens the chunked response of a streaming handler.
 * @returns `stream` for the handler, a façade over `request`. A handler that pipes to the request itself would wait for
 *   the runner's acknowledgement.
 */
export function openResponseStream(requestId: string): { request: ClientRequest; stream: object } {
  const request: ResponseRequest = openAnswer(requestId, {
    'Content-Type': 'application/octet-stream',
    'Transfer-Encoding': 'chunked',
    Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
    'Lambda-Runtime-Function-Response-Mode': 'streaming',
  });
  request.setContentType = (contentType) => {
    request.setHeader('Content-Type', contentType);
  };
  const write = request.write.bind(request) as (...args: unknown[]) => boolean;
  let written = false;
  // An empty first write counts as well: a handler sends it to send its status before it has a body.
  const writeAfterPrelude = (chunk: unknown, ...rest: unknown[]): boolean => {
    if (!written) request._onBeforeFirstWrite?.((prelude) => void write(prelude));
    written = true;
    return write(typeof chunk === 'string' || chunk instanceof Uint8Array ? chunk : JSON.stringify(chunk), ...rest);
  };
  Object.assign(request, { write: writeAfterPrelude });
  return { request, stream: new Facade(request) };
}

/** The stream that a handler gets. Its methods and properties, defined below, are forwarded to `target`. */
class Facade {
  readonly target: Record<string, unknown>;

  constructor(request: ResponseRequest) {
    this.target = request as unknown as Record<string, unknown>;
  }
}

for (const name of STREAM_METHODS) {
  Object.defineProperty(Facade.prototype, name, {
    value(this: Facade, ...values: unknown[]): unknown {
      const method = this.target[name];
      return typeof method === 'function' ? Reflect.apply(method, this.target, values) : undefined;
    },
    writable: true,
  });
}
for (const name of STREAM_PROPERTIES) {
  Object.defineProperty(Facade.prototype, name, {
    get(this: Facade): unknown {
      return this.target[name];
    },
    set(this: Facade, value: unknown) {
      this.target[name] = value;
    },
  });
}
