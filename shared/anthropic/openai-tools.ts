import { isObject, omitUndefined } from '../core/objects.ts';

/**
 * Returns the body with its tools and tool choice in Anthropic's form if they have one of OpenAI's: a function as in chat
 * completions (`{type, function}`) or as in responses (`{type, name, parameters}`). Programs that offer several APIs mix them
 * up, and a tool of an unknown type counts as one that Anthropic's servers run. Other bodies are unchanged.
 */
export function toAnthropicTools(body: unknown): unknown {
  if (!isObject(body) || !Array.isArray(body['tools']) || !body['tools'].some(isFunction)) return body;
  const tools: unknown[] = body['tools'].map((tool: unknown) => (isFunction(tool) ? toTool(tool) : tool));
  return { ...body, tools, ...omitUndefined({ tool_choice: toChoice(body['tool_choice']) }) };
}

function isFunction(tool: unknown): tool is Readonly<Record<string, unknown>> {
  return isObject(tool) && tool['type'] === 'function';
}

function toTool({ type: _, function: nested, ...flat }: Readonly<Record<string, unknown>>) {
  const { parameters, ...tool } = isObject(nested) ? { ...flat, ...nested } : flat;
  // A function may leave out its parameters, but `input_schema` is required.
  return { ...tool, input_schema: tool['input_schema'] ?? parameters ?? { type: 'object', properties: {} } };
}

const MODES: ReadonlyMap<unknown, string> = new Map([
  ['auto', 'auto'],
  ['none', 'none'],
  ['required', 'any'],
]);

function toChoice(choice: unknown): unknown {
  const mode = MODES.get(choice);
  if (mode !== undefined) return { type: mode };
  if (!isFunction(choice)) return choice;
  const { name } = isObject(choice['function']) ? choice['function'] : choice;
  return { type: 'tool', name };
}
