import { createHash } from 'node:crypto';
import type { Message } from '../../generation.ts';

const CONVERSE_ID = /^[a-zA-Z0-9_-]{1,64}$/;
/** The form that Mistral's models require. */
const SHORT_ID = /^[a-zA-Z0-9]{9}$/;

/**
 * Returns the ids of the conversation's tool calls for Converse, in the order of the calls and results: for each message,
 * one id for each call that it contains, or the id of the call that it answers.
 *
 * An id that Converse refuses is replaced by its hash: other providers' ids contain dots or colons, or repeat in later
 * turns, and Mistral's models accept nine letters or digits only. Call and result still match. The replacement never
 * reaches the caller.
 */
export function assignCallIds(messages: readonly Message[], { short }: { readonly short: boolean }): string[][] {
  const valid = short ? SHORT_ID : CONVERSE_ID;
  const used = new Set<string>();
  /** The ids of the calls that await a result, by the caller's id. */
  const open = new Map<string, string[]>();
  const choose = (id: string): string => {
    let chosen = valid.test(id) ? id : hashId(id, short);
    for (let times = 2; used.has(chosen); times += 1) chosen = hashId(`${id}\0${times}`, short);
    used.add(chosen);
    return chosen;
  };
  return messages.map((message) => {
    if (message.role === 'tool') return [open.get(message.toolCallId)?.shift() ?? choose(message.toolCallId)];
    if (message.role !== 'assistant') return [];
    open.clear();
    return message.content.flatMap((part) => {
      if (part.type !== 'toolCall') return [];
      const chosen = choose(part.id);
      open.set(part.id, [...(open.get(part.id) ?? []), chosen]);
      return [chosen];
    });
  });
}

function hashId(id: string, short: boolean): string {
  const hash = createHash('sha256').update(id).digest('hex');
  return short ? hash.slice(0, 9) : `call_${hash.slice(0, 32)}`;
}
