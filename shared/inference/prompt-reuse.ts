import type { GenerationRequest } from './generation.ts';

/**
 * How much of a prompt later requests probably repeat: nothing, the tools and the system prompt, or all of it. Writing to a
 * cache costs more than other input, so it pays only for what is read again.
 */
export type PromptReuse = 'none' | 'instructions' | 'conversation';

/** A request with at least so many tools is probably an agent's, and a request with the result of a call will follow. */
const AGENT_TOOLS = 4;

/**
 * Estimates from a request alone how much of it later requests repeat. A conversation with an answer will probably go on,
 * and so will one that the caller names. Requests with the same `prompt_cache_key` but no tools may only begin alike.
 */
export function expectReuse({ messages, tools, toolChoice, hints, inSession }: GenerationRequest): PromptReuse {
  if (inSession || messages.some(({ role }) => role === 'assistant')) return 'conversation';
  const isAgent = tools.length >= AGENT_TOOLS && toolChoice === 'auto';
  const hasKey = hints.promptCacheKey !== undefined;
  if (isAgent || (hasKey && tools.length > 0)) return 'conversation';
  return hasKey ? 'instructions' : 'none';
}

/** Returns whether the caller has marked a message, a part of one, or a tool as the end of a prefix to cache. */
export function hasMarks(request: GenerationRequest): boolean {
  return countMarks(request) > 0;
}

/** Returns how many parts, tool results and tools the caller has marked. */
export function countMarks({ messages, tools }: GenerationRequest): number {
  const marked = [...tools, ...messages, ...messages.flatMap(({ content }): readonly object[] => content)];
  return marked.filter((each) => 'cache' in each && each.cache !== undefined).length;
}
