import { CUSTOM_INPUT_FRAME, escapeCustomInput } from '../../custom-input.ts';
import type { GenerationEvent } from '../../generation.ts';
import { asCount, asObject, asText, type WireObject } from './wire.ts';

/** A tool call that is assembled from fragments. */
interface OpenCall {
  readonly wireIndex: number | undefined;
  /** The upstream's id, if it has sent one. */
  wireId: string | undefined;
  /**
   * Number of the call among the answer's `toolCall` events (0, 1, 2…), independent of the upstream's number. Undefined
   * until the upstream sends the call's name, which the event needs.
   */
  index: number | undefined;
  /** Arguments that arrived before the name. */
  pendingArguments: string;
  hasArguments: boolean;
  /** True for a call of a custom tool, whose text becomes the only argument. */
  isCustom: boolean;
}

/**
 * Assembles the tool calls of one answer. OpenAI numbers the fragments of a call. Other upstreams send complete calls
 * without a number, number every call 0, send no id, or send arguments as an object.
 */
export class ToolCallAssembler {
  readonly #calls: OpenCall[] = [];
  #started = 0;
  readonly #newId: () => string;

  /** @param newId creates an id for a call without one */
  constructor(newId: () => string) {
    this.#newId = newId;
  }

  /** True if the answer calls a tool. */
  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  /** Adds one element of `tool_calls`, and appends its events to `events`. */
  addFragment(fragment: WireObject, events: GenerationEvent[]): void {
    const wireIndex = asCount(fragment['index']);
    const wireId = asText(fragment['id']);
    // Some upstreams put name and arguments beside `id` instead of into `function`.
    const custom = asObject(fragment['custom']);
    const definition = custom ?? asObject(fragment['function']) ?? fragment;
    const name = asText(definition['name']);
    const text = custom ? escapeCustomInput(asText(custom['input']) ?? '') : toArgumentsText(definition['arguments']);
    if (wireIndex === undefined && wireId === undefined && name === undefined && text === '') return;

    const call = this.#findCall(wireIndex, wireId, name) ?? this.#openCall(wireIndex);
    call.wireId ??= wireId;
    if (custom && !call.isCustom) {
      call.isCustom = true;
      call.pendingArguments = CUSTOM_INPUT_FRAME[0];
    }
    if (call.index !== undefined) {
      appendArguments(call, call.index, text, events);
      return;
    }
    call.pendingArguments += text;
    if (name !== undefined) this.#emitStart(call, name, events);
  }

  /**
   * Ends all calls. A call without arguments gets an empty object, because clients parse arguments as JSON.
   * @returns false if a call has no name
   */
  finish(events: GenerationEvent[]): boolean {
    for (const call of this.#calls) {
      if (call.index === undefined) return false;
      if (call.isCustom) appendArguments(call, call.index, CUSTOM_INPUT_FRAME[1], events);
      if (!call.hasArguments) appendArguments(call, call.index, '{}', events);
    }
    return true;
  }

  /** Returns the call that a fragment continues; undefined if it begins a new call. */
  #findCall(wireIndex: number | undefined, wireId: string | undefined, name: string | undefined): OpenCall | undefined {
    const sameId = wireId === undefined ? undefined : this.#calls.find((call) => call.wireId === wireId);
    if (sameId) return sameId;
    if (wireIndex === undefined) {
      return name === undefined && wireId === undefined ? this.#calls.at(-1) : undefined;
    }
    const call = this.#calls.findLast((candidate) => candidate.wireIndex === wireIndex);
    // Some upstreams number every call 0: a new id together with a name begins a new call. A new id alone doesn't,
    // because others create a new id for each fragment.
    const isAnother =
      name !== undefined && wireId !== undefined && call?.wireId !== undefined && call.index !== undefined;
    return isAnother ? undefined : call;
  }

  #openCall(wireIndex: number | undefined): OpenCall {
    const call = {
      wireIndex,
      wireId: undefined,
      index: undefined,
      pendingArguments: '',
      hasArguments: false,
      isCustom: false,
    };
    this.#calls.push(call);
    return call;
  }

  #emitStart(call: OpenCall, name: string, events: GenerationEvent[]): void {
    const index = this.#started++;
    call.index = index;
    events.push({ type: 'toolCall', index, id: call.wireId ?? this.#newId(), name });
    appendArguments(call, index, call.pendingArguments, events);
    call.pendingArguments = '';
  }
}

function appendArguments(call: OpenCall, index: number, fragment: string, events: GenerationEvent[]): void {
  if (fragment === '') return;
  call.hasArguments = true;
  events.push({ type: 'toolArguments', index, fragment });
}

function toArgumentsText(value: unknown): string {
  if (typeof value === 'string') return value;
  return asObject(value) ? JSON.stringify(value) : '';
}
