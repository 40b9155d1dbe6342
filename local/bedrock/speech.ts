import { randomUUID } from 'node:crypto';
import type { StopReason, TokenUsage } from '@aws-sdk/client-bedrock-runtime';
import type { ConverseCall, Frame } from './frames.ts';
import { CHARACTERS_PER_TOKEN, estimateTokens } from './prompt-cache.ts';

export interface Pace {
  /** Milliseconds between words; 0 for none. */
  readonly wordMs: number;
}

/** Yields `text` as a model's response: word by word, up to the request's token limit or first stop sequence. */
export async function* say(text: string, { body, prompt }: ConverseCall, { wordMs }: Pace): AsyncGenerator<Frame> {
  const { said, stopReason } = limitText(text, body.inferenceConfig ?? {});
  yield toFrame({ messageStart: { role: 'assistant' } });
  for (const [index, chunk] of (said.match(/\s*\S+\s*/g) ?? []).entries()) {
    // The first word has no pause, because readers wait for it.
    if (index > 0 && wordMs > 0) yield { type: 'pause', ms: wordMs };
    yield toFrame({ contentBlockDelta: { contentBlockIndex: 0, delta: { text: chunk } } });
  }
  yield* end(stopReason, said, prompt);
}

/** Yields a call of a tool as a model's response. */
export async function* callTool(name: string, input: unknown, { prompt }: ConverseCall): AsyncGenerator<Frame> {
  const json = JSON.stringify(input);
  yield toFrame({ messageStart: { role: 'assistant' } });
  const start = { toolUse: { toolUseId: `tooluse_${randomUUID().replaceAll('-', '')}`, name } };
  yield toFrame({ contentBlockStart: { contentBlockIndex: 0, start } });
  yield toFrame({ contentBlockDelta: { contentBlockIndex: 0, delta: { toolUse: { input: json } } } });
  yield* end('tool_use', json, prompt);
}

function* end(stopReason: StopReason, said: string, prompt: ConverseCall['prompt']): Generator<Frame> {
  yield toFrame({ contentBlockStop: { contentBlockIndex: 0 } });
  yield toFrame({ messageStop: { stopReason } });
  yield toFrame({ metadata: { usage: toUsage(prompt, estimateTokens(said.length)), metrics: { latencyMs: 1 } } });
}

/** Returns the usage of an answer as Converse reports it. */
export function toUsage(prompt: ConverseCall['prompt'], outputTokens: number): TokenUsage {
  const { inputTokens, cacheReadInputTokens, cacheWriteInputTokens, cacheDetails } = prompt;
  return {
    inputTokens,
    outputTokens,
    totalTokens: inputTokens + cacheReadInputTokens + cacheWriteInputTokens + outputTokens,
    cacheReadInputTokens,
    cacheWriteInputTokens,
    cacheDetails: [...cacheDetails],
  };
}

function limitText(
  text: string,
  { maxTokens, stopSequences = [] }: NonNullable<ConverseCall['body']['inferenceConfig']>,
): { said: string; stopReason: StopReason } {
  const stops = stopSequences.map((sequence) => text.indexOf(sequence)).filter((at) => at >= 0);
  const stopAt = Math.min(text.length, ...stops);
  const limit = (maxTokens ?? Number.POSITIVE_INFINITY) * CHARACTERS_PER_TOKEN;
  if (stopAt > limit) return { said: text.slice(0, limit), stopReason: 'max_tokens' };
  return { said: text.slice(0, stopAt), stopReason: stops.length > 0 ? 'stop_sequence' : 'end_turn' };
}

function toFrame(content: Extract<Frame, { type: 'event' }>['event']): Frame {
  return { type: 'event', event: content };
}
