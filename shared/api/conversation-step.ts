import { LambentError } from '../core/errors.ts';
import { type CompletionStep, StepFailedError } from '../jobs/completion.ts';
import type { Conversations } from '../sessions/conversations.ts';

/**
 * Creates the completion step that appends a finished job's turn to its conversation. The step throws
 * `conversation_locked` while another turn is in progress; the sweep then retries.
 */
export function createConversationStep(conversations: Pick<Conversations, 'appendFinishedTurn'>): CompletionStep {
  return async ({ job, input, output }) => {
    const { tenant, id, conversation } = job;
    if (conversation === undefined || input === undefined || output === undefined) return;
    // Imported here, because most jobs belong to no conversation.
    const { createTurnItems } = await import('./turn-items.ts');
    const items = createTurnItems(id, input, output).map((turnItem) => ({ id: turnItem.item.id, content: turnItem }));
    try {
      await conversations.appendFinishedTurn({ tenant, id: conversation }, id, items, input.context?.end);
    } catch (thrown) {
      // The conversation was deleted while the job ran.
      if (thrown instanceof LambentError && thrown.code === 'not_found') return;
      // DynamoDB would refuse the same items each time, and each try would leave objects in the bucket.
      const isRefused = thrown instanceof Error && thrown.name === 'ValidationException';
      throw isRefused ? new StepFailedError('The turn can not be stored', { cause: thrown }) : thrown;
    }
  };
}
