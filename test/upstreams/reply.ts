/** One thing an upstream does while it answers. */
export type Step =
  /** Sends bytes in a packet of their own. */
  | { readonly send: string | Uint8Array }
  | { readonly waitMs: number }
  /** Waits until the promise settles. */
  | { readonly until: Promise<unknown> }
  /** Sends nothing more and keeps the connection open until the client closes it. */
  | 'stall'
  /** Breaks the connection. */
  | 'cut';

/** How an upstream answers one request; without `steps` the body goes out whole. */
export interface Reply {
  /** 200 when absent. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON unless it is text or bytes. */
  readonly body?: unknown;
  /** Taken one by one, as fast as the client reads. */
  readonly steps?: Iterable<Step>;
}

/** A streamed answer of the given pieces, each a packet of its own. */
export function streamOf(pieces: readonly (string | Uint8Array)[], ending?: 'stall' | 'cut'): Reply {
  const steps: Step[] = pieces.map((send) => ({ send }));
  return { headers: EVENT_STREAM, steps: ending === undefined ? steps : [...steps, ending] };
}

/** A streamed answer with one event for each of `chunks` (JSON, or text as it is). */
export function eventsOf(chunks: readonly unknown[], ending?: 'stall' | 'cut'): Reply {
  return streamOf(chunks.map(eventOf), ending);
}

/** One server-sent event. */
export function eventOf(data: unknown): string {
  return `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
}

export const EVENT_STREAM = { 'content-type': 'text/event-stream; charset=utf-8' } as const;
