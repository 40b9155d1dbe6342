/** One action of an upstream while it sends a reply. */
export type Step =
  /** Sends the bytes as a separate packet. */
  | { readonly send: string | Uint8Array }
  | { readonly waitMs: number }
  /** Waits until the promise settles. */
  | { readonly until: Promise<unknown> }
  /** Stops sending and keeps the connection open until the client closes it. */
  | 'stall'
  /** Destroys the connection. */
  | 'cut';

/** An upstream's reply to one request. It has either a body or steps. */
export interface Reply {
  /** 200 when absent. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text and bytes are sent unchanged, other values as JSON. */
  readonly body?: unknown;
  /** Executed in order, as fast as the client reads. */
  readonly steps?: Iterable<Step>;
}

/** Creates a streamed reply that sends each chunk as a separate packet. */
export function streamChunks(chunks: readonly (string | Uint8Array)[], ending?: 'stall' | 'cut'): Reply {
  const steps: Step[] = chunks.map((send) => ({ send }));
  return { headers: EVENT_STREAM, steps: ending === undefined ? steps : [...steps, ending] };
}

/** Creates a streamed reply with one event per chunk. Text is sent unchanged, other values as JSON. */
export function streamEvents(chunks: readonly unknown[], ending?: 'stall' | 'cut'): Reply {
  return streamChunks(chunks.map(encodeEvent), ending);
}

/** Encodes a server-sent event. */
export function encodeEvent(data: unknown): string {
  return `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
}

export const EVENT_STREAM = { 'content-type': 'text/event-stream; charset=utf-8' } as const;
