import { createSeededRandom } from '../../../local/faults/random.ts';
import { BLOCK_TOKENS, type Trace, type TraceRequest } from './trace.ts';

/** Shape of the synthetic trace, in round figures. Where the conversation trace shows a figure, it is close. */
export const SYNTHETIC = {
  conversations: 1_500,
  durationMs: 1_800_000,
  /** Mean turns per conversation (geometric). */
  turns: 4,
  /** Blocks of the prefix shared by an application's conversations, and the number of applications. */
  applications: 12,
  applicationBlocks: 3,
  /**
   * Tokens of a first message after the prefix: median, and standard deviation of the logarithm. The distribution's
   * tail contains long documents.
   */
  firstTokens: { median: 2_500, sigma: 1.1 },
  /** Tokens of later messages, and of answers. */
  messageTokens: { median: 300, sigma: 1 },
  answerTokens: { median: 250, sigma: 0.8 },
  mostTokens: 100_000,
  /** Mean milliseconds between an answer and the next turn (exponential). */
  thinkMs: 30_000,
  /** Rate of new conversations in a burst relative to the usual rate, its duration, and the interval between bursts. */
  burst: { factor: 4, ms: 20_000, everyMs: 240_000 },
};

type Shape = Readonly<typeof SYNTHETIC>;

/**
 * Generates a trace: conversations that grow turn by turn, with shared prefixes, in bursts.
 * @param seed an integer; the same seed gives the same trace
 */
export function generateTrace(seed: number, shape: Shape = SYNTHETIC): Trace {
  const random = createSeededRandom(seed);
  const sampleExponential = (mean: number) => -mean * Math.log(1 - random());
  const sampleLognormal = ({ median, sigma }: { readonly median: number; readonly sigma: number }) => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(1, Math.round(median * Math.exp(sigma * normal)));
  };
  let blockCount = shape.applications * shape.applicationBlocks;
  const requests: TraceRequest[] = [];
  for (const startMs of generateStarts(shape, random)) {
    const application = Math.floor(random() * shape.applications);
    const blocks = Array.from(
      { length: shape.applicationBlocks },
      (_, depth) => application * shape.applicationBlocks + depth,
    );
    let tokens = shape.applicationBlocks * BLOCK_TOKENS + sampleLognormal(shape.firstTokens);
    let atMs = startMs;
    do {
      if (tokens > shape.mostTokens) break;
      while ((blocks.length + 1) * BLOCK_TOKENS <= tokens) blocks.push(blockCount++);
      const outputTokens = sampleLognormal(shape.answerTokens);
      requests.push({ atMs: Math.round(atMs), inputTokens: tokens, outputTokens, blocks: [...blocks] });
      tokens += outputTokens + sampleLognormal(shape.messageTokens);
      atMs += sampleExponential(shape.thinkMs);
    } while (random() < 1 - 1 / shape.turns);
  }
  requests.sort((a, b) => a.atMs - b.atMs);
  const first = requests[0]?.atMs ?? 0;
  const fromZero = requests.map((request) => ({ ...request, atMs: request.atMs - first }));
  return { name: 'synthetic', requests: fromZero, blockCount, tickMs: 0 };
}

/** Returns the start times of conversations: uniform, but several times as many in bursts. */
function generateStarts({ conversations, durationMs, burst }: Shape, random: () => number): number[] {
  const times: number[] = [];
  while (times.length < conversations) {
    const atMs = random() * durationMs;
    const isBurst = atMs % burst.everyMs < burst.ms;
    if (isBurst || random() < 1 / burst.factor) times.push(atMs);
  }
  return times;
}
