import type { ConverseStreamOutput } from '@aws-sdk/client-bedrock-runtime';
import { EventStreamCodec } from '@smithy/eventstream-codec';
import type { ConverseBody } from './request.ts';

/** What the stand-in was asked. */
export interface ConverseCall {
  readonly modelId: string;
  readonly streamed: boolean;
  readonly body: ConverseBody;
  /** The body's JSON, as it came. */
  readonly json: string;
  /** Aborts when the client goes away. */
  readonly signal: AbortSignal;
}

/** Decides what the stand-in answers, frame by frame. */
export type Responder = (call: ConverseCall) => AsyncIterable<Frame>;

export type Frame =
  | { readonly type: 'event'; readonly event: ConverseStreamOutput }
  /** An exception inside the stream, under its wire name: `throttlingException`. A buffered call answers with it. */
  | { readonly type: 'exception'; readonly name: string; readonly message: string }
  /** An error instead of an answer; only as the first frame. */
  | ErrorFrame
  /** Silence, in milliseconds. */
  | { readonly type: 'pause'; readonly ms: number }
  /** Ends the connection in the middle. */
  | { readonly type: 'cut' }
  /** Bytes as they are, for a stream that is no event stream. */
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

/** An event as `vnd.amazon.eventstream` bytes. Converse events hold one member each, named for the event's type. */
export function encodeEvent(event: ConverseStreamOutput): Uint8Array {
  const [type = '', payload] = Object.entries(event)[0] ?? [];
  return encode({ ':message-type': 'event', ':event-type': type }, payload);
}

/** An exception as `vnd.amazon.eventstream` bytes. */
export function encodeException(name: string, message: string): Uint8Array {
  return encode({ ':message-type': 'exception', ':exception-type': name }, { message });
}

function encode(headers: Readonly<Record<string, string>>, payload: unknown): Uint8Array {
  const all = { ...headers, ':content-type': 'application/json' };
  const typed = Object.entries(all).map(([key, value]) => [key, { type: 'string' as const, value }] as const);
  return codec.encode({ headers: Object.fromEntries(typed), body: Buffer.from(wireJson(payload)) });
}

/** JSON as AWS writes it: bytes are base64 text. */
export function wireJson(value: unknown): string {
  // Read from its holder, because a Buffer has turned itself into something else by the time it comes as `member`.
  return JSON.stringify(value, function (this: Readonly<Record<string, unknown>>, key: string, member: unknown) {
    const original = this[key];
    return original instanceof Uint8Array ? Buffer.from(original).toString('base64') : member;
  });
}
