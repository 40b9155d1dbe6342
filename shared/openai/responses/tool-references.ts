import type { Tool } from '../../inference/generation.ts';
import type { RequestedChoice } from '../tool-choice.ts';
import { invalidValueError } from '../validation.ts';
import { joinToolName, TOOL_SEARCH } from './tool-names.ts';
import { type HostedTool, isHostedTool, type ResponsesToolChoice, type ToolReference } from './tools.ts';

/** The tools from which a request chooses. */
interface ChoiceContext {
  readonly functions: readonly Tool[];
  readonly hosted: readonly HostedTool[];
  /** Whether the model gets the hosted tools. */
  readonly isPassed: boolean;
  readonly model: string;
}

interface ResolvedChoice {
  readonly choice: RequestedChoice;
  /** The hosted tool that the caller requires. */
  readonly chosen?: HostedTool;
}

/**
 * Translates a tool choice, with the internal names of the tools.
 * @throws LambentError `invalid_value` if it requires a hosted tool that the model doesn't get
 */
export function resolveChoice(
  choice: ResponsesToolChoice | null | undefined,
  { functions, hosted, isPassed, model }: ChoiceContext,
): ResolvedChoice {
  if (choice == null) return { choice: 'auto' };
  if (typeof choice === 'string') {
    if (choice === 'required' && functions.length === 0 && hosted.length > 0 && !isPassed) {
      throw droppedChoiceError(hosted[0]?.type ?? '', model);
    }
    return { choice };
  }
  if (choice.type === 'allowed_tools') {
    const { mode } = choice;
    const references = choice.tools.filter((reference) => !isHostedTool(reference));
    const allowed = references.flatMap((reference) => findNames(reference, functions));
    if (allowed.length > 0) return { choice: { mode, allowed } };
    if (isPassed) return { choice: { mode, allowed } };
    if (mode === 'auto') return { choice: 'none' };
    throw droppedChoiceError(choice.tools.find(isHostedTool)?.type ?? TOOL_SEARCH, model);
  }
  if (!isHostedTool(choice)) return { choice: { name: findNames(choice, functions)[0] ?? choice.type } };
  if (!isPassed) throw droppedChoiceError(choice.type, model);
  return { choice: 'auto', chosen: choice };
}

/** Returns the internal names of the tools to which a reference applies: its own name if there are none. */
function findNames(reference: Exclude<ToolReference, HostedTool>, functions: readonly Tool[]): string[] {
  const named = (matches: (api: { readonly name: string; readonly namespace?: string }) => boolean): string[] =>
    functions.filter(({ name, api }) => matches(api ?? { name })).map(({ name }) => name);
  if (reference.type === 'tool_search') return named(({ name }) => name === TOOL_SEARCH);
  if (reference.type === 'namespace') return named(({ namespace }) => namespace === reference.name);
  const { name, namespace } = reference;
  const found = named((api) => api.name === name && (namespace == null || api.namespace === namespace));
  return found.length === 0 ? [joinToolName(namespace, name)] : found.slice(0, 1);
}

/** Returns the hosted tools that a choice allows. */
export function filterAllowed(
  hosted: readonly HostedTool[],
  choice: ResponsesToolChoice | null | undefined,
): HostedTool[] {
  if (choice === 'none') return [];
  if (choice == null || typeof choice === 'string' || choice.type !== 'allowed_tools') return [...hosted];
  return hosted.filter(({ type }) => choice.tools.some((reference) => reference.type === type));
}

function droppedChoiceError(type: string, model: string) {
  return invalidValueError(
    'tool_choice',
    `Invalid value for 'tool_choice': the model \`${model.slice(0, 200).toWellFormed()}\` has no tool '${type}', so it can't be required to use it.`,
  );
}
