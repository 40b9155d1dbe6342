import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import type { GenerateOptions } from '../../../shared/inference/router.ts';

export const FINISH = { type: 'finish', reason: 'stop', usage: undefined } as const satisfies GenerationEvent;

export const OPTIONS: GenerateOptions = { signal: new AbortController().signal, deadlineAt: 0, streamed: true };

/** Yields events as an upstream does, one at a time. */
export async function* stream(events: readonly GenerationEvent[]): AsyncGenerator<GenerationEvent> {
  yield* events;
}

/** Returns the text of events, whatever its kind. */
export function joinTexts(events: readonly GenerationEvent[]): string {
  return events.map((event) => ('text' in event ? event.text : 'fragment' in event ? event.fragment : '')).join('');
}

/** Cuts a text at positions, which need not be sorted. */
export function cut(text: string, positions: readonly number[]): string[] {
  const sorted = [0, ...positions.map((each) => each % (text.length + 1)), text.length].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => text.slice(sorted[index], end));
}
