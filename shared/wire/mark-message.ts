import type { CacheMark, Message } from '../inference/generation.ts';

/** Returns a message whose last part, or the message itself if it is a tool's result, ends a prefix to cache. */
export function markMessage(message: Message, mark: { readonly cache?: CacheMark }): Message {
  if (mark.cache === undefined) return message;
  if (message.role === 'tool') return { ...message, ...mark };
  const content = message.content.map((part, index) =>
    index === message.content.length - 1 && part.type !== 'reasoning' && part.type !== 'refusal'
      ? { ...part, ...mark }
      : part,
  );
  // Each part keeps its type.
  return { ...message, content } as Message;
}
