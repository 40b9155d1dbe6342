import { LambentError } from '../core/errors.ts';
import { isObject, omitUndefined } from '../core/objects.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
import type { NativeItem } from '../openai/responses/original.ts';
import {
  createItemIdGenerator,
  isStoredItem,
  type StoredItem,
  toStoredInput,
} from '../openai/responses/stored-items.ts';
import { isResponse, isResponsesBody } from './job-content.ts';

/** An item of a turn, in the form in which conversations store it. */
export interface TurnItem {
  readonly item: StoredItem;
  /** The encoded continuation of a reasoning item, which the provider needs in the next turn. */
  readonly continuation?: string;
  /**
   * The item's id in native requests: the one that the upstream or the caller gave it, or '' for none. Absent for items of
   * requests that no target could get natively.
   */
  readonly upstreamId?: string;
}

/**
 * Parses the stored content of a conversation item.
 * @throws LambentError `record_unreadable`
 */
export function parseTurnItem(content: unknown): TurnItem {
  if (isTurnItem(content)) return content;
  throw new LambentError('record_unreadable', 'A conversation item has no valid content');
}

function isTurnItem(content: unknown): content is TurnItem {
  return isObject(content) && isStoredItem(content['item']);
}

/** Returns the items of a turn, oldest first: those of the input, then those of the output. */
export function createTurnItems(
  id: string,
  input: JobInput,
  { answer, continuations = {}, upstreamIds = {} }: JobOutput,
): TurnItem[] {
  const output: readonly unknown[] = isResponse(answer) ? answer.output : [];
  const { rawInput } = input;
  const inputTurnItems = listInputItems(id, input).map((item, index): TurnItem => {
    return rawInput === undefined ? { item } : { item, upstreamId: readId(rawInput[index]) };
  });
  const outputTurnItems = output.filter(isStoredItem).map((item): TurnItem => {
    return { item, ...omitUndefined({ continuation: continuations[item.id], upstreamId: upstreamIds[item.id] }) };
  });
  return [...inputTurnItems, ...outputTurnItems];
}

/** Returns the items of a response's input, oldest first. A chat completion has none. */
export function listInputItems(id: string, { body, rawInput = [] }: JobInput): StoredItem[] {
  if (!isResponsesBody(body)) return [];
  const items = toStoredInput(body.input, createItemIdGenerator(id, 0));
  return items.map((item, index) => addRawFields(item, rawInput[index]));
}

/** Returns a stored item with the fields of the caller's own item that validation drops, those of its parts included. */
function addRawFields(item: StoredItem, raw: unknown): StoredItem {
  if (!isObject(raw)) return item;
  const merged: StoredItem = { ...raw, ...item };
  const { content } = item;
  const rawContent = raw['content'];
  if (!Array.isArray(content) || !Array.isArray(rawContent)) return merged;
  return { ...merged, content: content.map((part, index) => ({ ...Object(part), ...Object(rawContent[index]) })) };
}

function readId(item: unknown): string {
  return isObject(item) && typeof item['id'] === 'string' ? item['id'] : '';
}

/** Returns whether an item is from a native request. Such an item may be of any kind. */
export function isNative({ upstreamId }: TurnItem): boolean {
  return upstreamId !== undefined;
}

/**
 * Returns an item as input of a native request. Lambent's own id is left out, because the upstream doesn't know it.
 */
export function toNativeItem({ item, continuation, upstreamId }: TurnItem): NativeItem {
  const { id: _, ...fields } = item;
  return { ...fields, ...omitUndefined({ id: upstreamId || undefined, encrypted_content: continuation }) };
}

/** Returns an item as input for a model, with its continuation as `encrypted_content`. */
export function addContinuation({ item, continuation }: TurnItem): StoredItem {
  return continuation === undefined ? item : { ...item, encrypted_content: continuation };
}
