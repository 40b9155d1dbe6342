import type { FinishReason } from '../../generation.ts';
import { asText } from './wire.ts';

/** How an answer ended according to the upstream. */
export type AnswerEnding =
  | { readonly type: 'none' }
  | {
      readonly type: 'finished';
      readonly reason: FinishReason;
      /**
       * True if the reason came by itself after the answer, as the protocol wants. Upstreams that send it with content
       * may send more content after it.
       */
      readonly isCertain: boolean;
    }
  /** The upstream reports that the answer is incomplete. */
  | { readonly type: 'broken'; readonly reason: string };

const FINISH_REASONS: ReadonlyMap<string, FinishReason> = new Map([
  ['stop', 'stop'],
  ['length', 'length'],
  ['max_tokens', 'length'],
  ['max_output_tokens', 'length'],
  ['max_new_tokens', 'length'],
  ['model_length', 'length'],
  ['model_context_window_exceeded', 'length'],
  ['context_length_exceeded', 'length'],
  ['tool_calls', 'toolCalls'],
  ['tool_use', 'toolCalls'],
  ['function_call', 'toolCalls'],
  ['content_filter', 'contentFilter'],
  ['safety', 'contentFilter'],
  ['recitation', 'contentFilter'],
  ['blocklist', 'contentFilter'],
  ['prohibited_content', 'contentFilter'],
  ['spii', 'contentFilter'],
  ['sensitive', 'contentFilter'],
  ['refusal', 'contentFilter'],
]);

/** Finish reasons of OpenRouter, DeepSeek, vLLM, Zhipu and Gemini for an answer that was interrupted. */
const BROKEN_REASONS: ReadonlySet<string> = new Set([
  'error',
  'internal_error',
  'insufficient_system_resource',
  'abort',
  'cancelled',
  'network_error',
  'timeout',
  'malformed_function_call',
]);

/** Values that stand for null, which a chunk in the middle of an answer has. */
const NO_REASONS: ReadonlySet<string> = new Set(['null', 'none']);

/** Reads a `finish_reason`. Returns undefined if it is absent. */
export function readEnding(value: unknown, isCertain: boolean): AnswerEnding | undefined {
  // Gemini's compatible endpoint has "function_call_filter: MALFORMED_FUNCTION_CALL".
  const reason = asText(value)?.toLowerCase().split(': ').at(-1);
  if (reason === undefined || NO_REASONS.has(reason)) return undefined;
  if (BROKEN_REASONS.has(reason)) return { type: 'broken', reason };
  // Any other reason (an end-of-sequence token, a stop sequence) is a natural end.
  return { type: 'finished', reason: FINISH_REASONS.get(reason) ?? 'stop', isCertain };
}
