import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLong } from './kinds.ts';
import { findJob } from './questions.ts';

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

/** The streams of a job. */
export interface Streams {
  readonly started: number;
  /** Number of streams that the upstream itself cut. */
  readonly cut: number;
  /** Tokens of all streams, and of those that the upstream cut. */
  readonly tokens: number;
  readonly cutTokens: number;
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
  countStreams(job: number): Streams;
  close(): Promise<void>;
}

export interface ChaosUpstreamOptions {
  /** Maximum of concurrent streams; further requests get 429. */
  readonly workers: number;
  /** 0 up to 1. */
  readonly random: () => number;
  /** Milliseconds that a long answer takes. The others are sent at once. */
  readonly longMs: number;
  /** Called instead of answering a job that `isCrashing`. */
  readonly crash: (job: number) => void;
  readonly isCrashing: (job: number) => boolean;
}

export const NO_FAULTS: UpstreamFaults = { throttled: 0, overloaded: 0, refused: 0, cut: 0 };

const formatChunk = (content: string, finish_reason: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;

const formatUsage = (tokens: number): string => {
  const usage = { prompt_tokens: 1, completion_tokens: tokens, total_tokens: tokens + 1 };
  return `data: ${JSON.stringify({ choices: [], usage })}\n\n`;
};

const NO_STREAMS: Streams = { started: 0, cut: 0, tokens: 0, cutTokens: 0 };
/** Tokens of a long answer; a short one has two. */
const LONG_TOKENS = 20;

/**
 * Starts an OpenAI-compatible upstream. Its answer `job <n>, call <k>` names its job and call; a long one repeats `more` before
 * `call`. Each chunk of a stream is a token.
 */
export async function startChaosUpstream(options: ChaosUpstreamOptions): Promise<ChaosUpstream> {
  const { workers, random, longMs, crash, isCrashing } = options;
  let faults = NO_FAULTS;
  let calls = 0;
  let busy = 0;
  const counted = { throttled: 0, overloaded: 0, refused: 0, cut: 0, answered: 0, busy: 0 };
  const jobs = new Map<number, Streams>();
  const countStreams = (job: number) => jobs.get(job) ?? NO_STREAMS;

  function serve(job: number, outgoing: ServerResponse): void {
    if (isCrashing(job)) {
      crash(job);
      outgoing.destroy();
      return;
    }
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
    void stream(job, outcome === 'cut', outgoing);
  }

  async function stream(job: number, cut: boolean, outgoing: ServerResponse): Promise<void> {
    const before = countStreams(job);
    jobs.set(job, { ...before, started: before.started + 1, cut: before.cut + (cut ? 1 : 0) });
    const more = isLong(job) ? Array<string>(LONG_TOKENS - 2).fill('more ') : [];
    const tokens = [`job ${job}, `, ...more, `call ${before.started + 1}`];
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const token of cut ? tokens.slice(0, tokens.length / 2) : tokens) {
      if (outgoing.destroyed) return;
      outgoing.write(formatChunk(token));
      const now = countStreams(job);
      jobs.set(job, { ...now, tokens: now.tokens + 1, cutTokens: now.cutTokens + (cut ? 1 : 0) });
      // The first pause of a short answer that is cut lets the bytes that were sent arrive.
      if (more.length > 0 || cut) await sleep(more.length > 0 ? longMs / LONG_TOKENS : 5);
    }
    if (cut) outgoing.destroy();
    else outgoing.end(`${formatChunk('', 'stop')}${formatUsage(tokens.length)}data: [DONE]\n\n`);
  }

  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    outgoing.on('error', () => {});
    text(incoming).then(
      (body) => {
        calls += 1;
        serve(findJob(body) ?? -1, outgoing);
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
