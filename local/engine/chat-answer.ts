import type { Reply } from './reply.ts';

/** What the answers of one request share. */
export interface AnswerHead {
  readonly id: string;
  /** Epoch seconds. */
  readonly created: number;
  readonly model: string;
}

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** A whole answer's body, as OpenAI types it. */
export function formatCompletion(head: AnswerHead, { tokens, finishReason }: Reply, usage: Usage): object {
  const message = { role: 'assistant', content: tokens.join('') };
  return {
    ...head,
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason }],
    usage: wireUsage(usage),
  };
}

/** The server-sent event that opens a stream. */
export function formatOpeningEvent(head: AnswerHead): string {
  return chunk(head, [choice({ role: 'assistant', content: '' }, null)]);
}

/** The server-sent events of tokens, one for each as engines send them. */
export function formatTokenEvents(head: AnswerHead, tokens: readonly string[]): string {
  return tokens.map((content) => chunk(head, [choice({ content }, null)])).join('');
}

/** The server-sent events that end a stream; `usage` is there when it was asked for. */
export function formatClosingEvents(head: AnswerHead, { finishReason }: Reply, usage: Usage | undefined): string {
  const last = chunk(head, [choice({}, finishReason)]);
  return `${last}${usage === undefined ? '' : chunk(head, [], wireUsage(usage))}data: [DONE]\n\n`;
}

function choice(delta: object, finishReason: Reply['finishReason'] | null): object {
  return { index: 0, delta, logprobs: null, finish_reason: finishReason };
}

function chunk(head: AnswerHead, choices: readonly object[], usage?: object): string {
  return `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices, ...(usage && { usage }) })}\n\n`;
}

function wireUsage({ promptTokens, cachedTokens, completionTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
