import { isObject, omitUndefined } from '../../../core/objects.ts';
import type { FinishReason, GenerationEvent, ServiceTier, TokenLogprob, Usage } from '../../generation.ts';
import { createContinuation, type ReasoningField } from './messages.ts';
import { ToolCallAssembler } from './tool-calls.ts';
import { asCount, asObject, asObjects, asText, type WireObject } from './wire.ts';

/** How an answer ended according to the upstream. */
export type AnswerEnding =
  | { readonly type: 'none' }
  | { readonly type: 'finished'; readonly reason: FinishReason }
  /** The upstream reports that the answer is incomplete. */
  | { readonly type: 'broken'; readonly reason: string };

/**
 * Converts one answer, as stream chunks or as one buffered completion, to generation events. A chunk's `delta` and a
 * completion's `message` have the same fields, so the same code reads both.
 */
export class AnswerReader {
  readonly #upstream: string;
  readonly #toolCalls: ToolCallAssembler;
  #reasoning: ReasoningField | 'content' | undefined;
  #ending: AnswerEnding = { type: 'none' };
  #usage: Usage | undefined;
  #serviceTier: ServiceTier | undefined;
  #stopSequence: string | undefined;

  /**
   * @param upstream fingerprint of the target, for continuations of its reasoning
   * @param newId creates ids for tool calls without one
   */
  constructor(upstream: string, newId: () => string) {
    this.#upstream = upstream;
    this.#toolCalls = new ToolCallAssembler(newId);
  }

  get ending(): AnswerEnding {
    return this.#ending;
  }

  /** Reads a chunk or a buffered completion, and appends its events to `events`. */
  read(chunk: WireObject, events: GenerationEvent[]): void {
    const choice = asObjects(chunk['choices'])[0];
    // DeepSeek and OpenAI report usage at the top level, Groq in x_groq, Moonshot in the choice. If an upstream repeats
    // it, the counts are cumulative and the last one is valid.
    const usage = chunk['usage'] ?? asObject(chunk['x_groq'])?.['usage'] ?? choice?.['usage'];
    if (isObject(usage)) this.#usage = readUsage(usage);
    this.#serviceTier = SERVICE_TIERS.get(chunk['service_tier']) ?? this.#serviceTier;
    if (choice === undefined) return;
    const message = asObject(choice['delta']) ?? asObject(choice['message']);
    if (message) this.#readMessage(message, asObject(choice['logprobs']), events);
    const reason = asText(choice['finish_reason']);
    if (reason !== undefined) this.#ending = readEnding(reason);
    // vLLM and SGLang name the stop sequence; a number is the id of a token.
    if (reason === 'stop') this.#stopSequence = asText(choice['stop_reason']) ?? asText(choice['matched_stop']);
  }

  /**
   * Ends the answer.
   * @returns the last events, `finish` included; undefined if a tool call has no name, which makes it unusable
   */
  finish(): GenerationEvent[] | undefined {
    const events: GenerationEvent[] = [];
    this.#endReasoning(events);
    if (!this.#toolCalls.finish(events)) return undefined;
    events.push({
      type: 'finish',
      reason: this.#finishReason(),
      usage: this.#usage,
      ...omitUndefined({ serviceTier: this.#serviceTier, stopSequence: this.#stopSequence }),
    });
    return events;
  }

  #finishReason(): FinishReason {
    const reason = this.#ending.type === 'finished' ? this.#ending.reason : 'stop';
    // Several dialects report "stop" after tool calls, but clients expect "tool_calls" before they run tools.
    return reason === 'stop' && this.#toolCalls.hasCalls ? 'toolCalls' : reason;
  }

  #readMessage(message: WireObject, logprobs: WireObject | undefined, events: GenerationEvent[]): void {
    this.#readReasoning(message, events);
    this.#readContent(message['content'], readLogprobs(logprobs?.['content']), events);
    this.#readRefusal(asText(message['refusal']), readLogprobs(logprobs?.['refusal']), events);
    const calls = message['tool_calls'];
    for (const call of isObject(calls) ? [calls] : asObjects(calls)) this.#readToolCall(call, events);
    // The API of 2023, which some local servers still use: one call, without an id.
    const legacy = asObject(message['function_call']);
    if (legacy) this.#readToolCall({ index: 0, function: legacy }, events);
  }

  #readReasoning(message: WireObject, events: GenerationEvent[]): void {
    const content = asText(message['reasoning_content']);
    const text = content ?? asText(message['reasoning']);
    if (text !== undefined)
      this.#emitReasoning(text, content === undefined ? 'reasoning' : 'reasoning_content', events);
  }

  #emitReasoning(text: string, field: ReasoningField | 'content', events: GenerationEvent[]): void {
    this.#reasoning = field;
    events.push({ type: 'reasoning', text });
  }

  /** Reads a string or, at Mistral, an array of text and thinking parts. */
  #readContent(content: unknown, logprobs: TokenLogprob[] | undefined, events: GenerationEvent[]): void {
    if (typeof content === 'string' || !Array.isArray(content)) {
      this.#emitText('text', typeof content === 'string' ? content : '', logprobs, events);
      return;
    }
    for (const part of content) {
      const thinking = isObject(part) && part['type'] === 'thinking' ? extractText(part['thinking']) : '';
      if (thinking !== '') this.#emitReasoning(thinking, 'content', events);
      else this.#emitText('text', extractText(part), undefined, events);
    }
    this.#emitText('text', '', logprobs, events);
  }

  #readRefusal(text: string | undefined, logprobs: TokenLogprob[] | undefined, events: GenerationEvent[]): void {
    this.#emitText('refusal', text ?? '', logprobs, events);
  }

  #emitText(
    type: 'text' | 'refusal',
    text: string,
    logprobs: TokenLogprob[] | undefined,
    events: GenerationEvent[],
  ): void {
    if (text === '' && logprobs === undefined) return;
    this.#endReasoning(events);
    events.push(logprobs === undefined ? { type, text } : { type, text, logprobs });
  }

  #readToolCall(call: WireObject, events: GenerationEvent[]): void {
    this.#endReasoning(events);
    this.#toolCalls.addFragment(call, events);
  }

  #endReasoning(events: GenerationEvent[]): void {
    if (this.#reasoning === undefined) return;
    const field = this.#reasoning;
    this.#reasoning = undefined;
    // Mistral sends thinking as a part of the content, and doesn't need it back.
    if (field === 'content') events.push({ type: 'reasoningEnd' });
    else events.push({ type: 'reasoningEnd', continuation: createContinuation(field, this.#upstream) });
  }
}

/** Returns the text of a content part, of an array of parts or of a bare string. */
function extractText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(extractText).join('');
  return isObject(value) && typeof value['text'] === 'string' ? value['text'] : '';
}

const FINISH_REASONS: ReadonlyMap<string, FinishReason> = new Map([
  ['stop', 'stop'],
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['model_length', 'length'],
  ['tool_calls', 'toolCalls'],
  ['tool_use', 'toolCalls'],
  ['function_call', 'toolCalls'],
  ['content_filter', 'contentFilter'],
  ['safety', 'contentFilter'],
  ['sensitive', 'contentFilter'],
  ['refusal', 'contentFilter'],
]);

/** Finish reasons of OpenRouter, DeepSeek, vLLM and Zhipu for an answer that was interrupted. */
const BROKEN_REASONS: ReadonlySet<string> = new Set([
  'error',
  'insufficient_system_resource',
  'abort',
  'cancelled',
  'network_error',
]);

function readEnding(text: string): AnswerEnding {
  const reason = text.toLowerCase();
  if (BROKEN_REASONS.has(reason)) return { type: 'broken', reason };
  // Any other reason (an end-of-sequence token, a stop sequence) is a natural end.
  return { type: 'finished', reason: FINISH_REASONS.get(reason) ?? 'stop' };
}

const SERVICE_TIERS: ReadonlyMap<unknown, ServiceTier> = new Map([
  ['auto', 'auto'],
  ['default', 'default'],
  ['flex', 'flex'],
  ['priority', 'priority'],
]);

function readUsage(usage: WireObject): Usage {
  const inputTokens = asCount(usage['prompt_tokens']) ?? 0;
  const completion = asCount(usage['completion_tokens']) ?? 0;
  const reasoning = asCount(asObject(usage['completion_tokens_details'])?.['reasoning_tokens']);
  // Gemini and xAI count reasoning in the total, which they bill, but not in the completion.
  const uncounted = Math.max(0, (asCount(usage['total_tokens']) ?? 0) - inputTokens - completion);
  const details = asObject(usage['prompt_tokens_details']);
  return {
    inputTokens,
    cachedInputTokens:
      asCount(details?.['cached_tokens']) ??
      asCount(usage['prompt_cache_hit_tokens']) ??
      asCount(usage['cached_tokens']) ??
      0,
    // OpenAI and OpenRouter report writes in the details, LiteLLM beside them under Anthropic's name.
    ...omitUndefined({
      cacheWriteTokens: asCount(details?.['cache_write_tokens']) ?? asCount(usage['cache_creation_input_tokens']),
    }),
    outputTokens: completion + uncounted,
    reasoningTokens: reasoning ?? uncounted,
  };
}

function readLogprobs(content: unknown): TokenLogprob[] | undefined {
  const tokens = asObjects(content);
  if (tokens.length === 0) return undefined;
  return tokens.map((token) => ({
    ...readToken(token),
    alternatives: asObjects(token['top_logprobs']).map(readToken),
  }));
}

function readToken({ token, logprob, bytes }: WireObject) {
  return {
    token: typeof token === 'string' ? token : '',
    // OpenAI's value for "very unlikely", for upstreams that send no number or null for -Infinity.
    logprob: typeof logprob === 'number' ? logprob : -9999,
    bytes: Array.isArray(bytes) ? bytes.filter((byte) => typeof byte === 'number') : null,
  };
}
