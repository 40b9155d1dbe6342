import type { CacheMark, GenerationRequest } from '../../generation.ts';
import { countMarks, expectReuse } from '../../prompt-reuse.ts';
import type { Dialect } from './dialect.ts';
import { asObjects, asText, type WireObject } from './wire.ts';

/** Returns the field that marks the end of a prefix; no field without a mark. */
export type WriteMark = (mark: CacheMark | undefined) => WireObject;

/** Claude accepts four marks. Of more, OpenAI uses the latest. */
const MAX_MARKS = 4;

/** OpenRouter's names of Claude. OpenRouter leaves the marks out for models that don't know them. */
const CLAUDE = /^~?anthropic\//;

/**
 * The models of OpenAI that charge for writes to the cache and have marks and options for it. Others cache by themselves, for
 * free.
 * @see https://developers.openai.com/api/docs/guides/prompt-caching
 */
const PAID_WRITES = /^gpt-(?:5\.[6-9]|[6-9])/;

/** Returns whether a model of OpenAI charges for writes to the cache. */
export function paysForWrites(model: string): boolean {
  return PAID_WRITES.test(model);
}

/**
 * Returns the function that writes the caller's marks in messages, in their order; undefined if there are none or the upstream
 * knows none. Of more than four, the first are left out, because later ones cover a longer prefix.
 */
export function createMarkWriter(request: GenerationRequest, { markField }: Dialect, model: string) {
  const count = countMarks(request);
  if (count === 0 || markField === undefined) return undefined;
  if (markField === 'prompt_cache_breakpoint' && !paysForWrites(model)) return undefined;
  let excess = count - MAX_MARKS;
  const writeMark: WriteMark = (mark) => {
    if (mark === undefined) return {};
    excess -= 1;
    return excess >= 0 ? {} : { [markField]: markField === 'cache_control' ? toControl(mark) : { mode: 'explicit' } };
  };
  return writeMark;
}

/** Returns the mark of a tool as a field. Only OpenRouter's tools have one. */
export function writeToolMark(mark: CacheMark | undefined, { markField }: Dialect): WireObject {
  return mark === undefined || markField !== 'cache_control' ? {} : { cache_control: toControl(mark) };
}

function toControl({ ttl }: CacheMark): WireObject {
  // Five minutes is the default.
  return ttl === '1h' ? { type: 'ephemeral', ttl } : { type: 'ephemeral' };
}

/**
 * Returns the body with marks for Claude if the caller sets none and the prompt will probably be repeated: at the same places as
 * the cache points for Bedrock.
 */
export function addAutomaticMarks(
  body: WireObject,
  request: GenerationRequest,
  { markField }: Dialect,
  model: string,
): WireObject {
  if (markField !== 'cache_control' || !CLAUDE.test(model)) return body;
  if (request.hints.cachesMarksOnly || countMarks(request) > 0) return body;
  const reuse = expectReuse(request);
  if (reuse === 'none') return body;
  const messages = asObjects(body['messages']);
  const marked = new Set([findLast(messages, messages.length, ['system'])]);
  if (reuse === 'conversation') for (const index of findTurnEnds(messages)) marked.add(index);
  const tools = asObjects(body['tools']);
  const markedTools = tools.map((tool, index) => (index === tools.length - 1 ? { ...tool, ...MARK } : tool));
  return {
    ...body,
    messages: messages.map((message, index) => (marked.has(index) ? markMessage(message) : message)),
    ...(tools.length > 0 && { tools: markedTools }),
  };
}

const MARK = { cache_control: { type: 'ephemeral' } } as const;

/** Returns the index of the last message, and of that at which the previous request ended; -1 for a missing one. */
function findTurnEnds(messages: readonly WireObject[]): number[] {
  // An answer that the model continues is not repeated as it is.
  const end = messages.at(-1)?.['role'] === 'assistant' ? messages.length - 1 : messages.length;
  const last = findLast(messages, end, ['user', 'tool', 'assistant']);
  const answer = messages.findLastIndex(({ role }, index) => role === 'assistant' && index < last);
  return [last, findLast(messages, answer, ['user', 'tool'])];
}

function findLast(messages: readonly WireObject[], end: number, roles: readonly string[]): number {
  return messages.findLastIndex(
    ({ role, content }, index) =>
      index < end && roles.includes(String(role)) && (asText(content) !== undefined || asObjects(content).some(isText)),
  );
}

/**
 * Marks the last text of a message. Messages themselves can't be marked: OpenRouter doesn't answer a request with a tool message
 * that is (https://github.com/NousResearch/hermes-agent/pull/2391).
 */
function markMessage(message: WireObject): WireObject {
  const { content } = message;
  const parts = typeof content === 'string' ? [{ type: 'text', text: content }] : asObjects(content);
  const last = parts.findLastIndex(isText);
  return { ...message, content: parts.map((part, index) => (index === last ? { ...part, ...MARK } : part)) };
}

function isText({ type, text }: WireObject): boolean {
  return type === 'text' && asText(text) !== undefined;
}
