import type { GenerationEvent, TokenLogprob, Usage } from '../../../shared/inference/generation.ts';

const USAGE: Usage = {
  inputTokens: 11,
  cachedInputTokens: 3,
  cacheWriteTokens: 4,
  outputTokens: 7,
  reasoningTokens: 2,
};

export function textEvents(...chunks: string[]): GenerationEvent[] {
  return chunks.map((chunk) => ({ type: 'text', text: chunk }));
}

export function finishEvent(reason: Extract<GenerationEvent, { type: 'finish' }>['reason'] = 'stop'): GenerationEvent {
  return { type: 'finish', reason, usage: USAGE };
}

export function toolCallEvents(index: number, name: string, ...fragments: string[]): GenerationEvent[] {
  return [
    { type: 'toolCall', index, id: `call_${index}`, name },
    ...fragments.map((fragment): GenerationEvent => ({ type: 'toolArguments', index, fragment })),
  ];
}

export function tokenLogprob(token: string): TokenLogprob {
  const bytes = [...Buffer.from(token)];
  return { token, logprob: -0.5, bytes, alternatives: [{ token, logprob: -0.5, bytes }] };
}

/** Yields `events`, then throws `failure` if there is one. */
export async function* toStream(events: readonly GenerationEvent[], failure?: Error): AsyncGenerator<GenerationEvent> {
  yield* events;
  if (failure) throw failure;
}
