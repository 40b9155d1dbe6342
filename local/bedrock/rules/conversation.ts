import type { Block, ModelCall, Turn } from './call.ts';
import { claude, either, everyModel, matching, of } from './models.ts';
import { CLAUDE, FEATURES, GUIDE, REFERENCE, type Rule } from './rule.ts';

/** What a conversation must look like: its turns, the system prompt, reasoning of earlier turns. */
export const CONVERSATION_RULES: readonly Rule[] = [
  {
    name: 'starts-with-user',
    source: `${GUIDE}/conversation-inference-call.html`,
    appliesTo: everyModel,
    check: ({ turns }) =>
      turns[0]?.role === 'user' ? undefined : 'A conversation must start with a user message. Add one at the front.',
  },
  {
    name: 'alternating-roles',
    source: `${GUIDE}/conversation-inference-call.html`,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ role }, index) =>
        turns[index - 1]?.role === role
          ? `messages: roles must alternate between "user" and "assistant", but messages.${index} repeats "${role}"`
          : undefined,
      ),
  },
  {
    name: 'empty-message',
    source: `${REFERENCE}/API_runtime_Message.html`,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        blocks.some(({ type }) => type !== 'cachePoint')
          ? undefined
          : `The content field in the Message object at messages.${index} is empty. Add a ContentBlock object to it.`,
      ),
  },
  {
    name: 'blank-text',
    source: 'https://github.com/langchain-ai/langchain-aws/issues/249',
    appliesTo: everyModel,
    check: ({ system, turns }) =>
      findBlank(system, 'system') ??
      findTurn(turns, ({ blocks }, index) =>
        findBlank(
          blocks.flatMap((block) => (block.type === 'toolResult' ? block.content : [block])),
          `messages.${index}.content`,
        ),
      ),
  },
  {
    name: 'system-prompt',
    source: FEATURES,
    appliesTo: either(of('titan'), matching(/mistral-7b|mixtral-8x7b|cohere\.command-(?:light-)?text|ai21\.j2/)),
    check: ({ system }) =>
      system.length > 0 ? "This model doesn't support the system field. Remove it and try again." : undefined,
  },
  {
    name: 'claude-prefill',
    source: `${CLAUDE}/about-claude/models/migration-guide`,
    appliesTo: claude({ from: 406 }),
    check: ({ turns }) =>
      turns.at(-1)?.role === 'assistant'
        ? 'This model does not support a prefilled assistant message. The conversation must end with a user message.'
        : undefined,
  },
  {
    name: 'claude-prefill-while-thinking',
    source: `${CLAUDE}/build-with-claude/extended-thinking#feature-compatibility`,
    appliesTo: claude({ to: 405 }),
    check: ({ turns, thinking }) =>
      thinking?.type === 'enabled' && turns.at(-1)?.role === 'assistant'
        ? 'A response can not be prefilled while thinking is enabled.'
        : undefined,
  },
  {
    name: 'claude-prefill-with-trailing-space',
    source: `${GUIDE}/model-parameters-anthropic-claude-messages-request-response.html`,
    appliesTo: claude({ to: 405 }),
    check: ({ turns }) => {
      const last = turns.at(-1)?.role === 'assistant' ? turns.at(-1)?.blocks.at(-1) : undefined;
      return last?.type === 'text' && last.text !== last.text.trimEnd()
        ? 'messages: final assistant content cannot end with trailing whitespace'
        : undefined;
    },
  },
  {
    name: 'claude-final-reasoning',
    source: 'https://github.com/router-for-me/CLIProxyAPI/issues/5321',
    appliesTo: claude(),
    check: ({ turns }) => {
      const last = turns.at(-1);
      return last?.role === 'assistant' && last.blocks.at(-1)?.type === 'reasoning'
        ? 'messages: the final block of an assistant message cannot be thinking'
        : undefined;
    },
  },
  {
    name: 'claude-unsigned-reasoning',
    source: `${CLAUDE}/build-with-claude/extended-thinking#preserving-thinking-blocks`,
    appliesTo: claude(),
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        blocks.some((block) => block.type === 'reasoning' && !block.signed)
          ? `messages.${index}.content: a thinking block needs its signature`
          : undefined,
      ),
  },
  {
    name: 'claude-reasoning-before-tool-use',
    source: `${CLAUDE}/build-with-claude/extended-thinking#extended-thinking-with-tool-use`,
    appliesTo: claude(),
    check: ({ turns, thinking }) => {
      if (thinking?.type !== 'enabled' || !hasBlock(turns.at(-1), 'toolResult')) return undefined;
      const last = turns.findLast(({ role }) => role === 'assistant');
      return last?.blocks[0]?.type === 'reasoning'
        ? undefined
        : 'Expected thinking, but found tool_use: while thinking is enabled, the turn must start with its thinking.';
    },
  },
  {
    name: 'user-turn-without-reasoning',
    source: `${REFERENCE}/API_runtime_ContentBlock.html`,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, (turn, index) =>
        turn.role === 'user' && (hasBlock(turn, 'reasoning') || hasBlock(turn, 'toolUse'))
          ? `messages.${index}: only assistant messages have reasoning and toolUse blocks`
          : undefined,
      ),
  },
];

function findBlank(blocks: readonly Block[], path: string): string | undefined {
  const blank = blocks.findIndex((block) => block.type === 'text' && block.text.trim() === '');
  return blank === -1 ? undefined : `The text field in the ContentBlock object at ${path}.${blank} is blank.`;
}

/** Returns what the first turn at fault is refused for. */
export function findTurn(
  turns: ModelCall['turns'],
  check: (turn: Turn, index: number) => string | undefined,
): string | undefined {
  for (const [index, turn] of turns.entries()) {
    const problem = check(turn, index);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

export function hasBlock(turn: Turn | undefined, type: Block['type']): boolean {
  return turn?.blocks.some((block) => block.type === type) ?? false;
}
