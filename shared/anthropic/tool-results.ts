import type { MessagesBody } from './schema.ts';
import { abbreviate, invalidRequestError } from './validation.ts';

/**
 * Checks that the tool uses of an assistant message are answered in the next user message, and that nothing else is.
 * @throws LambentError `invalid_value`, with Anthropic's message
 */
export function checkToolResults(messages: MessagesBody['messages']): void {
  let open = new Set<string>();
  let openAt = 0;
  let isFollowed = true;
  const rejectUnanswered = (): void => {
    if (open.size === 0) return;
    const ids = abbreviate([...open].slice(0, 10).join(', '));
    throw invalidRequestError(
      `messages.${openAt}`,
      `\`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${ids}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`,
    );
  };
  for (const [index, { role, content }] of messages.entries()) {
    if (role === 'system') continue;
    const blocks = typeof content === 'string' ? [] : content;
    if (role === 'assistant') {
      if (isFollowed) rejectUnanswered();
      if (isFollowed) open = new Set();
      for (const [position, block] of blocks.entries()) {
        if (block.type !== 'tool_use') continue;
        if (open.has(block.id))
          throw invalidRequestError(`messages.${index}.content.${position}.id`, '`tool_use` ids must be unique');
        open.add(block.id);
      }
      openAt = index;
      isFollowed = false;
      continue;
    }
    for (const [position, block] of blocks.entries()) {
      if (block.type !== 'tool_result' || open.delete(block.tool_use_id)) continue;
      throw invalidRequestError(
        `messages.${index}.content.${position}`,
        `unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${abbreviate(block.tool_use_id)}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    }
    // Consecutive user messages are one turn, so the results may be spread over them.
    isFollowed = messages[index + 1]?.role !== 'user';
    if (isFollowed) rejectUnanswered();
  }
  rejectUnanswered();
}
