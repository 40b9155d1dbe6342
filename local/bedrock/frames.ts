import type { ConverseStreamOutput } from '@aws-sdk/client-bedrock-runtime';
import { EventStreamCodec } from '@smithy/eventstream-codec';
import type { ConverseBody } from './converse-request.ts';
import type { PromptUsage } from './prompt-cache.ts';

/** A request to the stand-in. */
export interface ConverseCall {
  readonly modelId: string;
  readonly streamed: boolean;
  readonly body: ConverseBody;
  /** The body's JSON, unchanged. */
  readonly json: string;
  /** What a model would report of the prompt. */
  readonly prompt: PromptUsage;
  /** Aborts when the client disconnects. */
  readonly signal: AbortSignal;
}

/** Responds to a request: yields the frames of the response. */
export type Responder = (call: ConverseCall) => AsyncIterable<Frame>;

export type Frame =
  | { readonly type: 'event'; readonly event: ConverseStreamOutput }
  /** An exception in a stream, under its wire name: `throttlingException`. In a buffered call, the error response. */
  | { readonly type: 'exception'; readonly name: string; readonly message: string }
  /** An error response. Must be the first frame. */
  | ErrorFrame
  /** A pause, in milliseconds. */
  | { readonly type: 'pause'; readonly ms: number }
  /** Closes the connection before the end of the response. */
  | { readonly type: 'cut' }
  /** Raw bytes, for a response that is not an event stream. */
  | { readonly type: 'bytes'; readonly bytes: Uint8Array };

export interface ErrorFrame {
  readonly type: 'error';
  readonly status: number;
  /** The exception's name: `ThrottlingException`. */
  readonly name: string;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const codec = new EventStreamCodec(
  (bytes) => (typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8')),
  (text) => Buffer.from(text, 'utf8'),
);

/**
 * Encodes an event as `vnd.amazon.eventstream` bytes. A Converse event has one member, named after the event's type.
 */
export function encodeEvent(event: ConverseStreamOutput): Uint8Array {
  const [type = '', payload] = Object.entries(event)[0] ?? [];
  return encodeRawEvent(type, payload);
}

/** Encodes an event with this type and payload as `vnd.amazon.eventstream` bytes. */
export function encodeRawEvent(type: string, payload: unknown): Uint8Array {
  return encode({ ':message-type': 'event', ':event-type': type }, payload);
}

/** Encodes an exception as `vnd.amazon.eventstream` bytes. */
export function encodeException(name: string, message: string): Uint8Array {
  return encode({ ':message-type': 'exception', ':exception-type': name }, { message });
}

function encode(headers: Readonly<Record<string, string>>, payload: unknown): Uint8Array {
  const all = { ...headers, ':content-type': 'application/json' };
  const typed = Object.entries(all).map(([key, value]) => [key, { type: 'string' as const, value }] as const);
  return codec.encode({ headers: Object.fromEntries(typed), body: Buffer.from(encodeJson(payload)) });
}

/** Encodes a value as JSON like AWS: bytes become base64 text. */
export function encodeJson(value: unknown): string {
  // The value is read from its parent, because `toJSON` has already converted a Buffer that is passed as `member`.
  return JSON.stringify(value, function (this: Readonly<Record<string, unknown>>, key: string, member: unknown) {
    const original = this[key];
    return original instanceof Uint8Array ? Buffer.from(original).toString('base64') : member;
  });
}
