import * as v from 'valibot';
import { abbreviateId } from '../../core/ids.ts';
import { isObject } from '../../core/objects.ts';
import { optional } from '../parameters.ts';
import {
  arrayOf,
  functionName,
  ignored,
  MAX_ID_LENGTH,
  object,
  oneOf,
  storedId,
  string,
  text,
  textOrParts,
  unsupported,
  variant,
} from '../schema.ts';
import { invalidValueError } from '../validation.ts';

/** Added by the official client's parse helpers to responses, whose items callers then send back. */
const parsed = ignored;
/** Part of response items, which callers send back. */
const status = ignored;
/** The id of an item. Ids that Lambent generated are kept and stored; any other is replaced. */
const id = optional(v.lazy((input) => (typeof input === 'string' ? text({ max: MAX_ID_LENGTH }) : v.unknown())));

const inputText = object({ type: v.literal('input_text'), text: string, prompt_cache_breakpoint: ignored });
const inputImage = object({
  type: v.literal('input_image'),
  image_url: optional(string),
  file_id: unsupported("is not supported. Use 'image_url' instead."),
  detail: optional(oneOf(['auto', 'low', 'high', 'original'])),
  prompt_cache_breakpoint: ignored,
});
const outputText = object({
  type: v.literal('output_text'),
  text: string,
  annotations: ignored,
  logprobs: ignored,
  parsed,
});
const refusal = object({ type: v.literal('refusal'), refusal: string, parsed });

const UNSUPPORTED_PARTS = ['input_file', 'input_audio'];
const userParts = arrayOf(
  variant('type', { input_text: inputText, input_image: inputImage }, UNSUPPORTED_PARTS),
  'objects',
  {
    min: 1,
  },
);
const systemParts = arrayOf(
  variant('type', { input_text: inputText }, ['input_image', ...UNSUPPORTED_PARTS]),
  'objects',
  {
    min: 1,
  },
);
const assistantParts = arrayOf(variant('type', { output_text: outputText, refusal }), 'objects');

const envelope = { type: optional(v.literal('message')), id, status, phase: ignored };
const instructions = object({
  ...envelope,
  role: v.picklist(['system', 'developer']),
  content: textOrParts(systemParts),
});
const message = variant('role', {
  system: instructions,
  developer: instructions,
  user: object({ ...envelope, role: v.literal('user'), content: textOrParts(userParts) }),
  assistant: object({ ...envelope, role: v.literal('assistant'), content: textOrParts(assistantParts) }),
});

const functionCall = object({
  type: v.literal('function_call'),
  id,
  call_id: text({ min: 1 }),
  name: functionName,
  arguments: string,
  status,
  parsed_arguments: parsed,
  async: ignored,
  caller: ignored,
  namespace: unsupported('is not supported. Functions have no namespaces.'),
});

const functionCallOutput = object({
  type: v.literal('function_call_output'),
  id,
  call_id: text({ min: 1 }),
  output: textOrParts(userParts),
  status,
  name: ignored,
  caller: ignored,
  namespace: unsupported('is not supported. Functions have no namespaces.'),
});

const reasoning = object({
  type: v.literal('reasoning'),
  id,
  summary: optional(arrayOf(variant('type', { summary_text: object({ type: string, text: string }) }), 'objects')),
  content: optional(arrayOf(variant('type', { reasoning_text: object({ type: string, text: string }) }), 'objects')),
  encrypted_content: optional(string),
  status,
});

const itemReference = object({ type: optional(v.literal('item_reference')), id: storedId });

const typedItem = variant(
  'type',
  {
    message,
    function_call: functionCall,
    function_call_output: functionCallOutput,
    reasoning,
    item_reference: itemReference,
  },
  [
    'additional_tools',
    'apply_patch_call',
    'apply_patch_call_output',
    'code_interpreter_call',
    'compaction',
    'compaction_trigger',
    'computer_call',
    'computer_call_output',
    'configuration_update',
    'custom_tool_call',
    'custom_tool_call_output',
    'file_search_call',
    'image_generation_call',
    'local_shell_call',
    'local_shell_call_output',
    'mcp_approval_request',
    'mcp_approval_response',
    'mcp_call',
    'mcp_list_tools',
    'program',
    'program_output',
    'shell_call',
    'shell_call_output',
    'tool_search_call',
    'tool_search_output',
    'web_search_call',
  ],
);

/** One item of a request's input. Messages and references may omit their type. */
export const inputItem = v.lazy((input) => {
  const isUntyped = isObject(input) && (input['type'] === undefined || input['type'] === null);
  if (isUntyped && 'role' in input) return message;
  return isUntyped && 'id' in input ? itemReference : typedItem;
});

export type InputItem = v.InferOutput<typeof inputItem>;

/** Refers to a stored item by its id. */
export type ItemReference = v.InferOutput<typeof itemReference>;

/** An input item that is not a reference. */
export type ResolvedItem = Exclude<InputItem, ItemReference>;

/** Returns whether an item is a reference to a stored item. */
export function isItemReference(item: InputItem): item is ItemReference {
  return item.type === 'item_reference' || (item.type == null && !('role' in item));
}

/**
 * Rejects items with the same id, as OpenAI does. Lists are paged by item id, so ids must be unique.
 * @param param the caller's parameter that holds the items
 * @param earlier the ids of the stored items that precede them
 * @throws LambentError `invalid_value`
 */
export function rejectDuplicateIds(
  items: readonly InputItem[],
  param: string,
  earlier: ReadonlySet<string> = new Set(),
): void {
  const ids = new Set<string>();
  for (const { id } of items) {
    if (typeof id !== 'string' || id === '') continue;
    if (ids.has(id) || earlier.has(id)) {
      const shortId = abbreviateId(id);
      const message = `Duplicate item found with id ${shortId}. Remove duplicate items from your input and try again.`;
      throw invalidValueError(param, message);
    }
    ids.add(id);
  }
}

/** Nested schemas, for the test that compares them with the official client's types. */
export const inputParts = {
  inputText,
  inputImage,
  outputText,
  refusal,
  functionCall,
  functionCallOutput,
  reasoning,
  itemReference,
  typedItem,
};
