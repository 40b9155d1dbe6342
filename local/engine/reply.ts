import { type ChatRequest, findLastUserText } from './chat-request.ts';

/** An answer, known whole before its first token comes. */
export interface Reply {
  /** In order; together they are the text. At least one. */
  readonly tokens: readonly string[];
  readonly finishReason: 'stop' | 'length';
}

const INTRODUCTION =
  'I am a stand-in for a GPU worker: I take the time that a model would take, and answer without one. You wrote: ';
/** Characters of the question that it gives back. */
const ECHOED = 400;
const FILLER = 'And so it goes on, word after word, for as long as was asked. ';

/**
 * What the stand-in answers: that it is one, and what it was asked. The same request gets the same answer.
 * @param room tokens that are left of the context
 * @param signature ends its text
 */
export function composeReply(request: ChatRequest, room: number, signature = ''): Reply {
  const limit = Math.min(request.max_completion_tokens ?? request.max_tokens ?? room, room);
  const question = findLastUserText(request).replace(/\s+/g, ' ').trim().toWellFormed();
  const echo = question.length > ECHOED ? `${question.slice(0, ECHOED).toWellFormed()}…` : question;
  const text = `${INTRODUCTION}“${echo}”${signature}`;
  if (request.ignore_eos) return { tokens: longTokens(`${text} `, limit), finishReason: 'length' };
  const stops = [request.stop ?? []].flat().map((stop) => (stop === '' ? -1 : text.indexOf(stop)));
  const stopAt = Math.min(text.length, ...stops.filter((at) => at >= 0));
  const tokens = tokensOf(text.slice(0, stopAt));
  if (tokens.length > limit) return { tokens: tokens.slice(0, limit), finishReason: 'length' };
  // A model that stops at once has made the token that it stops at.
  return { tokens: tokens.length === 0 ? [''] : tokens, finishReason: 'stop' };
}

function longTokens(text: string, count: number): string[] {
  const tokens = tokensOf(text);
  const filler = tokensOf(FILLER);
  while (tokens.length < count) tokens.push(...filler);
  return tokens.slice(0, count);
}

/** Pieces of about the length that a tokenizer's have in English. */
function tokensOf(text: string): string[] {
  return text.match(/\s*\S{1,5}|\s+/gu) ?? [];
}
