import { addUsage } from '../inference/add-usage.ts';
import type { GenerationEvent, Usage } from '../inference/generation.ts';

/** Yields the events with the tokens of the summary added to those of the answer. */
export async function* addSummaryUsage(
  events: AsyncIterable<GenerationEvent>,
  usage: Usage,
): AsyncGenerator<GenerationEvent> {
  for await (const event of events) {
    yield event.type === 'finish' ? { ...event, usage: addUsage(event.usage, usage) } : event;
  }
}
