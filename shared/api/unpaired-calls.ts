import type { ResolvedItem } from '../openai/responses/items.ts';
import { attemptIdFor, type StoredItem } from '../openai/responses/stored-items.ts';
import type { TurnItem } from './turn-items.ts';

/**
 * Removes outputs whose function call has expired or was deleted, and calls whose output is gone. Models reject such
 * items, and the caller didn't cause them. Calls of the latest response remain, because the caller still has to send
 * their outputs. Reasoning directly before a removed item is removed too, since it led to that item.
 * @param stored the stored items, oldest first
 * @param callerInput the request's input, which may have outputs of stored calls
 */
export function removeUnpairedCalls(
  stored: readonly TurnItem[],
  callerInput: string | readonly ResolvedItem[],
): TurnItem[] {
  const unpaired = findUnpaired(
    stored.map(({ item }) => item),
    typeof callerInput === 'string' ? [] : callerInput,
  );
  const remaining: TurnItem[] = [];
  let isRemoved = false;
  for (const turnItem of stored.toReversed()) {
    const { item } = turnItem;
    isRemoved = unpaired.has(item) || (isRemoved && item.type === 'reasoning');
    if (!isRemoved) remaining.push(turnItem);
  }
  return remaining.reverse();
}

type Item = Readonly<Record<string, unknown>>;

function findUnpaired(stored: readonly StoredItem[], callerItems: readonly Item[]): Set<Item> {
  const latest = stored.findLast(isGenerated);
  const isOfLatestResponse = ({ id }: StoredItem) =>
    latest !== undefined && attemptIdFor(id) === attemptIdFor(latest.id);
  const unpaired = new Set<Item>(
    stored.filter((item) => isCallOutput(item) || (isCall(item) && !isOfLatestResponse(item))),
  );
  // Some models number their calls per turn, so ids repeat. An output belongs to the last call before it.
  const unanswered = new Map<unknown, Item>();
  for (const item of [...stored, ...callerItems]) {
    if (isCall(item)) unanswered.set(item['call_id'], item);
    if (!isCallOutput(item)) continue;
    const callId = item['call_id'] ?? [...unanswered.keys()].at(-1);
    const call = unanswered.get(callId);
    if (call === undefined) continue;
    unanswered.delete(callId);
    unpaired.delete(call);
    unpaired.delete(item);
  }
  return unpaired;
}

function isCall(item: Item): boolean {
  return CALL_TYPES.has(item['type']);
}

function isCallOutput(item: Item): boolean {
  return OUTPUT_TYPES.has(item['type']);
}

const CALL_TYPES: ReadonlySet<unknown> = new Set(['function_call', 'custom_tool_call', 'tool_search_call']);
const OUTPUT_TYPES: ReadonlySet<unknown> = new Set([
  'function_call_output',
  'custom_tool_call_output',
  'tool_search_output',
]);

/** Returns whether a model generated the item. */
function isGenerated(item: Item): boolean {
  return isCall(item) || item['type'] === 'reasoning' || item['role'] === 'assistant';
}
