import { seededRandom } from '../../../local/faults/random.ts';
import { BLOCK_TOKENS, type Trace, type TraceRequest } from './trace.ts';

/** What a made-up trace is like. The figures are round, and near those of the conversation trace where it shows them. */
export const SYNTHETIC = {
  conversations: 1_500,
  durationMs: 1_800_000,
  /** Turns of a conversation, on average (geometric). */
  turns: 4,
  /** Blocks that all conversations of one application begin with, and how many applications there are. */
  applications: 12,
  applicationBlocks: 3,
  /** Tokens of a first message beyond them: the median, and the spread of its logarithm; long documents are in the tail. */
  firstTokens: { median: 2_500, sigma: 1.1 },
  /** Tokens of each later message, and of each answer. */
  messageTokens: { median: 300, sigma: 1 },
  answerTokens: { median: 250, sigma: 0.8 },
  mostTokens: 100_000,
  /** Milliseconds between an answer and the next turn (exponential). */
  thinkMs: 30_000,
  /** How many times the usual rate conversations begin at within a burst, for how long, and how often one begins. */
  burst: { factor: 4, ms: 20_000, everyMs: 240_000 },
};

type Shape = Readonly<typeof SYNTHETIC>;

/**
 * A made-up trace: conversations that grow turn by turn, many on the same beginnings, in bursts.
 * @param seed a whole number; the same gives the same trace
 */
export function syntheticTrace(seed: number, shape: Shape = SYNTHETIC): Trace {
  const random = seededRandom(seed);
  const exponential = (mean: number) => -mean * Math.log(1 - random());
  const lognormal = ({ median, sigma }: { readonly median: number; readonly sigma: number }) => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(1, Math.round(median * Math.exp(sigma * normal)));
  };
  let blockCount = shape.applications * shape.applicationBlocks;
  const requests: TraceRequest[] = [];
  for (const startMs of beginnings(shape, random)) {
    const application = Math.floor(random() * shape.applications);
    const blocks = Array.from(
      { length: shape.applicationBlocks },
      (_, depth) => application * shape.applicationBlocks + depth,
    );
    let tokens = shape.applicationBlocks * BLOCK_TOKENS + lognormal(shape.firstTokens);
    let atMs = startMs;
    do {
      if (tokens > shape.mostTokens) break;
      while ((blocks.length + 1) * BLOCK_TOKENS <= tokens) blocks.push(blockCount++);
      const outputTokens = lognormal(shape.answerTokens);
      requests.push({ atMs: Math.round(atMs), inputTokens: tokens, outputTokens, blocks: [...blocks] });
      tokens += outputTokens + lognormal(shape.messageTokens);
      atMs += exponential(shape.thinkMs);
    } while (random() < 1 - 1 / shape.turns);
  }
  requests.sort((a, b) => a.atMs - b.atMs);
  const first = requests[0]?.atMs ?? 0;
  const fromZero = requests.map((request) => ({ ...request, atMs: request.atMs - first }));
  return { name: 'synthetic', requests: fromZero, blockCount, tickMs: 0 };
}

/** When conversations begin: evenly spread, several times denser in bursts. */
function beginnings({ conversations, durationMs, burst }: Shape, random: () => number): number[] {
  const times: number[] = [];
  while (times.length < conversations) {
    const atMs = random() * durationMs;
    const isBurst = atMs % burst.everyMs < burst.ms;
    if (isBurst || random() < 1 / burst.factor) times.push(atMs);
  }
  return times;
}
