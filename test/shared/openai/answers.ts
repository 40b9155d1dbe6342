import type { GenerationEvent, TokenLogprob, Usage } from '../../../shared/inference/generation.ts';

const USAGE: Usage = { inputTokens: 11, cachedInputTokens: 3, outputTokens: 7, reasoningTokens: 2 };

export function text(...pieces: string[]): GenerationEvent[] {
  return pieces.map((piece) => ({ type: 'text', text: piece }));
}

export function finish(reason: Extract<GenerationEvent, { type: 'finish' }>['reason'] = 'stop'): GenerationEvent {
  return { type: 'finish', reason, usage: USAGE };
}

export function call(index: number, name: string, ...fragments: string[]): GenerationEvent[] {
  return [
    { type: 'toolCall', index, id: `call_${index}`, name },
    ...fragments.map((fragment): GenerationEvent => ({ type: 'toolArguments', index, fragment })),
  ];
}

export function logprob(token: string): TokenLogprob {
  const bytes = [...Buffer.from(token)];
  return { token, logprob: -0.5, bytes, alternatives: [{ token, logprob: -0.5, bytes }] };
}

/** Yields what it is given, and then throws what it is told to. */
export async function* streamOf(events: readonly GenerationEvent[], failure?: Error): AsyncGenerator<GenerationEvent> {
  yield* events;
  if (failure) throw failure;
}
