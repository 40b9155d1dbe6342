import type { Tool, ToolChoice } from '../inference/generation.ts';
import { checkSchemas } from '../wire/json-schema.ts';
import { toMark } from './content.ts';
import { DEFINED_TOOLS } from './defined-tools.ts';
import type { MessagesBody, ToolParam } from './schema.ts';
import { abbreviate, invalidRequestError } from './validation.ts';

export interface TranslatedTools {
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  /** The paths of the tools that Anthropic's servers would run, which no model gets. */
  readonly ignored: readonly string[];
}

/**
 * Translates the tools and the tool choice. A tool of Anthropic that the caller runs gets its schema, one that its servers
 * run is dropped. Deferred tools are sent at once, because no tool searches for them.
 * @throws LambentError `invalid_value` for a tool without a name or schema, two tools of the same name, or a choice of a
 * tool that doesn't exist or was dropped
 */
export function translateTools({ tools, tool_choice }: Pick<MessagesBody, 'tools' | 'tool_choice'>): TranslatedTools {
  const translated: Tool[] = [];
  const ignored: string[] = [];
  for (const [index, tool] of (tools ?? []).entries()) {
    const each = toTool(tool, `tools.${index}`);
    if (each === undefined) ignored.push(`tools.${index}`);
    else if (translated.some(({ name }) => name === each.name))
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
  );
  return {
    tools: translated,
    toolChoice: toToolChoice(tool_choice, translated),
    parallelToolCalls: tool_choice?.disable_parallel_tool_use !== true,
    ignored,
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

function toToolChoice(choice: MessagesBody['tool_choice'], tools: readonly Tool[]): ToolChoice {
  switch (choice?.type) {
    case 'none':
      return 'none';
    case 'any':
      return tools.length === 0 ? 'auto' : 'required';
    case 'tool': {
      const name = choice.name ?? '';
      if (tools.some((tool) => tool.name === name)) return { name };
      throw invalidRequestError('tool_choice.name', `Tool '${abbreviate(name)}' not found in provided tools`);
    }
    default:
      return 'auto';
  }
}
