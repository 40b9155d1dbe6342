/**
 * Server process: the local Bedrock stand-in, which streams the same tokens as `upstream.ts`.
 *
 * `node bedrock.ts <tokens> <interval-ms>`
 */
import { startBedrock } from '../../local/bedrock/server.ts';
import { generateStampedTokens } from './tokens.ts';

const [count, intervalMs] = process.argv.slice(2).map(Number);

const { url } = await startBedrock({
  async *respond() {
    const tokens = generateStampedTokens(count, intervalMs);
    yield { type: 'event', event: { messageStart: { role: 'assistant' } } };
    for await (const text of tokens) {
      yield { type: 'event', event: { contentBlockDelta: { contentBlockIndex: 0, delta: { text } } } };
    }
    yield { type: 'event', event: { contentBlockStop: { contentBlockIndex: 0 } } };
    yield { type: 'event', event: { messageStop: { stopReason: 'end_turn' } } };
    const usage = { inputTokens: 12, outputTokens: 16, totalTokens: 28 };
    yield { type: 'event', event: { metadata: { usage, metrics: { latencyMs: 0 } } } };
  },
});
console.log(url);
