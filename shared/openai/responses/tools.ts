import * as v from 'valibot';
import { isObject } from '../../core/objects.ts';
import { optional } from '../parameters.ts';
import {
  arrayOf,
  boolean,
  functionName,
  ignored,
  jsonObject,
  object,
  oneOf,
  string,
  supportedIf,
  text,
  variant,
  withoutEffect,
} from '../schema.ts';
import { unknownKindError } from './unknown-kind.ts';

/** The tools that OpenAI runs, or that a client runs by items of their own. Another service has no such models. */
const HOSTED_TYPES = [
  'apply_patch',
  'code_interpreter',
  'computer',
  'computer_use',
  'computer_use_preview',
  'file_search',
  'image_generation',
  'local_shell',
  'mcp',
  'programmatic_tool_calling',
  'shell',
  'web_search',
  'web_search_2025_08_26',
  'web_search_preview',
  'web_search_preview_2025_03_11',
] as const;

type HostedType = (typeof HOSTED_TYPES)[number];

/** A hosted tool, or the choice of one, exactly as the caller sent it. */
export type HostedTool = { readonly type: HostedType } & Readonly<Record<string, unknown>>;

const hosted = v.custom<HostedTool>(isObject, 'an object');
const hostedTools = Object.fromEntries(HOSTED_TYPES.map((type) => [type, hosted])) as Record<HostedType, typeof hosted>;

/** Returns whether a tool, or the choice of one, is a hosted tool, or of a kind that this service doesn't know. */
export function isHostedTool(tool: { readonly type: string }): tool is HostedTool {
  return tool.type !== 'allowed_tools' && !Object.hasOwn(ownTools, tool.type);
}

/**
 * Rejects tools of kinds that this service doesn't know.
 * @throws LambentError `invalid_value`
 */
export function rejectUnknownTools(list: readonly { readonly type: string }[], param: string): void {
  const known = [...Object.keys(ownTools), ...HOSTED_TYPES];
  for (const [index, { type }] of list.entries())
    if (!known.includes(type)) throw unknownKindError(type, `${param}[${index}].type`, known);
}

const callerFields = {
  allowed_callers: optional(
    v.pipe(
      arrayOf(oneOf(['direct', 'programmatic']), 'strings'),
      supportedIf((callers) => callers.includes('direct'), "supports only ['direct']."),
    ),
  ),
  // Calls end the response, and the model goes on when it gets their outputs.
  async: withoutEffect(boolean),
  /** Whether the model gets the tool only after a search has found it. */
  defer_loading: optional(boolean),
};

const functionTool = object({
  type: v.literal('function'),
  name: functionName,
  description: optional(string),
  parameters: optional(jsonObject),
  strict: optional(boolean),
  ...callerFields,
  output_schema: ignored,
});

const customTool = object({
  type: v.literal('custom'),
  name: functionName,
  description: optional(string),
  format: optional(
    variant('type', {
      text: object({ type: v.literal('text') }),
      grammar: object({ type: v.literal('grammar'), definition: string, syntax: oneOf(['lark', 'regex']) }),
    }),
  ),
  ...callerFields,
});

const namespaceTool = object({
  type: v.literal('namespace'),
  name: text({ min: 1, max: 128 }),
  description: optional(string),
  tools: arrayOf(variant('type', { function: functionTool, custom: customTool }), 'objects', { max: 128 }),
});

const toolSearch = object({
  type: v.literal('tool_search'),
  execution: optional(oneOf(['server', 'client'])),
  description: optional(string),
  parameters: optional(jsonObject),
});

const ownTools = { function: functionTool, custom: customTool, namespace: namespaceTool, tool_search: toolSearch };

/** One element of `tools`. */
export const tool = variant('type', { ...ownTools, ...hostedTools }, [], hosted);

/** At most 128 tools; a namespace counts as one. */
export const tools = arrayOf(tool, 'objects', { max: 128 });

export type ResponsesTool = v.InferOutput<typeof tool>;
export type FunctionOrCustomTool = v.InferOutput<typeof functionTool> | v.InferOutput<typeof customTool>;

const namespace = optional(string);
const namedTools = {
  function: object({ type: v.literal('function'), name: string, namespace }),
  custom: object({ type: v.literal('custom'), name: string, namespace }),
  namespace: object({ type: v.literal('namespace'), name: string }),
  tool_search: object({ type: v.literal('tool_search') }),
  ...hostedTools,
};

const allowedTools = object({
  type: v.literal('allowed_tools'),
  mode: oneOf(['auto', 'required']),
  tools: arrayOf(variant('type', namedTools), 'objects', { min: 1 }),
});

const { namespace: _, ...choosable } = namedTools;
const toolChoiceObject = variant('type', { ...choosable, allowed_tools: allowedTools });
const toolChoiceMode = oneOf(['none', 'auto', 'required']);

/** The schema of `tool_choice`. */
export const toolChoice = v.lazy((input) => (typeof input === 'string' ? toolChoiceMode : toolChoiceObject));

export type ResponsesToolChoice = v.InferOutput<typeof toolChoice>;

/** A reference to a tool, in a list of allowed tools. */
export type ToolReference = v.InferOutput<typeof allowedTools>['tools'][number];

/** Nested schemas, for the test that compares them with the official client's types. */
export const toolParts = { functionTool, customTool, namespaceTool, toolSearch };
