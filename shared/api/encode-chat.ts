import type { Generation } from '../inference/router.ts';
import { type ChatStreamOptions, encodeChatStream } from '../openai/chat/stream.ts';

/**
 * Encodes an answer as the frames of a stream. The code for native answers is loaded with the first of them.
 */
export async function encodeChatAnswer(
  { events, isNative }: Pick<Generation, 'events' | 'isNative'>,
  options: ChatStreamOptions,
): Promise<AsyncGenerator<string>> {
  if (isNative !== true) return encodeChatStream(events, options);
  return (await import('../openai/chat/native.ts')).encodeNativeChatStream(events, options);
}
