import { LambentError } from '../../core/errors.ts';
import { isItemReference } from './items.ts';
import type { ResponsesBody } from './schema.ts';

/**
 * Checks that a request under zero data retention needs no stored objects. The codes and messages are OpenAI's, which clients
 * know. OpenAI accepts background responses.
 * @throws LambentError `unsupported_parameter`; `not_found` for a reference to an item
 */
export function rejectStoredObjects({ background, conversation, previous_response_id, input }: ResponsesBody): void {
  if (previous_response_id != null) throw createError('Previous response', 'previous_response_id');
  if (conversation != null) throw createError('Conversation ID', 'conversation');
  if (background) throw createError('Background mode', 'background');
  const reference = typeof input === 'string' ? undefined : input.find(isItemReference);
  if (reference === undefined) return;
  const message = `Item with id '${reference.id.toWellFormed()}' not found. Items are not persisted for Zero Data Retention organizations. Remove this item from your input and try again.`;
  throw new LambentError('not_found', message, { param: 'input' });
}

function createError(subject: string, param: string): LambentError {
  const message = `${subject} cannot be used for this organization due to Zero Data Retention.`;
  return new LambentError('unsupported_parameter', message, { param });
}
