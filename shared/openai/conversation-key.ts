import type { Message } from '../inference/generation.ts';

/**
 * What the requests of one conversation share: the caller's `prompt_cache_key`, or else how the conversation begins,
 * which stays the same while it grows. Of each beginning only the two ends and the length are taken, so that a
 * megabyte of prompt costs no more than a line.
 */
export function deriveConversationKey(
  tenant: string,
  promptCacheKey: string | undefined,
  messages: readonly Message[],
): string {
  if (promptCacheKey !== undefined) return [tenant, 'key', ends(promptCacheKey)].join(SEPARATOR);
  const first = (role: Message['role']) => ends(beginning(messages.find((message) => message.role === role)));
  return [tenant, 'talk', first('system'), first('user')].join(SEPARATOR);
}

function beginning(message: Message | undefined): string {
  const part = message?.content[0];
  if (part === undefined) return '';
  if (part.type === 'image') return 'url' in part ? part.url : part.base64;
  return 'text' in part ? part.text : '';
}

function ends(text: string): string {
  return text.length <= 2 * END ? text : `${text.slice(0, END)}${text.slice(-END)}${text.length}`;
}

const SEPARATOR = '\0';
const END = 512;
