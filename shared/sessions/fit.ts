import { LambentError } from '../core/errors.ts';
import { estimateTokens } from '../core/token-estimate.ts';
import type { GenerationRequest, Message } from '../inference/generation.ts';

export interface FitOptions {
  /** Tokens that the model takes, its answer included. */
  readonly contextTokens: number;
  /** Tokens that are left free for the answer. */
  readonly answerTokens: number;
  /** `auto` drops whole turns from the middle; `disabled` refuses. */
  readonly truncation: 'auto' | 'disabled';
}

/** A request that fits, and how many items were left out of it. */
export interface FittedRequest {
  readonly request: GenerationRequest;
  readonly droppedItems: number;
}

/**
 * Makes a request fit into its model's context before the model is asked. What is dropped are whole turns, the oldest
 * first, but never the first one, the latest one or an instruction: the first says what it is all about. A turn begins
 * with what the user says and ends before the next one, so a tool call always stays with its output.
 * @throws LambentError `context_length_exceeded` when it doesn't fit and nothing may, or nothing more can, be dropped
 */
export function fitToContext(
  request: GenerationRequest,
  { contextTokens, answerTokens, truncation }: FitOptions,
): FittedRequest {
  const turns = turnsOf(request.messages);
  const fixed = estimateTokens(JSON.stringify([request.tools, request.format]));
  let tokens = turns.reduce((sum, turn) => sum + turn.tokens, fixed);
  const limit = contextTokens - answerTokens;
  if (tokens <= limit) return { request, droppedItems: 0 };

  const dropped = new Set<TurnOfMessages>();
  const candidates = truncation === 'auto' ? droppable(turns) : [];
  for (const turn of candidates) {
    if (tokens <= limit) break;
    dropped.add(turn);
    tokens -= turn.tokens;
  }
  if (tokens > limit) throw tooLong(tokens, answerTokens, contextTokens, request);
  const kept = turns.filter((turn) => !dropped.has(turn));
  return {
    request: { ...request, messages: kept.flatMap(({ messages }) => messages) },
    droppedItems: [...dropped].flatMap(({ messages }) => messages).reduce((sum, message) => sum + itemsIn(message), 0),
  };
}

/** What the hosted models count for a picture of usual size; its bytes say nothing about it. */
const TOKENS_PER_IMAGE = 1_600;
/** Role and separators around every message. */
const TOKENS_PER_MESSAGE = 4;

interface TurnOfMessages {
  readonly kind: 'instruction' | 'talk';
  readonly messages: Message[];
  tokens: number;
}

function turnsOf(messages: readonly Message[]): TurnOfMessages[] {
  const turns: TurnOfMessages[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    const begins = message.role === 'user' ? !isAllUser(last) : last?.kind !== 'talk';
    const kind = message.role === 'system' ? 'instruction' : 'talk';
    const tokens = tokensOf(message);
    if (last === undefined || begins || kind === 'instruction') turns.push({ kind, messages: [message], tokens });
    else {
      last.messages.push(message);
      last.tokens += tokens;
    }
  }
  return turns;
}

/** Several messages of the user in a row are one turn's beginning. */
function isAllUser(turn: TurnOfMessages | undefined): boolean {
  return turn?.kind === 'talk' && turn.messages.every(({ role }) => role === 'user');
}

function droppable(turns: readonly TurnOfMessages[]): readonly TurnOfMessages[] {
  return turns.filter(({ kind }) => kind === 'talk').slice(1, -1);
}

function tokensOf(message: Message): number {
  let tokens = TOKENS_PER_MESSAGE;
  for (const part of message.content) {
    if (part.type === 'image') tokens += TOKENS_PER_IMAGE;
    else if (part.type === 'toolCall') tokens += estimateTokens(part.name) + estimateTokens(part.arguments);
    else tokens += estimateTokens(part.text);
  }
  return tokens;
}

/** The API's items that a message is made of: an assistant's calls and reasonings are items of their own. */
function itemsIn(message: Message): number {
  if (message.role !== 'assistant') return 1;
  const own = message.content.filter(({ type }) => type === 'toolCall' || type === 'reasoning').length;
  return own + (message.content.length > own ? 1 : 0);
}

function tooLong(tokens: number, answer: number, context: number, { parameterNames }: GenerationRequest): LambentError {
  const message =
    `Your input exceeds the context window of this model: about ${tokens} tokens and ${answer} for the answer, ` +
    `of ${context}. Shorten it, or set truncation to 'auto'.`;
  return new LambentError('context_length_exceeded', message, { param: parameterNames['messages'] ?? 'messages' });
}
