import type { CustomTool, Tool } from '../inference/generation.ts';

/** The definition of a custom tool, of either API. */
export interface CustomDefinition {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly grammar?: CustomTool['grammar'] | undefined;
}

const SYNTAX_NAMES = { lark: 'Lark grammar', regex: 'regular expression' } as const;

/** Translates a custom tool. For targets without custom tools, the function's description has the grammar. */
export function toCustomTool({ name, description, grammar }: CustomDefinition): Tool {
  const rule =
    grammar === undefined ? [] : [`The input must match this ${SYNTAX_NAMES[grammar.syntax]}:\n${grammar.definition}`];
  const texts = [...(description ? [description] : []), ...rule];
  return {
    name,
    ...(texts.length === 0 ? {} : { description: texts.join('\n\n') }),
    parameters: INPUT_SCHEMA,
    strict: false,
    custom: { ...(description ? { description } : {}), ...(grammar === undefined ? {} : { grammar }) },
  };
}

/** Returns the names of the custom tools among these; undefined if there are none. */
export function findCustomTools(tools: readonly Tool[]): ReadonlySet<string> | undefined {
  const names = tools.flatMap(({ name, custom }) => (custom ? [name] : []));
  return names.length === 0 ? undefined : new Set(names);
}

const INPUT_SCHEMA = {
  type: 'object',
  properties: { input: { type: 'string', description: 'The whole input of the tool, as plain text.' } },
  required: ['input'],
  additionalProperties: false,
};
