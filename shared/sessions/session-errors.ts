import { LambentError } from '../core/errors.ts';

/** What the caller of a locked conversation is told to wait. */
const RETRY_AFTER_MS = 5_000;

/** The error for a conversation that isn't there, for this tenant. */
export function conversationNotFoundError(id: string): LambentError {
  return new LambentError('not_found', `Conversation with id '${shortened(id)}' not found.`);
}

/** The error for an item that isn't there, for this tenant. */
export function conversationItemNotFoundError(id: string): LambentError {
  return new LambentError('not_found', itemNotFound(id));
}

/** The error for a page that begins after an item that isn't there, whatever list it is of. */
export function afterNotFoundError(id: string): LambentError {
  return new LambentError('not_found', itemNotFound(id), { param: 'after' });
}

function itemNotFound(id: string): string {
  return `Item with id '${shortened(id)}' not found.`;
}

/** The error for a conversation in which another turn goes on. */
export function conversationLockedError(): LambentError {
  const message = 'Another process is currently operating on this conversation. Please retry in a few seconds.';
  return new LambentError('conversation_locked', message, { retryAfterMs: RETRY_AFTER_MS });
}

function shortened(id: string): string {
  return id.slice(0, 128).toWellFormed();
}
