import type { ResolvedItem } from '../openai/responses/items.ts';
import { attemptIdFor, type StoredItem } from '../openai/responses/stored-items.ts';
import type { TurnItem } from './response-chain.ts';

/**
 * Stored items as a model takes them: without an output whose call has expired or was deleted, and without a call whose
 * output is gone. The caller has no part in either. A call of the latest answer stays: its output is the caller's to bring.
 * Reasoning right in front of what is left out goes with it, as what it led to is no longer there.
 * @param stored oldest first
 * @param own what the caller sends now, which may answer a stored call
 */
export function removeUnpairedCalls(stored: readonly TurnItem[], own: string | readonly ResolvedItem[]): TurnItem[] {
  const unpaired = unpairedAmong(
    stored.map(({ item }) => item),
    typeof own === 'string' ? [] : own,
  );
  const kept: TurnItem[] = [];
  let leftOut = false;
  for (const each of stored.toReversed()) {
    leftOut = unpaired.has(each.item) || (leftOut && each.item.type === 'reasoning');
    if (!leftOut) kept.push(each);
  }
  return kept.reverse();
}

type Item = Readonly<Record<string, unknown>>;

function unpairedAmong(stored: readonly StoredItem[], own: readonly Item[]): Set<Item> {
  const latest = stored.findLast(isAnswer);
  const isDue = ({ id }: StoredItem) => latest !== undefined && attemptIdFor(id) === attemptIdFor(latest.id);
  const unpaired = new Set<Item>(stored.filter((item) => isOutput(item) || (isCall(item) && !isDue(item))));
  // Some models count their calls anew in each turn, so that an id comes again: an output is of the last call before it.
  const waiting = new Map<unknown, Item>();
  for (const item of [...stored, ...own]) {
    const callId = item['call_id'];
    if (isCall(item)) waiting.set(callId, item);
    if (!isOutput(item)) continue;
    const call = waiting.get(callId);
    if (call === undefined) continue;
    waiting.delete(callId);
    unpaired.delete(call);
    unpaired.delete(item);
  }
  return unpaired;
}

function isCall(item: Item): boolean {
  return item['type'] === 'function_call';
}

function isOutput(item: Item): boolean {
  return item['type'] === 'function_call_output';
}

/** Whether a model said it, not its caller. */
function isAnswer(item: Item): boolean {
  return isCall(item) || item['type'] === 'reasoning' || item['role'] === 'assistant';
}
