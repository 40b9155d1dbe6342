import * as v from 'valibot';
import { abbreviateId } from '../../core/ids.ts';
import { isObject } from '../../core/objects.ts';
import { cacheMarkFields } from '../cache-marks.ts';
import { optional } from '../parameters.ts';
import {
  arrayOf,
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
import { tools } from './tools.ts';
import { unknownKindError } from './unknown-kind.ts';

/** Added by the official client's parse helpers to responses, whose items callers then send back. */
const parsed = ignored;
/** Part of response items, which callers send back. */
const status = ignored;
/** The id of an item. Ids that Lambent generated are kept and stored; any other is replaced. */
const id = optional(v.lazy((input) => (typeof input === 'string' ? text({ max: MAX_ID_LENGTH }) : v.unknown())));

const inputText = object({ type: v.literal('input_text'), text: string, ...cacheMarkFields });
const inputImage = object({
  type: v.literal('input_image'),
  image_url: optional(string),
  file_id: unsupported("is not supported. Use 'image_url' instead."),
  detail: optional(oneOf(['auto', 'low', 'high', 'original'])),
  ...cacheMarkFields,
});
const outputText = object({
  type: v.literal('output_text'),
  text: string,
  annotations: ignored,
  logprobs: ignored,
  parsed,
});
const refusal = object({ type: v.literal('refusal'), refusal: string, parsed });

const inputFile = object({
  type: v.literal('input_file'),
  file_data: optional(string),
  filename: optional(string),
  file_id: unsupported("is not supported. Use 'file_data' instead."),
  file_url: unsupported("is not supported. This service downloads no files: use 'file_data' instead."),
  detail: ignored,
  ...cacheMarkFields,
});

const userParts = arrayOf(
  variant('type', { input_text: inputText, input_image: inputImage, input_file: inputFile }, ['input_audio']),
  'objects',
  {
    min: 1,
  },
);
const systemParts = arrayOf(
  variant('type', { input_text: inputText }, ['input_image', 'input_file', 'input_audio']),
  'objects',
  {
    min: 1,
  },
);
/** A part of an unknown kind, from a native answer. Translated requests leave it out. */
const otherPart = v.pipe(
  object({ type: string }),
  v.transform(({ type }) => ({ type: 'other' as const, kind: type })),
);

/** Parts of other messages, which an upstream might read here, too: their files and URLs would not be checked. */
const CALLER_PARTS = ['input_image', 'input_file', 'input_audio'] as const;
const assistantParts = arrayOf(
  variant('type', { output_text: outputText, refusal }, CALLER_PARTS, otherPart),
  'objects',
);

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

/** A call's name and id are those that a model made up, so they may be any text. */
const callFields = {
  id,
  call_id: text({ min: 1 }),
  name: string,
  namespace: optional(string),
  status,
  async: ignored,
  caller: ignored,
  created_by: ignored,
};

const functionCall = object({
  type: v.literal('function_call'),
  ...callFields,
  arguments: string,
  parsed_arguments: parsed,
});

const customToolCall = object({ type: v.literal('custom_tool_call'), ...callFields, input: string });

const toolSearchCall = object({
  type: v.literal('tool_search_call'),
  id,
  call_id: optional(text({ min: 1 })),
  arguments: v.optional(v.unknown()),
  execution: optional(oneOf(['server', 'client'])),
  status,
  created_by: ignored,
});

const outputFields = {
  id,
  // Without an id, it is the output of the last call before it that has none.
  call_id: optional(text({ min: 1 })),
  output: textOrParts(userParts),
  status,
  name: ignored,
  namespace: ignored,
  caller: ignored,
  created_by: ignored,
};

const functionCallOutput = object({ type: v.literal('function_call_output'), ...outputFields });
const customToolCallOutput = object({ type: v.literal('custom_tool_call_output'), ...outputFields });

const toolSearchOutput = object({
  type: v.literal('tool_search_output'),
  id,
  call_id: optional(text({ min: 1 })),
  tools,
  execution: optional(oneOf(['server', 'client'])),
  status,
  created_by: ignored,
});

/** Adds tools to those of the request. */
const additionalTools = object({ type: v.literal('additional_tools'), id, role: ignored, tools });

const reasoning = object({
  type: v.literal('reasoning'),
  id,
  summary: optional(arrayOf(variant('type', { summary_text: object({ type: string, text: string }) }), 'objects')),
  content: optional(arrayOf(variant('type', { reasoning_text: object({ type: string, text: string }) }), 'objects')),
  encrypted_content: optional(string),
  status,
});

/** Calls of hosted tools and their outputs, which other services have generated. No model gets them. */
const HOSTED_ITEMS = [
  'apply_patch_call',
  'apply_patch_call_output',
  'code_interpreter_call',
  'computer_call',
  'computer_call_output',
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
  'web_search_call',
] as const;

type HostedItemType = (typeof HOSTED_ITEMS)[number];

/** An item of a hosted tool, exactly as the caller sent it. */
export type HostedItem = { readonly type: HostedItemType } & Readonly<Record<string, unknown>>;

const hostedItem = v.custom<HostedItem>(isObject, 'an object');
const hostedItems = Object.fromEntries(HOSTED_ITEMS.map((type) => [type, hostedItem])) as Record<
  HostedItemType,
  typeof hostedItem
>;

/** Returns whether an item belongs to a hosted tool, or is of a kind that this service doesn't know. */
export function isHostedItem(item: { readonly type?: string | null | undefined }): item is HostedItem {
  return typeof item.type === 'string' && !Object.hasOwn(ownItems, item.type);
}

/** Returns whether an item is of a kind that this service doesn't know. Only native requests have such items. */
export function isUnknownItem(item: { readonly type?: string | null | undefined }): item is HostedItem {
  return isHostedItem(item) && !Object.hasOwn(hostedItems, item.type);
}

/**
 * Rejects items, and parts of assistant messages, of kinds that this service doesn't know.
 * @throws LambentError `invalid_value`
 */
export function rejectUnknownItems(items: readonly InputItem[], param: string): void {
  for (const [index, item] of items.entries()) {
    if (isUnknownItem(item))
      throw unknownKindError(item.type, `${param}[${index}].type`, [...Object.keys(ownItems), ...HOSTED_ITEMS]);
    if (item.type === 'additional_tools' || !('role' in item) || item.role !== 'assistant') continue;
    for (const [position, part] of typeof item.content === 'string' ? [] : item.content.entries()) {
      if (part.type !== 'other') continue;
      throw unknownKindError(part.kind, `${param}[${index}].content[${position}].type`, ['output_text', 'refusal']);
    }
  }
}

/** Stands for a compacted conversation. Its content is opened before the input is translated. */
const compaction = object({ type: v.literal('compaction'), id, encrypted_content: string, created_by: ignored });

const itemReference = object({ type: optional(v.literal('item_reference')), id: storedId });

const ownItems = {
  message,
  function_call: functionCall,
  function_call_output: functionCallOutput,
  custom_tool_call: customToolCall,
  custom_tool_call_output: customToolCallOutput,
  tool_search_call: toolSearchCall,
  tool_search_output: toolSearchOutput,
  additional_tools: additionalTools,
  reasoning,
  compaction,
  item_reference: itemReference,
};

const typedItem = variant(
  'type',
  { ...ownItems, ...hostedItems },
  ['compaction_trigger', 'configuration_update'],
  hostedItem,
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
  customToolCall,
  customToolCallOutput,
  toolSearchCall,
  toolSearchOutput,
  additionalTools,
  inputFile,
  reasoning,
  itemReference,
  typedItem,
};
