import type { AutomaticPoints } from './cache-points.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A body of Claude's own API: the fields that can have cache marks. */
export interface NativeBody extends Fields {
  readonly messages: readonly { readonly role: unknown; readonly content: readonly Fields[] }[];
  readonly system?: readonly Fields[];
  readonly tools?: readonly Fields[];
}

/** Marks the same places of a prompt as `addTurnPoints` and `endWithPoint` in a Converse call. */
export function markPrompt(body: NativeBody, { ttl, inMessages }: AutomaticPoints): NativeBody {
  const mark = { type: 'ephemeral', ...(ttl === '1h' && { ttl }) };
  const { messages, system = [], tools = [] } = body;
  const last = messages.findLastIndex(({ role }) => role === 'user');
  const answer = messages.findLastIndex(({ role }, index) => role === 'assistant' && index < last);
  const previous = messages.findLastIndex(({ role }, index) => role === 'user' && index < answer);
  return {
    ...body,
    ...(tools.length > 0 && { tools: markLast(tools, mark) }),
    ...(system.length > 0 && { system: markLast(system, mark) }),
    ...(inMessages && {
      messages: messages.map((message, index) =>
        index === last || index === previous ? { ...message, content: markLast(message.content, mark) } : message,
      ),
    }),
  };
}

/** Returns the blocks with the mark on the last of them. */
export function markLast(blocks: readonly Fields[], mark: Fields): Fields[] {
  return blocks.map((block, index) => (index === blocks.length - 1 ? { ...block, cache_control: mark } : block));
}
