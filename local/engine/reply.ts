import { createMinimalInstance } from '../bedrock/schema-instance.ts';
import { type ChatRequest, findLastUserText } from './chat-request.ts';

/** A complete answer. It is known before its first token is due. */
export interface Reply {
  /** In order, at least one. Joined, they are the text. */
  readonly tokens: readonly string[];
  readonly finishReason: 'stop' | 'length';
}

const INTRODUCTION =
  'I am a stand-in for a GPU worker: I take the time that a model would take, and answer without one. You wrote: ';
const JSON_TEXT = 'I am a stand-in for a GPU worker.';
/** Characters of the question that the answer repeats. */
const MAX_ECHO = 400;
const FILLER = 'And so it goes on, word after word, for as long as was asked. ';

/**
 * Composes the stand-in's answer: an introduction and the question. Equal requests get equal answers.
 * @param maxTokens tokens that are left in the context
 * @param signature appended to the text
 */
export function composeReply(request: ChatRequest, maxTokens: number, signature = ''): Reply {
  const limit = Math.min(request.max_completion_tokens ?? request.max_tokens ?? maxTokens, maxTokens);
  const question = findLastUserText(request).replace(/\s+/g, ' ').trim().toWellFormed();
  const echo = question.length > MAX_ECHO ? `${question.slice(0, MAX_ECHO).toWellFormed()}…` : question;
  const text = composeJson(request) ?? `${INTRODUCTION}“${echo}”${signature}`;
  if (request.ignore_eos) return { tokens: fillTokens(`${text} `, limit), finishReason: 'length' };
  const stops = [request.stop ?? []].flat().map((stop) => (stop === '' ? -1 : text.indexOf(stop)));
  const stopAt = Math.min(text.length, ...stops.filter((at) => at >= 0));
  const tokens = splitTokens(text.slice(0, stopAt));
  if (tokens.length > limit) return { tokens: tokens.slice(0, limit), finishReason: 'length' };
  // A model that stops at once has still generated the token at which it stops.
  return { tokens: tokens.length === 0 ? [''] : tokens, finishReason: 'stop' };
}

/** Returns the JSON that the request's format demands, which engines enforce; undefined if it demands none. */
function composeJson({ response_format: format }: ChatRequest): string | undefined {
  if (format?.type === 'json_object') return JSON.stringify({ answer: JSON_TEXT });
  if (format?.type !== 'json_schema') return undefined;
  return JSON.stringify(createMinimalInstance(format.json_schema?.schema, { text: JSON_TEXT }));
}

function fillTokens(text: string, count: number): string[] {
  const tokens = splitTokens(text);
  const filler = splitTokens(FILLER);
  while (tokens.length < count) tokens.push(...filler);
  return tokens.slice(0, count);
}

/** Splits a text into pieces of about the length of English tokens. */
function splitTokens(text: string): string[] {
  return text.match(/\s*\S{1,5}|\s+/gu) ?? [];
}
