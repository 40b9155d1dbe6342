import type { Tool, ToolChoice } from '../inference/generation.ts';
import { invalidValueError } from './validation.ts';

/** A parsed tool choice of either API: a mode, one named function, or a list of allowed functions. */
export type RequestedChoice =
  | 'auto'
  | 'none'
  | 'required'
  | { readonly name: string }
  | { readonly mode: 'auto' | 'required'; readonly allowed: readonly string[] };

export interface ResolvedTools {
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
}

/**
 * Returns the tools and the tool choice to send to a model. If the choice lists allowed functions, all others are
 * removed.
 * @throws LambentError `invalid_value` if two tools have the same name, or if the choice requires a missing tool
 */
export function resolveTools(tools: readonly Tool[], choice: RequestedChoice): ResolvedTools {
  const names = new Set<string>();
  for (const [index, { name }] of tools.entries()) {
    if (names.has(name))
      throw invalidValueError(
        `tools[${index}]`,
        `Invalid 'tools[${index}]': another function is already named '${name}'.`,
      );
    names.add(name);
  }
  if (choice === 'auto' || choice === 'none') return { tools, toolChoice: choice };
  if (tools.length === 0) {
    throw invalidValueError(
      'tool_choice',
      "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
    );
  }
  if (choice === 'required') return { tools, toolChoice: choice };
  const chosen = 'name' in choice ? [choice.name] : choice.allowed;
  for (const name of chosen) {
    if (!names.has(name)) {
      throw invalidValueError(
        'tool_choice',
        `Invalid value for 'tool_choice': no function named '${name}' was specified in the 'tools' parameter.`,
      );
    }
  }
  if ('name' in choice) return { tools, toolChoice: choice };
  return { tools: tools.filter(({ name }) => choice.allowed.includes(name)), toolChoice: choice.mode };
}
