import { isObject } from '../core/objects.ts';
import type { Continuation } from './generation.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns the continuation of Claude's signed thinking. Every API that serves Claude has the same signatures, so thinking
 * that one of them signed can be sent back through another.
 */
export function createThinkingContinuation(text: string, signature: string): Continuation {
  return { provider: 'bedrock', data: { family: 'claude', text, signature } };
}

/** True for a thinking block that Claude can't read: one of another target, which is sealed, or without a signature or data. */
export function isUnreadableThinking(block: unknown): boolean {
  if (!isObject(block)) return false;
  const { type, signature, data } = block;
  if (type === 'thinking') return signature === '' || SEALED.test(String(signature));
  return type === 'redacted_thinking' && (data === '' || SEALED.test(String(data)));
}

const SEALED = /^lambent\d+\./;

/** Claude's minimum for `budget_tokens`. */
const MINIMUM_BUDGET = 1_024;

/**
 * Lowers a thinking budget below the output limit. Thinking is disabled if the limit is too low for it, or if the latest
 * turn has tool uses without thinking, with which Claude refuses to think.
 */
export function limitThinking(thinking: unknown, messages: readonly Fields[], maxTokens: number): unknown {
  if (!isObject(thinking) || thinking['type'] !== 'enabled') return thinking;
  const latest = messages.findLast((message) => message['role'] === 'assistant');
  const isOpen = hasBlock(messages.at(-1), 'tool_result');
  const lacksThinking = isOpen && !hasBlock(latest, 'thinking') && !hasBlock(latest, 'redacted_thinking');
  const budget = Math.min(Number(thinking['budget_tokens']), maxTokens - 1);
  return lacksThinking || budget < MINIMUM_BUDGET ? { type: 'disabled' } : { ...thinking, budget_tokens: budget };
}

function hasBlock(message: Fields | undefined, type: string): boolean {
  const content = message?.['content'];
  return Array.isArray(content) && content.some((block) => isObject(block) && block['type'] === type);
}
