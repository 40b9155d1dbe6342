import type { Message } from '../inference/generation.ts';

/**
 * Returns a key that all requests of one conversation share: the name that the caller gives it (`prompt_cache_key`, a
 * session), or else the first system and user messages, which stay the same while the conversation grows. The key contains
 * only the ends and the length of a long text, so it stays short for a prompt of 1 MB.
 */
export function deriveConversationKey(tenant: string, name: string | undefined, messages: readonly Message[]): string {
  if (name !== undefined) return [tenant, 'key', abbreviate(name)].join(SEPARATOR);
  const getFirst = (role: Message['role']) =>
    abbreviate(getFirstText(messages.find((message) => message.role === role)));
  return [tenant, 'talk', getFirst('system'), getFirst('user')].join(SEPARATOR);
}

function getFirstText(message: Message | undefined): string {
  const part = message?.content[0];
  if (part === undefined) return '';
  if (part.type === 'image' && 'url' in part) return part.url;
  if ('base64' in part) return part.base64;
  return 'text' in part ? part.text : '';
}

function abbreviate(text: string): string {
  return text.length <= 2 * END_LENGTH ? text : `${text.slice(0, END_LENGTH)}${text.slice(-END_LENGTH)}${text.length}`;
}

const SEPARATOR = '\0';
const END_LENGTH = 512;
