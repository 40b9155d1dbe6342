import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { JobInput, JobOutput } from '../jobs/ports.ts';
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
export function createTurnItems(id: string, input: JobInput, { answer, continuations = {} }: JobOutput): TurnItem[] {
  const output: readonly unknown[] = isResponse(answer) ? answer.output : [];
  const inputTurnItems = listInputItems(id, input).map((item) => ({ item }));
  const outputTurnItems = output.filter(isStoredItem).map((item): TurnItem => {
    const continuation = continuations[item.id];
    return continuation === undefined ? { item } : { item, continuation };
  });
  return [...inputTurnItems, ...outputTurnItems];
}

/** Returns the items of a response's input, oldest first. A chat completion has none. */
export function listInputItems(id: string, { body }: JobInput): StoredItem[] {
  return isResponsesBody(body) ? toStoredInput(body.input, createItemIdGenerator(id, 0)) : [];
}

/** Returns an item as input for a model, with its continuation as `encrypted_content`. */
export function addContinuation({ item, continuation }: TurnItem): StoredItem {
  return continuation === undefined ? item : { ...item, encrypted_content: continuation };
}
