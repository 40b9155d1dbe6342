import type { GenerationRequest } from './generation.ts';

/**
 * How much of a prompt later requests probably repeat: nothing, the tools and the system prompt, or all of it. Writing to a
 * cache costs more than other input, so it pays only for what is read again.
 */
export type PromptReuse = 'none' | 'instructions' | 'conversation';

/** So many tools belong to an agent, whose next request has the result of a call. */
const AGENT_TOOLS = 4;

/**
 * Estimates from a request alone what the next ones repeat. A conversation that has begun will probably go on, and so will
 * one that the caller names. `prompt_cache_key` without tools may also belong to requests that only begin alike.
 */
export function expectReuse({ messages, tools, toolChoice, hints, inSession }: GenerationRequest): PromptReuse {
  if (inSession || messages.some(({ role }) => role === 'assistant')) return 'conversation';
  const isAgent = tools.length >= AGENT_TOOLS && toolChoice === 'auto';
  const hasKey = hints.promptCacheKey !== undefined;
  if (isAgent || (hasKey && tools.length > 0)) return 'conversation';
  return hasKey ? 'instructions' : 'none';
}

/** Returns whether the caller has marked a part or a tool. */
export function hasMarks(request: GenerationRequest): boolean {
  return countMarks(request) > 0;
}

/** Returns how many parts, tool results and tools the caller has marked. */
export function countMarks({ messages, tools }: GenerationRequest): number {
  const marked = [...tools, ...messages, ...messages.flatMap(({ content }): readonly object[] => content)];
  return marked.filter((each) => 'cache' in each && each.cache !== undefined).length;
}
