import { LambentError } from '../core/errors.ts';
import type { GenerationRequest, Message } from '../inference/generation.ts';
import { estimateFixedTokens, estimateMessageTokens } from '../inference/prompt-tokens.ts';

export interface FitOptions {
  /** Size of the model's context in tokens, the answer included. */
  readonly contextTokens: number;
  /** Tokens reserved for the answer. */
  readonly answerTokens: number;
  /** `auto` drops whole turns from the middle; `disabled` refuses a request that is too long. */
  readonly truncation: 'auto' | 'disabled';
}

/** A request that fits the context, and the number of items dropped from it. */
export interface FittedRequest {
  readonly request: GenerationRequest;
  readonly droppedItems: number;
}

/**
 * Shortens a request until it fits into its model's context. Drops whole turns, oldest first, but never the first turn
 * (it states the task), the latest turn or an instruction. A turn begins with a user message and ends before the next
 * user message that follows an answer, so a tool call always stays with its output.
 * @throws LambentError `context_length_exceeded` if the request is still too long without the turns that may be dropped
 */
export function fitToContext(
  request: GenerationRequest,
  { contextTokens, answerTokens, truncation }: FitOptions,
): FittedRequest {
  const turns = splitIntoTurns(request.messages);
  const fixed = estimateFixedTokens(request);
  let tokens = turns.reduce((sum, turn) => sum + turn.tokens, fixed);
  const limit = contextTokens - answerTokens;
  if (tokens <= limit) return { request, droppedItems: 0 };

  const dropped = new Set<MessageTurn>();
  const candidates = truncation === 'auto' ? findDroppable(turns) : [];
  for (const turn of candidates) {
    if (tokens <= limit) break;
    dropped.add(turn);
    tokens -= turn.tokens;
  }
  if (tokens > limit) throw contextExceededError(tokens, answerTokens, contextTokens, request);
  const kept = turns.filter((turn) => !dropped.has(turn));
  return {
    request: { ...request, messages: kept.flatMap(({ messages }) => messages) },
    droppedItems: [...dropped].flatMap(({ messages }) => messages).reduce((sum, each) => sum + countItems(each), 0),
  };
}

interface MessageTurn {
  readonly kind: 'instruction' | 'exchange';
  readonly messages: Message[];
  tokens: number;
}

function splitIntoTurns(messages: readonly Message[]): MessageTurn[] {
  const turns: MessageTurn[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    const begins = message.role === 'user' ? !hasOnlyUserMessages(last) : last?.kind !== 'exchange';
    const kind = message.role === 'system' ? 'instruction' : 'exchange';
    const tokens = estimateMessageTokens(message);
    if (last === undefined || begins || kind === 'instruction') turns.push({ kind, messages: [message], tokens });
    else {
      last.messages.push(message);
      last.tokens += tokens;
    }
  }
  return turns;
}

/** True if the turn has only user messages so far. A further user message then belongs to the same turn. */
function hasOnlyUserMessages(turn: MessageTurn | undefined): boolean {
  return turn?.kind === 'exchange' && turn.messages.every(({ role }) => role === 'user');
}

function findDroppable(turns: readonly MessageTurn[]): readonly MessageTurn[] {
  return turns.filter(({ kind }) => kind === 'exchange').slice(1, -1);
}

/** Returns the number of API items in a message. An assistant's tool calls and reasoning are items of their own. */
function countItems(message: Message): number {
  if (message.role !== 'assistant') return 1;
  const separate = message.content.filter(({ type }) => type === 'toolCall' || type === 'reasoning').length;
  return separate + (message.content.length > separate ? 1 : 0);
}

function contextExceededError(
  tokens: number,
  answerTokens: number,
  contextTokens: number,
  { parameterNames }: GenerationRequest,
): LambentError {
  const message =
    `Your input exceeds the context window of this model (${contextTokens} tokens): it has about ${tokens} tokens, ` +
    `and ${answerTokens} are reserved for the answer. Shorten the input, or set truncation to 'auto'.`;
  return new LambentError('context_length_exceeded', message, { param: parameterNames['messages'] ?? 'messages' });
}
