import type { GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';

/** Returns a plain request for the model `default`, with the given changes. */
export function makeRequest(changes: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    tenant: 'acme',
    model: 'default',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
    tools: [],
    toolChoice: 'auto',
    parallelToolCalls: true,
    format: { type: 'text' },
    stop: [],
    reasoningSummary: false,
    conversationKey: 'conversation',
    hints: {},
    unknown: {},
    parameterNames: {},
    ...changes,
  };
}

/** Returns a complete answer of one text event. */
export function makeAnswer(text: string): GenerationEvent[] {
  return [
    { type: 'text', text },
    {
      type: 'finish',
      reason: 'stop',
      usage: { inputTokens: 3, cachedInputTokens: 0, outputTokens: 2, reasoningTokens: 0 },
    },
  ];
}

/** Returns all events of an answer, and rethrows its error. */
export async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}
