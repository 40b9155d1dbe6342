import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

/** Shares of requests that fail in each way, from 0 to 1 and at most 1 together. */
export interface UpstreamFaults {
  /** Answered 429. */
  readonly throttled: number;
  /** Answered 503. */
  readonly overloaded: number;
  /** The connection closes before the first byte. */
  readonly refused: number;
  /** The stream ends before it is complete. */
  readonly cut: number;
}

/** Counts of the calls to an upstream. */
export interface UpstreamCalls extends Pick<ChaosUpstream, 'calls' | 'countStreams'> {
  /** Calls by how they ended. */
  counts(): Readonly<Record<string, number>>;
}

export interface ChaosUpstream {
  readonly baseUrl: string;
  /** Sets the faults of later requests. */
  set(faults: UpstreamFaults): void;
  /** Number of requests of all jobs. */
  calls(): number;
  /** Number of requests by outcome. */
  counts(): Readonly<Record<keyof UpstreamFaults | 'answered' | 'busy', number>>;
  /** Number of a job's streams that were started, and of those that were cut. */
  countStreams(job: number): { readonly started: number; readonly cut: number };
  close(): Promise<void>;
}

export interface ChaosUpstreamOptions {
  /** Maximum of concurrent streams; further requests get 429. */
  readonly workers: number;
  /** 0 up to 1. */
  readonly random: () => number;
}

export const NO_FAULTS: UpstreamFaults = { throttled: 0, overloaded: 0, refused: 0, cut: 0 };

/** Returns the prompt of a job, which names the job for the upstream. */
export const createPrompt = (job: number): string => `job ${job}.`;

const formatChunk = (content: string, finish_reason: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;

/**
 * Starts an OpenAI-compatible upstream that answers at once with `job <n>, call <k>`, so that an answer names its job
 * and call.
 */
export async function startChaosUpstream({ workers, random }: ChaosUpstreamOptions): Promise<ChaosUpstream> {
  let faults = NO_FAULTS;
  let calls = 0;
  let busy = 0;
  const counted = { throttled: 0, overloaded: 0, refused: 0, cut: 0, answered: 0, busy: 0 };
  const jobs = new Map<number, { started: number; cut: number }>();
  const countStreams = (job: number) => jobs.get(job) ?? { started: 0, cut: 0 };

  function serve(job: number, outgoing: ServerResponse): void {
    const outcome = busy >= workers ? 'busy' : chooseOutcome(faults, random());
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
    const before = countStreams(job);
    jobs.set(job, { started: before.started + 1, cut: before.cut + (outcome === 'cut' ? 1 : 0) });
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    outgoing.write(formatChunk(`job ${job}, `));
    if (outcome === 'cut') {
      // The delay lets the bytes that were sent arrive.
      setTimeout(() => outgoing.destroy(), 5);
      return;
    }
    outgoing.end(`${formatChunk(`call ${before.started + 1}`)}${formatChunk('', 'stop')}data: [DONE]\n\n`);
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
      faults = next;
    },
    calls: () => calls,
    counts: () => ({ ...counted }),
    countStreams,
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

function chooseOutcome(faults: UpstreamFaults, random: number): keyof UpstreamFaults | 'answered' {
  let threshold = 0;
  const kind = (['throttled', 'overloaded', 'refused', 'cut'] as const).find((each) => {
    threshold += faults[each];
    return random < threshold;
  });
  return kind ?? 'answered';
}
