import type { GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';

/** A plain request of the model `default`, with whatever a test wants otherwise. */
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

/** A whole answer of one piece of text. */
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

/** All events of an answer; throws what it throws. */
export async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}
