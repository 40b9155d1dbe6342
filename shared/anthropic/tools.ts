import type { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { HostedTools, Tool, ToolChoice } from '../inference/generation.ts';
import type { Alias } from '../inference/registry.ts';
import type { SchemaLimit } from '../limits/schema-limits.ts';
import { checkSchemas } from '../wire/json-schema.ts';
import { toMark } from './content.ts';
import { DEFINED_TOOLS } from './defined-tools.ts';
import type { MessagesBody, ToolParam } from './schema.ts';
import { abbreviate, invalidRequestError } from './validation.ts';

export interface TranslatedTools {
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly hostedTools?: HostedTools;
  readonly parallelToolCalls: boolean;
  /** The paths of the tools that no model gets, because of the alias. */
  readonly ignored: readonly string[];
  /** The paths of tools that search for other tools on Anthropic's servers. No model gets them, whatever the alias says. */
  readonly serverSearches: readonly string[];
}

/**
 * A search by Anthropic's servers. Deferred tools are sent at once, so there is nothing to search, whatever the alias
 * says of hosted tools.
 */
const SERVER_SEARCH = /^tool_search_tool_/;

/**
 * Translates the tools and the tool choice. A tool of Anthropic that the caller runs gets its schema. What happens to one
 * that its servers run is up to the alias.
 * @param original the caller's body, in whose own form tools are passed on
 * @throws LambentError `invalid_value` for a tool without a name or schema, two tools of the same name, or a choice of a
 * tool that doesn't exist or was dropped; `unsupported_value` for a tool that the alias refuses
 */
export function translateTools(
  { tools, tool_choice }: Pick<MessagesBody, 'tools' | 'tool_choice'>,
  { hostedTools: policy }: Pick<Alias, 'hostedTools'>,
  original: unknown,
  schemaLimits?: readonly SchemaLimit[],
): TranslatedTools {
  const translated: Tool[] = [];
  const passed: Readonly<Record<string, unknown>>[] = [];
  const ignored: string[] = [];
  const serverSearches: string[] = [];
  const originals = isObject(original) && Array.isArray(original['tools']) ? original['tools'] : [];
  for (const [index, tool] of (tools ?? []).entries()) {
    const each = toTool(tool, `tools.${index}`);
    if (each === undefined) {
      const type = tool.type ?? '';
      const isHosted = !SERVER_SEARCH.test(type);
      if (!isHosted) serverSearches.push(`tools.${index}`);
      else if (policy === 'refuse') throw hostedToolError(type, `tools.${index}.type`);
      else if (policy === 'pass') passed.push(originals[index]);
      else ignored.push(`tools.${index}`);
    } else if (translated.some(({ name }) => name === each.name))
      throw invalidRequestError(`tools.${index}.name`, 'Tool names must be unique');
    else translated.push(each);
  }
  checkSchemas(
    translated.map(({ name, parameters }, index) => ({
      schema: parameters,
      strict: false,
      subject: `tool '${abbreviate(name)}'`,
      param: `tools.${index}.input_schema`,
      code: 'invalid_function_parameters',
    })),
    schemaLimits,
  );
  const chosen = passed.find(({ name }) => tool_choice?.type === 'tool' && name === tool_choice.name);
  const isPassed = passed.length > 0 && tool_choice?.type !== 'none';
  return {
    tools: translated,
    toolChoice: chosen === undefined ? toToolChoice(tool_choice, translated, isPassed) : 'auto',
    ...(isPassed && { hostedTools: { tools: passed, ...(chosen && { choice: { ...tool_choice } }) } }),
    parallelToolCalls: tool_choice?.disable_parallel_tool_use !== true,
    ignored,
    serverSearches,
  };
}

function toTool(tool: ToolParam, param: string): Tool | undefined {
  const { type, description, input_schema, strict, cache_control } = tool;
  if (type != null && type !== 'custom') {
    const defined = DEFINED_TOOLS.find(({ kind }) => kind.test(type));
    if (defined === undefined) return undefined;
    return { ...defined.tool, name: tool.name ?? defined.tool.name, strict: false, ...toMark(cache_control) };
  }
  if (tool.name == null || tool.name === '') throw invalidRequestError(`${param}.name`, 'Field required');
  if (input_schema == null) throw invalidRequestError(`${param}.input_schema`, 'Field required');
  return {
    name: tool.name,
    ...(description == null ? {} : { description }),
    parameters: input_schema,
    strict: strict ?? false,
    ...toMark(cache_control),
  };
}

function hostedToolError(type: string, param: string): LambentError {
  return invalidRequestError(param, `'${abbreviate(type)}' is not supported with this model`, 'unsupported_value');
}

function toToolChoice(
  choice: MessagesBody['tool_choice'],
  tools: readonly Tool[],
  hasHostedTools: boolean,
): ToolChoice {
  switch (choice?.type) {
    case 'none':
      return 'none';
    case 'any':
      return tools.length === 0 && !hasHostedTools ? 'auto' : 'required';
    case 'tool': {
      const name = choice.name ?? '';
      if (tools.some((tool) => tool.name === name)) return { name };
      throw invalidRequestError('tool_choice.name', `Tool '${abbreviate(name)}' not found in provided tools`);
    }
    default:
      return 'auto';
  }
}
