import type {
  ResponseCustomToolCallItem,
  ResponseFunctionToolCallItem,
  ResponseToolSearchCall,
} from 'openai/resources/responses/responses';
import { CustomInputReader } from '../../inference/custom-input.ts';
import type { GenerationEvent, Tool } from '../../inference/generation.ts';
import { SurrogatePairBuffer } from '../../wire/surrogate-pair-buffer.ts';
import type { EndStatus, ItemPosition } from './item-builders.ts';

export type CallBuilder = FunctionCallBuilder | CustomCallBuilder | ToolSearchBuilder;

/**
 * Creates the builder of a call's item: of the kind and with the names by which the caller knows the tool.
 * @param tool the tool that is called; undefined if the model made its name up
 */
export function createCallBuilder(
  position: ItemPosition,
  { id, name }: Extract<GenerationEvent, { type: 'toolCall' }>,
  tool: Tool | undefined,
): CallBuilder {
  const { api } = tool ?? {};
  if (api?.isToolSearch) return new ToolSearchBuilder(position, id);
  const fields = {
    call_id: id,
    name: api?.name ?? name,
    ...(api?.namespace === undefined ? {} : { namespace: api.namespace }),
  };
  return tool?.custom ? new CustomCallBuilder(position, fields) : new FunctionCallBuilder(position, fields);
}

interface CallFields {
  readonly call_id: string;
  readonly name: string;
  readonly namespace?: string;
}

/** Builds a function call item. */
class FunctionCallBuilder {
  readonly item: ResponseFunctionToolCallItem;
  readonly #position: ItemPosition;
  readonly #buffer = new SurrogatePairBuffer();

  constructor(position: ItemPosition, fields: CallFields) {
    this.#position = position;
    this.item = { id: `fc_${position.id}`, type: 'function_call', status: 'in_progress', ...fields, arguments: '' };
  }

  add(fragment: string): void {
    this.#append(this.#buffer.push(fragment));
  }

  end(status: EndStatus): void {
    this.#append(this.#buffer.flush());
    this.item.status = status;
    const { output_index, emit } = this.#position;
    const fields = { item_id: this.item.id, output_index, name: this.item.name, arguments: this.item.arguments };
    emit({ type: 'response.function_call_arguments.done', ...fields });
    emit({ type: 'response.output_item.done', output_index, item: this.item });
  }

  #append(delta: string): void {
    if (delta === '') return;
    this.item.arguments += delta;
    const { output_index, emit } = this.#position;
    emit({ type: 'response.function_call_arguments.delta', item_id: this.item.id, output_index, delta });
  }
}

/** Builds the item of a custom tool's call from a function's arguments. */
class CustomCallBuilder {
  readonly item: ResponseCustomToolCallItem;
  readonly #position: ItemPosition;
  readonly #reader = new CustomInputReader();
  readonly #buffer = new SurrogatePairBuffer();

  constructor(position: ItemPosition, fields: CallFields) {
    this.#position = position;
    this.item = { id: `ctc_${position.id}`, type: 'custom_tool_call', status: 'in_progress', ...fields, input: '' };
  }

  add(fragment: string): void {
    this.#append(this.#buffer.push(this.#reader.push(fragment)));
  }

  end(status: EndStatus): void {
    this.#append(this.#buffer.push(this.#reader.end()));
    this.#append(this.#buffer.flush());
    this.item.status = status;
    const { output_index, emit } = this.#position;
    const { id, input } = this.item;
    emit({ type: 'response.custom_tool_call_input.done', item_id: id, output_index, input });
    emit({ type: 'response.output_item.done', output_index, item: this.item });
  }

  #append(delta: string): void {
    if (delta === '') return;
    this.item.input += delta;
    const { output_index, emit } = this.#position;
    emit({ type: 'response.custom_tool_call_input.delta', item_id: this.item.id, output_index, delta });
  }
}

/** Builds the item of a search for tools, which the caller carries out. The API streams no part of its arguments. */
class ToolSearchBuilder {
  readonly item: ResponseToolSearchCall;
  readonly #position: ItemPosition;
  #arguments = '';

  constructor(position: ItemPosition, callId: string) {
    this.#position = position;
    this.item = {
      id: `tsc_${position.id}`,
      type: 'tool_search_call',
      call_id: callId,
      execution: 'client',
      status: 'in_progress',
      arguments: {},
    };
  }

  add(fragment: string): void {
    this.#arguments += fragment;
  }

  end(status: EndStatus): void {
    const text = this.#arguments.toWellFormed();
    if (text.trim() !== '') this.item.arguments = parseArguments(text);
    this.item.status = status;
    const { output_index, emit } = this.#position;
    emit({ type: 'response.output_item.done', output_index, item: this.item });
  }
}

/** Returns the arguments as JSON or, if the model wrote no JSON, as text. */
function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
