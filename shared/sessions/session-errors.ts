import { LambentError } from '../core/errors.ts';
import { abbreviateId } from '../core/ids.ts';

/** The time after which a client should retry on a locked conversation. */
const RETRY_AFTER_MS = 5_000;

/** The error for a conversation that doesn't exist for this tenant. */
export function conversationNotFoundError(id: string): LambentError {
  return new LambentError('not_found', `Conversation with id '${abbreviateId(id)}' not found.`);
}

/** The error for an item that doesn't exist for this tenant. */
export function conversationItemNotFoundError(id: string): LambentError {
  return new LambentError('not_found', formatItemNotFound(id));
}

/** The error for a list request, of conversation items or response items, whose `after` names an unknown item. */
export function afterNotFoundError(id: string): LambentError {
  return new LambentError('not_found', formatItemNotFound(id), { param: 'after' });
}

/** The error for a conversation that another turn has locked. */
export function conversationLockedError(): LambentError {
  const message = 'Another process is currently operating on this conversation. Please retry in a few seconds.';
  return new LambentError('conversation_locked', message, { retryAfterMs: RETRY_AFTER_MS });
}

function formatItemNotFound(id: string): string {
  return `Item with id '${abbreviateId(id)}' not found.`;
}
