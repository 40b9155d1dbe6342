import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

/** Shares of all requests, 0 to 1, that meet trouble; together 1 at most. */
export interface UpstreamTrouble {
  /** Answered 429. */
  readonly throttled: number;
  /** Answered 503. */
  readonly overloaded: number;
  /** Connection ends before a byte. */
  readonly refused: number;
  /** Stream ends before it is whole. */
  readonly cut: number;
}

/** The calls of an upstream, counted. */
export interface UpstreamCalls extends Pick<ChaosUpstream, 'calls' | 'of'> {
  /** Calls by how they ended. */
  counts(): Readonly<Record<string, number>>;
}

export interface ChaosUpstream {
  readonly baseUrl: string;
  /** From now on. */
  set(trouble: UpstreamTrouble): void;
  /** Requests that arrived, of any job. */
  calls(): number;
  /** What became of all requests. */
  counts(): Readonly<Record<keyof UpstreamTrouble | 'answered' | 'busy', number>>;
  /** Streams of a job that were begun, and those of them that were cut. */
  of(job: number): { readonly begun: number; readonly cut: number };
  close(): Promise<void>;
}

export interface ChaosUpstreamOptions {
  /** Streams at once; what comes beyond is answered 429. */
  readonly workers: number;
  /** 0 up to 1. */
  readonly random: () => number;
}

export const NO_TROUBLE: UpstreamTrouble = { throttled: 0, overloaded: 0, refused: 0, cut: 0 };

/** The prompt of a job, by which the upstream knows it. */
export const promptOf = (job: number): string => `job ${job}.`;

const chunk = (content: string, finish_reason: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;

/**
 * An OpenAI-compatible upstream that answers at once: `job <n>, call <k>`, so that an answer tells whose it is and which
 * of several calls it came from.
 */
export async function startChaosUpstream({ workers, random }: ChaosUpstreamOptions): Promise<ChaosUpstream> {
  let trouble = NO_TROUBLE;
  let calls = 0;
  let busy = 0;
  const counted = { throttled: 0, overloaded: 0, refused: 0, cut: 0, answered: 0, busy: 0 };
  const jobs = new Map<number, { begun: number; cut: number }>();
  const of = (job: number) => jobs.get(job) ?? { begun: 0, cut: 0 };

  function serve(job: number, outgoing: ServerResponse): void {
    const outcome = busy >= workers ? 'busy' : chosen(trouble, random());
    counted[outcome] += 1;
    if (outcome === 'throttled' || outcome === 'busy' || outcome === 'overloaded') {
      refuse(outgoing, outcome === 'overloaded' ? 503 : 429);
      return;
    }
    if (outcome === 'refused') {
      outgoing.destroy();
      return;
    }
    busy += 1;
    outgoing.once('close', () => {
      busy -= 1;
    });
    const so = of(job);
    jobs.set(job, { begun: so.begun + 1, cut: so.cut + (outcome === 'cut' ? 1 : 0) });
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    outgoing.write(chunk(`job ${job}, `));
    if (outcome === 'cut') {
      // A tick for what was sent before: it should arrive.
      setTimeout(() => outgoing.destroy(), 5);
      return;
    }
    outgoing.end(`${chunk(`call ${so.begun + 1}`)}${chunk('', 'stop')}data: [DONE]\n\n`);
  }

  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    outgoing.on('error', () => {});
    text(incoming).then(
      (body) => {
        calls += 1;
        serve(Number(/job (\d+)\./.exec(body)?.[1] ?? -1), outgoing);
      },
      () => outgoing.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The upstream has no port');
  return {
    baseUrl: `http://127.0.0.1:${address.port}/v1`,
    set(next) {
      trouble = next;
    },
    calls: () => calls,
    counts: () => ({ ...counted }),
    of,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function refuse(outgoing: ServerResponse, status: 429 | 503): void {
  const error = { message: 'Try again', type: 'requests', param: null, code: null };
  outgoing.writeHead(status, { 'content-type': 'application/json', 'retry-after-ms': '50' });
  outgoing.end(JSON.stringify({ error }));
}

function chosen(trouble: UpstreamTrouble, random: number): keyof UpstreamTrouble | 'answered' {
  let below = 0;
  const kind = (['throttled', 'overloaded', 'refused', 'cut'] as const).find((each) => {
    below += trouble[each];
    return random < below;
  });
  return kind ?? 'answered';
}
