import { turnItems } from '../openai/stored-responses.ts';
import { LambentError } from '../runtime/errors.ts';
import type { Conversations } from '../sessions/conversations.ts';
import type { Tell } from './fan-in.ts';

/**
 * Adds an ended job's turn to its conversation. Throws `conversation_locked` while another turn goes on there: the sweep
 * then tries again.
 */
export function createConversationListener(conversations: Pick<Conversations, 'settle'>): Tell {
  return async ({ job, input, output }) => {
    const { tenant, id, conversation } = job;
    if (conversation === undefined || input === undefined || output === undefined) return;
    const items = turnItems(id, input, output).map((kept) => ({ id: kept.item.id, content: kept }));
    try {
      await conversations.settle({ tenant, id: conversation }, id, items);
    } catch (thrown) {
      // Deleted while the job ran: there is nobody left to tell.
      if (!(thrown instanceof LambentError && thrown.code === 'not_found')) throw thrown;
    }
  };
}
