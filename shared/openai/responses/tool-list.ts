import type { HostedTools, Tool, ToolChoice } from '../../inference/generation.ts';
import type { Alias } from '../../inference/registry.ts';
import type { RequestSchema } from '../../wire/json-schema.ts';
import { toCustomTool } from '../custom-tools.ts';
import { omitNullish } from '../parameters.ts';
import { resolveTools } from '../tool-choice.ts';
import { invalidValueError, unsupportedValueError } from '../validation.ts';
import type { InputItem, ResolvedItem } from './items.ts';
import type { ResponsesBody } from './schema.ts';
import { joinToolName, TOOL_SEARCH } from './tool-names.ts';
import { filterAllowed, resolveChoice } from './tool-references.ts';
import { type FunctionOrCustomTool, isHostedTool, type ResponsesTool } from './tools.ts';

/** The tools of a request in the internal form. */
export interface ResolvedToolList {
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly hostedTools?: HostedTools;
  /** The schemas of all functions, also of those that the model doesn't get. */
  readonly schemas: readonly RequestSchema[];
}

/** Tools of a request, and where they are: in `tools` or in an item of the input. */
interface ToolSource {
  readonly tools: readonly ResponsesTool[];
  readonly param: string;
  /** True if the tools were found by a search, so that they aren't deferred any more. */
  readonly isFound?: true;
}

interface ToolEntry {
  readonly tool: Tool;
  readonly param: string;
  readonly isDeferred: boolean;
}

/**
 * Translates the tools of a request, those that the items of its input add, and its tool choice. Functions of a
 * namespace get a name that has both. A later definition of an item replaces an earlier one.
 * @param storedItems items of earlier turns, which precede the input
 * @throws LambentError `invalid_value` for names that occur twice and for a choice of a tool that the model doesn't get
 */
export function resolveToolList(
  { tools, tool_choice, model }: ResponsesBody,
  { hostedTools: policy }: Pick<Alias, 'hostedTools'>,
  storedItems: readonly ResolvedItem[],
  input: string | readonly ResolvedItem[],
): ResolvedToolList {
  const sources = [
    { tools: tools ?? [], param: 'tools' },
    ...listItemSources(storedItems, () => 'input'),
    ...listItemSources(input, (index) => `input[${index}]`),
  ];
  const { functions, schemas } = listFunctions(sources);
  const hosted = sources.flatMap((source) => source.tools).filter(isHostedTool);
  const isPassed = policy === 'pass';
  const { choice, chosen } = resolveChoice(tool_choice, { functions, hosted, isPassed, model });
  const passed = isPassed ? filterAllowed(hosted, tool_choice) : [];
  if (passed.length === 0) return { ...resolveTools(functions, choice), schemas };
  const hostedTools = { tools: passed, ...(chosen && { choice: chosen }) };
  if (functions.length > 0) return { ...resolveTools(functions, choice), hostedTools, schemas };
  const toolChoice = typeof choice === 'string' ? choice : 'mode' in choice ? choice.mode : 'auto';
  return { tools: [], toolChoice, hostedTools, schemas };
}

/** Lists the hosted tools that a request has and its model doesn't get, as paths such as `tools[web_search]`. */
export function listDroppedTools(
  { tools, input }: ResponsesBody,
  { hostedTools }: Pick<Alias, 'hostedTools'>,
): string[] {
  const all = [{ tools: tools ?? [] }, ...listItemSources(input, () => '')].flatMap((source) => source.tools);
  return all
    .filter((tool) => (isHostedTool(tool) ? hostedTools !== 'pass' : isServerSearch(tool)))
    .map(({ type }) => `tools[${type}]`);
}

/**
 * Rejects hosted tools if the alias refuses them.
 * @throws LambentError `unsupported_value`
 */
export function checkHostedTools({ tools, input }: ResponsesBody, { hostedTools }: Pick<Alias, 'hostedTools'>): void {
  if (hostedTools !== 'refuse') return;
  const sources = [{ tools: tools ?? [], param: 'tools' }, ...listItemSources(input, (index) => `input[${index}]`)];
  for (const source of sources) {
    const index = source.tools.findIndex(isHostedTool);
    const type = source.tools[index]?.type;
    if (type === undefined) continue;
    throw unsupportedValueError(
      `${source.param === 'tools' ? 'tools' : `${source.param}.tools`}[${index}].type`,
      `does not support '${type}' with this model. Supported values are: 'function', 'custom', 'namespace', and 'tool_search'.`,
    );
  }
}

function listItemSources(input: string | readonly InputItem[], formatPath: (index: number) => string): ToolSource[] {
  if (typeof input === 'string') return [];
  return input.flatMap((item, index): ToolSource[] => {
    if (item.type === 'additional_tools') return [{ tools: item.tools, param: formatPath(index) }];
    if (item.type === 'tool_search_output') return [{ tools: item.tools, param: formatPath(index), isFound: true }];
    return [];
  });
}

/** Returns the functions of all sources. Deferred ones are left out if the caller searches for tools. */
function listFunctions(sources: readonly ToolSource[]) {
  const isSearched = sources.some(({ tools }) =>
    tools.some((tool) => tool.type === 'tool_search' && !isServerSearch(tool)),
  );
  const byName = new Map<string, Tool>();
  const entries: ToolEntry[] = [];
  for (const [index, source] of sources.entries()) {
    for (const entry of source.tools.flatMap((tool, position) => toEntries(tool, source, position))) {
      const { tool, param, isDeferred } = entry;
      // Only the first source is a list of the request itself, in which a name that occurs twice is a mistake.
      if (index === 0 && byName.has(tool.name)) {
        throw invalidValueError(param, `Invalid '${param}': another function is already named '${tool.name}'.`);
      }
      entries.push(entry);
      if (!isDeferred || !isSearched) byName.set(tool.name, tool);
    }
  }
  return { functions: [...byName.values()], schemas: entries.map(toSchema) };
}

function toSchema({ tool, param }: ToolEntry): RequestSchema {
  return {
    schema: tool.parameters,
    strict: tool.strict,
    subject: `function '${tool.name}'`,
    param: `${param}.parameters`,
    code: 'invalid_function_parameters',
  };
}

function toEntries(tool: ResponsesTool, source: ToolSource, index: number): ToolEntry[] {
  const param = `${source.param === 'tools' ? 'tools' : `${source.param}.tools`}[${index}]`;
  const toEntry = (each: FunctionOrCustomTool, path: string, translated: Tool): ToolEntry => ({
    tool: translated,
    param: path,
    isDeferred: source.isFound === undefined && (each.defer_loading ?? false),
  });
  if (isHostedTool(tool)) return [];
  switch (tool.type) {
    case 'namespace':
      return tool.tools.map((each, position) =>
        toEntry(each, `${param}.tools[${position}]`, toNamespacedTool(each, tool, position === 0)),
      );
    case 'tool_search':
      return isServerSearch(tool) ? [] : [{ tool: toSearchTool(tool), param, isDeferred: false }];
    default:
      return [toEntry(tool, param, toTool(tool))];
  }
}

/**
 * Translates a function, which is strict only if the request says so. Without `strict`, OpenAI makes a function strict
 * if its schema allows it. Callers can't rely on that, so Lambent doesn't do it.
 */
function toTool(tool: FunctionOrCustomTool): Tool {
  const { name, description } = tool;
  if (tool.type === 'custom') {
    const { format } = tool;
    return toCustomTool({ name, description, grammar: format?.type === 'grammar' ? toGrammar(format) : undefined });
  }
  return {
    name,
    ...omitNullish({ description }),
    parameters: tool.parameters ?? { type: 'object', properties: {} },
    strict: tool.strict ?? false,
  };
}

function toGrammar({ syntax, definition }: { readonly syntax: 'lark' | 'regex'; readonly definition: string }) {
  return { syntax, definition };
}

type NamespaceTool = Extract<ResponsesTool, { type: 'namespace' }>;

/** Translates a tool of a namespace. The description of the first one has that of the namespace. */
function toNamespacedTool(
  tool: FunctionOrCustomTool,
  { name: namespace, description }: NamespaceTool,
  isFirst: boolean,
): Tool {
  const name = joinToolName(namespace, tool.name);
  const translated = toTool(tool);
  const intro = isFirst && description ? [`About all tools of '${namespace}': ${description}`] : [];
  const texts = [...intro, ...(translated.description === undefined ? [] : [translated.description])];
  return {
    ...translated,
    name,
    ...(texts.length === 0 ? {} : { description: texts.join('\n\n') }),
    api: { name: tool.name, namespace },
  };
}

type ToolSearch = Extract<ResponsesTool, { type: 'tool_search' }>;

/** Returns whether the service searches for tools. Then the model gets them all, so there is nothing to search. */
function isServerSearch(tool: ResponsesTool): boolean {
  return tool.type === 'tool_search' && (tool as ToolSearch).execution !== 'client';
}

function toSearchTool({ description, parameters }: ToolSearch): Tool {
  return {
    name: TOOL_SEARCH,
    description: description ?? 'Searches for further tools. The tools that it finds can be called afterwards.',
    parameters: parameters ?? {
      type: 'object',
      properties: { query: { type: 'string', description: 'What the tools should be able to do.' } },
      required: ['query'],
    },
    strict: false,
    api: { name: TOOL_SEARCH, isToolSearch: true },
  };
}
