import type { Continuation } from './generation.ts';

/**
 * Returns the continuation of Claude's signed thinking. Every API that serves Claude has the same signatures, so thinking
 * that one of them signed can be sent back through another.
 */
export function createThinkingContinuation(text: string, signature: string): Continuation {
  return { provider: 'bedrock', data: { family: 'claude', text, signature } };
}
