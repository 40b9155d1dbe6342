import * as v from 'valibot';
import { optional } from '../parameters.ts';
import {
  arrayOf,
  functionName,
  ignored,
  isObject,
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

/** What the official client's parse helpers add to an answer that callers then send back. */
const parsed = ignored;
/** What an answer's items say of themselves, and a request's needn't. */
const status = ignored;

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

const NO_MEDIA = ['input_file', 'input_audio'];
const userParts = arrayOf(variant('type', { input_text: inputText, input_image: inputImage }, NO_MEDIA), 'objects', {
  min: 1,
});
const systemParts = arrayOf(variant('type', { input_text: inputText }, ['input_image', ...NO_MEDIA]), 'objects', {
  min: 1,
});
const assistantParts = arrayOf(variant('type', { output_text: outputText, refusal }), 'objects');

const envelope = { type: optional(v.literal('message')), id: ignored, status, phase: ignored };
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
  id: ignored,
  call_id: text({ min: 1 }),
  name: functionName,
  arguments: string,
  status,
  parsed_arguments: parsed,
  async: ignored,
  caller: ignored,
  namespace: unsupported('is not supported: functions have no namespaces here.'),
});

const functionCallOutput = object({
  type: v.literal('function_call_output'),
  id: ignored,
  call_id: text({ min: 1 }),
  output: textOrParts(userParts),
  status,
  name: ignored,
  caller: ignored,
  namespace: unsupported('is not supported: functions have no namespaces here.'),
});

const reasoning = object({
  type: v.literal('reasoning'),
  id: ignored,
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

/** One item of a request's input. A message may leave its type out, and so may a reference. */
export const inputItem = v.lazy((input) => {
  const isUntyped = isObject(input) && (input['type'] === undefined || input['type'] === null);
  if (isUntyped && 'role' in input) return message;
  return isUntyped && 'id' in input ? itemReference : typedItem;
});

export type InputItem = v.InferOutput<typeof inputItem>;

/** Names an item that is stored already, instead of sending it again. */
export type ItemReference = v.InferOutput<typeof itemReference>;

/** An item as it is, with nothing left to look up. */
export type ResolvedItem = Exclude<InputItem, ItemReference>;

/** Whether an item only names another. */
export function isItemReference(item: InputItem): item is ItemReference {
  return item.type === 'item_reference' || (item.type == null && !('role' in item));
}

/**
 * Refuses an item that would come twice, as OpenAI does: a list is paged by the ids of its items.
 * @param param the caller's parameter that holds the items
 * @param before the items that they come after
 * @throws LambentError `invalid_value`
 */
export function rejectDuplicates(
  items: readonly InputItem[],
  param: string,
  before: readonly { readonly id: string }[] = [],
): void {
  const ids = new Set<unknown>(before.map(({ id }) => id));
  for (const { id } of items) {
    if (typeof id !== 'string' || id === '') continue;
    if (ids.has(id)) {
      const shown = id.slice(0, 128).toWellFormed();
      const message = `Duplicate item found with id ${shown}. Remove duplicate items from your input and try again.`;
      throw invalidValueError(param, message);
    }
    ids.add(id);
  }
}

/** The fields of what is inside an input, for the test that compares them with the official client's types. */
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
