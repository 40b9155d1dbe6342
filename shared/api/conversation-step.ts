import { LambentError } from '../core/errors.ts';
import type { Tell } from '../jobs/fan-in.ts';
import type { Conversations } from '../sessions/conversations.ts';
import { createTurnItems } from './response-chain.ts';

/**
 * Adds an ended job's turn to its conversation. Throws `conversation_locked` while another turn goes on there: the sweep
 * then tries again.
 */
export function createConversationStep(conversations: Pick<Conversations, 'appendFinishedTurn'>): Tell {
  return async ({ job, input, output }) => {
    const { tenant, id, conversation } = job;
    if (conversation === undefined || input === undefined || output === undefined) return;
    const items = createTurnItems(id, input, output).map((kept) => ({ id: kept.item.id, content: kept }));
    try {
      await conversations.appendFinishedTurn({ tenant, id: conversation }, id, items);
    } catch (thrown) {
      // Deleted while the job ran: there is nobody left to tell.
      if (!(thrown instanceof LambentError && thrown.code === 'not_found')) throw thrown;
    }
  };
}
