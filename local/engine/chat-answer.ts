import type { Reply } from './reply.ts';

/** The fields that all parts of an answer share. */
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

/** Returns the body of a complete answer in OpenAI's format. */
export function formatCompletion(head: AnswerHead, { tokens, finishReason }: Reply, usage: Usage): object {
  const message = { role: 'assistant', content: tokens.join('') };
  return {
    ...head,
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason }],
    usage: toWireUsage(usage),
  };
}

/** Returns the server-sent event that starts a stream. */
export function formatOpeningEvent(head: AnswerHead): string {
  return formatChunk(head, [toChoice({ role: 'assistant', content: '' }, null)]);
}

/** Returns one server-sent event per token, as engines send them. */
export function formatTokenEvents(head: AnswerHead, tokens: readonly string[]): string {
  return tokens.map((content) => formatChunk(head, [toChoice({ content }, null)])).join('');
}

/** Returns the server-sent events that end a stream. `usage` is included if it is given. */
export function formatClosingEvents(head: AnswerHead, { finishReason }: Reply, usage: Usage | undefined): string {
  const last = formatChunk(head, [toChoice({}, finishReason)]);
  return `${last}${usage === undefined ? '' : formatChunk(head, [], toWireUsage(usage))}data: [DONE]\n\n`;
}

function toChoice(delta: object, finishReason: Reply['finishReason'] | null): object {
  return { index: 0, delta, logprobs: null, finish_reason: finishReason };
}

function formatChunk(head: AnswerHead, choices: readonly object[], usage?: object): string {
  return `data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices, ...(usage && { usage }) })}\n\n`;
}

function toWireUsage({ promptTokens, cachedTokens, completionTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
