import * as v from 'valibot';
import { LambentError } from '../../core/errors.ts';
import { isObject } from '../../core/objects.ts';
import {
  type HostedItem,
  inputItem,
  isHostedItem,
  isItemReference,
  isUnknownItem,
  type ResolvedItem,
} from './items.ts';
import { itemNotFoundError } from './request.ts';
import type { ResponsesBody } from './schema.ts';

/** A complete item with an id, as stored and as returned by the API. Fields written by a newer version are kept. */
export type StoredItem = Readonly<Record<string, unknown>> & { readonly id: string; readonly type: string };

/** Returns the next item id without the prefix that names the item's type. */
export type ItemIdGenerator = () => string;

const RESPONSE_PREFIX = 'resp_';
/** The number of hexadecimal digits for the attempt, and for the item's index in the attempt. */
const DIGITS = 4;
/** Ids are stored in clear and have to fit into a table's item, so that even the prefix is bounded. */
const LAMBENT_ID = /^[a-z]{1,16}_([0-9A-Za-z]{16,64})[0-9a-f]{8}$/;

/**
 * Creates a generator for the ids of a response's items. An item's id contains the response's id, so an item can be
 * found by its id alone. The ids are deterministic, so a request is stored without the ids of its input items.
 * @param epoch the attempt that generates the items, or 0 for the caller's input
 */
export function createItemIdGenerator(responseId: string, epoch: number): ItemIdGenerator {
  const stem = responseId.replace(RESPONSE_PREFIX, '') + formatHex(epoch);
  let index = 0;
  return () => {
    index += 1;
    return stem + formatHex(index - 1);
  };
}

/** Returns whether an item's id has the form of those that Lambent generates. */
export function isLambentId(itemId: string): boolean {
  return LAMBENT_ID.test(itemId);
}

/** Returns the id of the response that an item may belong to, or undefined if Lambent didn't generate the id. */
export function responseIdFor(itemId: string): string | undefined {
  const stem = LAMBENT_ID.exec(itemId)?.[1];
  return stem === undefined ? undefined : RESPONSE_PREFIX + stem;
}

/** Returns the part of an item id that names the response and the attempt. All items of one attempt share it. */
export function attemptIdFor(itemId: string): string {
  return itemId.slice(itemId.indexOf('_') + 1, -DIGITS);
}

function formatHex(number: number): string {
  return number.toString(16).padStart(DIGITS, '0');
}

/**
 * Converts the input of a request to stored items.
 * @throws LambentError `not_found` for a reference
 */
export function toStoredInput(
  input: string | readonly Exclude<ResponsesBody['input'], string>[number][],
  createItemId: ItemIdGenerator,
): StoredItem[] {
  if (typeof input === 'string') return [toStoredItem({ role: 'user', content: input }, createItemId)];
  return input.map((item) => {
    if (isItemReference(item)) throw itemNotFoundError(item.id);
    return toStoredItem(item, createItemId);
  });
}

/** Converts an item to its stored form. An id that Lambent generated is kept; any other is replaced. */
export function toStoredItem(item: ResolvedItem, createItemId: ItemIdGenerator): StoredItem {
  const next = createItemId();
  const keepOrCreateId = (prefix: string): string =>
    typeof item.id === 'string' && isLambentId(item.id) ? item.id : `${prefix}_${next}`;
  if (isHostedItem(item)) return { ...completeHostedItem(item), id: keepOrCreateId('hti') };
  switch (item.type) {
    case 'function_call': {
      const { type, call_id, name, arguments: text } = item;
      const id = keepOrCreateId('fc');
      return { id, type, status: 'completed', call_id, name, ...toNamespace(item), arguments: text };
    }
    case 'custom_tool_call': {
      const { type, call_id, name, input } = item;
      return { id: keepOrCreateId('ctc'), type, status: 'completed', call_id, name, ...toNamespace(item), input };
    }
    case 'tool_search_call': {
      const { type, call_id, arguments: value, execution } = item;
      return {
        id: keepOrCreateId('tsc'),
        type,
        status: 'completed',
        call_id: call_id ?? null,
        execution: execution ?? 'client',
        arguments: value ?? {},
      };
    }
    case 'function_call_output':
    case 'custom_tool_call_output': {
      const { type, call_id, output } = item;
      const id = keepOrCreateId(type === 'function_call_output' ? 'fco' : 'ctco');
      const parts = typeof output === 'string' ? output : output.map(toStoredPart);
      return { id, type, status: 'completed', ...(call_id == null ? {} : { call_id }), output: parts };
    }
    case 'tool_search_output': {
      const { type, call_id, tools, execution } = item;
      return {
        id: keepOrCreateId('tso'),
        type,
        status: 'completed',
        call_id: call_id ?? null,
        execution: execution ?? 'client',
        tools,
      };
    }
    case 'additional_tools':
      return { id: keepOrCreateId('at'), type: item.type, role: 'developer', tools: item.tools };
    case 'reasoning': {
      const { summary, content, encrypted_content } = item;
      return {
        id: keepOrCreateId('rs'),
        type: item.type,
        summary: summary ?? [],
        ...(content == null ? {} : { content }),
        ...(encrypted_content == null ? {} : { encrypted_content }),
      };
    }
    case 'compaction':
      return { id: keepOrCreateId('cmp'), type: item.type, encrypted_content: item.encrypted_content };
    default:
      return {
        id: keepOrCreateId('msg'),
        type: 'message',
        status: 'completed',
        role: item.role,
        content: toStoredParts(item),
      };
  }
}

/** Returns an item of a hosted tool with the fields that OpenAI adds to it. */
function completeHostedItem(item: HostedItem): HostedItem {
  const status = item['status'] ?? 'completed';
  switch (item.type) {
    case 'computer_call_output': {
      const { acknowledged_safety_checks: checks, ...fields } = item;
      return { ...fields, status, ...(checks == null ? {} : { acknowledged_safety_checks: checks }) };
    }
    case 'shell_call': {
      const limits = { max_output_length: null, timeout_ms: null };
      return { environment: null, ...item, status, action: { ...limits, ...Object(item['action']) } };
    }
    case 'shell_call_output':
      return { max_output_length: null, ...item, status };
    default:
      return item;
  }
}

function toNamespace({ namespace }: { readonly namespace?: string | null | undefined }): { namespace?: string } {
  return namespace == null ? {} : { namespace };
}

type MessageItem = Extract<ResolvedItem, { role: unknown; content: unknown }>;

function toStoredParts({ role, content }: MessageItem): readonly unknown[] {
  if (typeof content === 'string') {
    return [role === 'assistant' ? { type: 'output_text', text: content, annotations: [] } : toInputText(content)];
  }
  return content.map(toStoredPart);
}

type Part = Exclude<MessageItem['content'], string>[number];

function toStoredPart(part: Part) {
  switch (part.type) {
    case 'input_text':
      return toInputText(part.text);
    case 'input_image':
      return { type: part.type, image_url: part.image_url ?? null, file_id: null, detail: part.detail ?? 'auto' };
    case 'input_file':
      return {
        type: part.type,
        ...(part.filename == null ? {} : { filename: part.filename }),
        ...(part.file_data == null ? {} : { file_data: part.file_data }),
      };
    case 'output_text':
      return { type: part.type, text: part.text, annotations: [] };
    case 'refusal':
      return { type: part.type, refusal: part.refusal };
    case 'other':
      return { type: part.kind };
  }
}

function toInputText(text: string) {
  return { type: 'input_text', text };
}

/** Returns whether stored content has the shape of an item. */
export function isStoredItem(input: unknown): input is StoredItem {
  return isObject(input) && typeof input['id'] === 'string' && typeof input['type'] === 'string';
}

/**
 * Parses a stored item as input for a model. Unknown fields are removed, because a newer version that runs during a
 * deployment may have written them.
 * @param isNative true for an item of a native request or answer, which may be of any kind
 * @throws LambentError `record_unreadable` if this version doesn't know the item's type or can't read its fields
 */
export function parseStoredItem(item: StoredItem, isNative = false): ResolvedItem {
  const knownFields = structuredClone(item);
  for (let removed = 0; removed < MAX_UNKNOWN_FIELDS; removed += 1) {
    const result = v.safeParse(inputItem, knownFields, { abortEarly: true });
    if (result.success) {
      if (isItemReference(result.output) || (isUnknownItem(result.output) && !isNative)) break;
      return result.output;
    }
    if (!removeField(knownFields, result.issues[0].path)) break;
  }
  throw new LambentError('record_unreadable', 'This version cannot read a stored item');
}

const MAX_UNKNOWN_FIELDS = 100;

/** Removes the unknown field at `path`. Returns false if `path` is not that of an unknown field. */
function removeField(from: unknown, path: v.BaseIssue<unknown>['path']): boolean {
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
