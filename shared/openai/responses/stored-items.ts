import * as v from 'valibot';
import { LambentError } from '../../core/errors.ts';
import { isObject } from '../schema.ts';
import { inputItem, isItemReference, type ResolvedItem } from './items.ts';
import { itemNotFoundError } from './request.ts';
import type { ResponsesBody } from './schema.ts';

/** An item as the API shows it and as it is stored: whole, with an id. Fields that this version doesn't know stay in it. */
export type StoredItem = Readonly<Record<string, unknown>> & { readonly id: string; readonly type: string };

/** Hands out the variable parts of item ids, one after the other. */
export type ItemIdGenerator = () => string;

const RESPONSE_PREFIX = 'resp_';
/** Hexadecimal digits of the attempt, and as many of the item within it. */
const DIGITS = 4;
const OWN_ID = /^[a-z]+_([0-9A-Za-z]{16,64})[0-9a-f]{8}$/;

/**
 * Ids of the items of a response: made of its own id, so that an item is found by its id alone. They are always the
 * same, so that nothing but the request has to be kept to know those of its input.
 * @param epoch the attempt that answers, or 0 for what the caller sent
 */
export function createItemIdGenerator(responseId: string, epoch: number): ItemIdGenerator {
  const stem = responseId.replace(RESPONSE_PREFIX, '') + hex(epoch);
  let index = 0;
  return () => {
    index += 1;
    return stem + hex(index - 1);
  };
}

/** Id of the response that an item may belong to; undefined for an id of another make. */
export function responseIdFor(itemId: string): string | undefined {
  const stem = OWN_ID.exec(itemId)?.[1];
  return stem === undefined ? undefined : RESPONSE_PREFIX + stem;
}

/** What the ids of one request's items, or of one answer's, have in common: the response and the attempt. */
export function attemptIdFor(itemId: string): string {
  return itemId.slice(itemId.indexOf('_') + 1, -DIGITS);
}

function hex(number: number): string {
  return number.toString(16).padStart(DIGITS, '0');
}

/**
 * The input of a request as items that can be stored, shown and read by a model again.
 * @throws LambentError `not_found` for a reference that nobody has resolved
 */
export function toStoredInput(input: ResponsesBody['input'], ids: ItemIdGenerator): StoredItem[] {
  if (typeof input === 'string') return [toStoredItem({ role: 'user', content: input }, ids)];
  return input.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    return toStoredItem(item, ids);
  });
}

/** An item as it is stored. One that comes back keeps the id that it had from here; any other gets one. */
export function toStoredItem(item: ResolvedItem, ids: ItemIdGenerator): StoredItem {
  const next = ids();
  const idOf = (prefix: string): string =>
    typeof item.id === 'string' && OWN_ID.test(item.id) ? item.id : `${prefix}_${next}`;
  switch (item.type) {
    case 'function_call': {
      const { call_id, name, arguments: text } = item;
      return { id: idOf('fc'), type: item.type, status: 'completed', call_id, name, arguments: text };
    }
    case 'function_call_output':
      return { id: idOf('fco'), type: item.type, status: 'completed', call_id: item.call_id, output: item.output };
    case 'reasoning': {
      const { summary, content, encrypted_content } = item;
      return {
        id: idOf('rs'),
        type: item.type,
        summary: summary ?? [],
        ...(content == null ? {} : { content }),
        ...(encrypted_content == null ? {} : { encrypted_content }),
      };
    }
    default:
      return { id: idOf('msg'), type: 'message', status: 'completed', role: item.role, content: partsOf(item) };
  }
}

type MessageItem = Extract<ResolvedItem, { role: unknown }>;

function partsOf({ role, content }: MessageItem): readonly unknown[] {
  if (typeof content === 'string') {
    return [role === 'assistant' ? { type: 'output_text', text: content, annotations: [] } : inputText(content)];
  }
  return content.map(storedPart);
}

type Part = Exclude<MessageItem['content'], string>[number];

function storedPart(part: Part) {
  switch (part.type) {
    case 'input_text':
      return inputText(part.text);
    case 'input_image':
      return { type: part.type, image_url: part.image_url ?? null, file_id: null, detail: part.detail ?? 'auto' };
    case 'output_text':
      return { type: part.type, text: part.text, annotations: [] };
    case 'refusal':
      return { type: part.type, refusal: part.refusal };
  }
}

function inputText(text: string) {
  return { type: 'input_text', text };
}

/** Whether something that was stored is an item at all. */
export function isStoredItem(input: unknown): input is StoredItem {
  return isObject(input) && typeof input['id'] === 'string' && typeof input['type'] === 'string';
}

/**
 * A stored item as input for a model. Fields that this version doesn't know are left out: a newer one, side by side
 * with it, may have written them.
 * @throws LambentError `record_unreadable` for an item of a kind that this version doesn't know
 */
export function parseStoredItem(item: StoredItem): ResolvedItem {
  const known = structuredClone(item);
  for (let attempts = 0; attempts < MAX_UNKNOWN_FIELDS; attempts += 1) {
    const result = v.safeParse(inputItem, known, { abortEarly: true });
    if (result.success) {
      if (isItemReference(result.output)) break;
      return result.output;
    }
    if (!removeUnknown(known, result.issues[0].path)) break;
  }
  throw new LambentError('record_unreadable', 'A stored item is of no kind that this version knows');
}

const MAX_UNKNOWN_FIELDS = 100;

/** Removes the field at `path`, if that is a field's own path. */
function removeUnknown(from: unknown, path: v.BaseIssue<unknown>['path']): boolean {
  const last = path?.at(-1);
  if (path === undefined || last?.origin !== 'key' || last.type !== 'object') return false;
  let at: unknown = from;
  for (const { key } of path.slice(0, -1)) {
    if (Array.isArray(at) && typeof key === 'number') at = at[key];
    else if (isObject(at) && typeof key === 'string') at = at[key];
  }
  if (!isObject(at) || typeof last.key !== 'string' || !(last.key in at)) return false;
  delete at[last.key];
  return true;
}
