import type { GenerationEvent } from '../../generation.ts';
import { asCount, asObject, asText, type WireObject } from './wire.ts';

/** One call as it is put together from its fragments. */
interface OpenCall {
  /** Our own number: 0, 1, 2… whatever the upstream counts. */
  readonly index: number;
  readonly wireIndex: number | undefined;
  /** The upstream's id, where it has given one. */
  wireId: string | undefined;
  /** Undefined until the name is known: only then can the call be announced. */
  name: string | undefined;
  /** Arguments that came before the name. */
  pendingArguments: string;
  hasArguments: boolean;
}

/**
 * Puts together the tool calls of one answer. OpenAI numbers the fragments of a call; others send whole calls without
 * a number, give every call number 0, send no id, or send arguments as an object.
 */
export class ToolCallAssembler {
  readonly #calls: OpenCall[] = [];
  readonly #newId: () => string;

  /** @param newId makes an id for a call that the upstream gave none */
  constructor(newId: () => string) {
    this.#newId = newId;
  }

  /** Whether the answer calls any tool. */
  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  /** Takes one element of `tool_calls` and adds what it tells to `events`. */
  addFragment(fragment: WireObject, events: GenerationEvent[]): void {
    const wireIndex = asCount(fragment['index']);
    const wireId = asText(fragment['id']);
    // Some put name and arguments where OpenAI puts `function`.
    const definition = asObject(fragment['function']) ?? fragment;
    const name = asText(definition['name']);
    const text = toArgumentsText(definition['arguments']);
    if (wireIndex === undefined && wireId === undefined && name === undefined && text === '') return;

    const call = this.#continued(wireIndex, wireId, name) ?? this.#open(wireIndex);
    call.wireId ??= wireId;
    if (call.name === undefined) {
      call.pendingArguments += text;
      if (name !== undefined) this.#announce(call, name, events);
    } else {
      appendArguments(call, text, events);
    }
  }

  /**
   * Ends every call: one without arguments gets an empty object, since clients parse them as JSON.
   * @returns false when a call never got a name
   */
  finish(events: GenerationEvent[]): boolean {
    for (const call of this.#calls) {
      if (call.name === undefined) return false;
      if (!call.hasArguments) appendArguments(call, '{}', events);
    }
    return true;
  }

  /** The call that a fragment goes on with; undefined when it begins one. */
  #continued(
    wireIndex: number | undefined,
    wireId: string | undefined,
    name: string | undefined,
  ): OpenCall | undefined {
    const sameId = wireId === undefined ? undefined : this.#calls.find((call) => call.wireId === wireId);
    if (sameId) return sameId;
    if (wireIndex === undefined) {
      return name === undefined && wireId === undefined ? this.#calls.at(-1) : undefined;
    }
    const call = this.#calls.findLast((candidate) => candidate.wireIndex === wireIndex);
    // Some number every call 0: another id with a name of its own is another call. An id alone is not, because others
    // make up a new one for each fragment.
    const isAnother =
      name !== undefined && wireId !== undefined && call?.wireId !== undefined && call.name !== undefined;
    return isAnother ? undefined : call;
  }

  #open(wireIndex: number | undefined): OpenCall {
    const index = this.#calls.length;
    const call = { index, wireIndex, wireId: undefined, name: undefined, pendingArguments: '', hasArguments: false };
    this.#calls.push(call);
    return call;
  }

  #announce(call: OpenCall, name: string, events: GenerationEvent[]): void {
    call.name = name;
    events.push({ type: 'toolCall', index: call.index, id: call.wireId ?? this.#newId(), name });
    appendArguments(call, call.pendingArguments, events);
    call.pendingArguments = '';
  }
}

function appendArguments(call: OpenCall, fragment: string, events: GenerationEvent[]): void {
  if (fragment === '') return;
  call.hasArguments = true;
  events.push({ type: 'toolArguments', index: call.index, fragment });
}

function toArgumentsText(value: unknown): string {
  if (typeof value === 'string') return value;
  return asObject(value) ? JSON.stringify(value) : '';
}
