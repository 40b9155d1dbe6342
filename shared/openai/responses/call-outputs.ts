import { getOrCreate } from '../../core/get-or-create.ts';
import type { ContentPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { invalidValueError, missingParameterError } from '../validation.ts';
import type { ResolvedItem } from './items.ts';
import { toContentParts } from './parts.ts';
import { joinToolName } from './tool-names.ts';

type ItemOf<T extends ResolvedItem['type']> = Extract<ResolvedItem, { type: T }>;

/** A call of a tool that the caller runs. */
export type CallItem = ItemOf<'function_call' | 'custom_tool_call' | 'tool_search_call'>;
type OutputItem = ItemOf<'function_call_output' | 'custom_tool_call_output' | 'tool_search_output'>;

/** Returns whether an item is a call of a tool that the caller runs. */
export function isCall(item: ResolvedItem): item is CallItem {
  return item.type === 'function_call' || item.type === 'custom_tool_call' || item.type === 'tool_search_call';
}

/** Returns whether an item is the output of such a call. */
export function isCallOutput(item: ResolvedItem): item is OutputItem {
  return (
    item.type === 'function_call_output' ||
    item.type === 'custom_tool_call_output' ||
    item.type === 'tool_search_output'
  );
}

/** Returns an item's path in the request. */
export type FormatPath = (index: number) => string;

/** The output of a call and its index in the input. */
interface Output {
  readonly index: number;
  readonly content: ContentPart[];
}

/** The outputs in a request's input, by call. */
export class CallOutputs {
  readonly #outputs = new Map<string, Output[]>();
  /** The content of the outputs that were taken. */
  readonly #taken = new Map<string, ContentPart[][]>();
  readonly #formatPath: FormatPath;

  /**
   * @throws LambentError `missing_required_parameter` for an output without a call id that follows no open call, or for
   * an unsupported image or file as `toContentParts`
   */
  constructor(input: readonly ResolvedItem[], formatPath: FormatPath, registry: ModelRegistry) {
    this.#formatPath = formatPath;
    const openIds: string[] = [];
    for (const [index, item] of input.entries()) {
      if (isCall(item) && item.call_id != null) openIds.push(item.call_id);
      if (!isCallOutput(item)) continue;
      const callId = item.call_id ?? openIds.at(-1);
      if (callId === undefined) {
        // OpenAI's own search has no ids.
        if (item.type === 'tool_search_output') continue;
        throw missingParameterError(`${formatPath(index)}.call_id`);
      }
      const open = openIds.lastIndexOf(callId);
      if (open !== -1) openIds.splice(open, 1);
      const output = { index, content: toOutputContent(item, `${formatPath(index)}.output`, registry) };
      getOrCreate(this.#outputs, callId, () => []).push(output);
    }
  }

  /**
   * Returns the output of a call, and removes it: ids may repeat in later turns.
   * @throws LambentError `invalid_value` if it has none
   */
  take(callId: string): readonly ContentPart[] {
    const output = this.#outputs.get(callId)?.shift();
    if (output === undefined) {
      throw invalidValueError('input', `No tool output found for function call ${abbreviate(callId)}.`);
    }
    getOrCreate(this.#taken, callId, () => []).push(output.content);
    return output.content;
  }

  /**
   * Rejects outputs without a call. An output that was taken before may be repeated.
   * @throws LambentError `invalid_value`
   */
  rejectUnmatched(): void {
    for (const [callId, outputs] of this.#outputs) {
      if (outputs.length === 0) continue;
      const taken = new Set(this.#taken.get(callId)?.map((content) => JSON.stringify(content)));
      const unmatched = outputs.find(({ content }) => !taken.has(JSON.stringify(content)));
      if (unmatched === undefined) continue;
      throw invalidValueError(
        `${this.#formatPath(unmatched.index)}.call_id`,
        `No tool call found for function call output with call_id ${abbreviate(callId)}.`,
      );
    }
  }
}

function toOutputContent(item: OutputItem, param: string, registry: ModelRegistry): ContentPart[] {
  if (item.type !== 'tool_search_output') return toContentParts(item.output, param, registry);
  const names = item.tools.flatMap((tool) => {
    if (tool.type === 'namespace') return tool.tools.map(({ name }) => joinToolName(tool.name, name));
    return tool.type === 'function' || tool.type === 'custom' ? [tool.name] : [];
  });
  const text = names.length === 0 ? 'No tools were found.' : `These tools can be called now: ${names.join(', ')}`;
  return [{ type: 'text', text }];
}

function abbreviate(id: string): string {
  return id.slice(0, 100).toWellFormed();
}
