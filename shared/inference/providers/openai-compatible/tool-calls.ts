import { isObject, omitUndefined } from '../../../core/objects.ts';
import { CUSTOM_INPUT_FRAME, escapeCustomInput } from '../../custom-input.ts';
import type { GenerationEvent } from '../../generation.ts';
import { createContinuation } from './reasoning.ts';
import { asCount, asObject, asText, type WireObject } from './wire.ts';

/** Options of `ToolCallAssembler` and of the reader that has one. */
export interface AnswerOptions {
  /** Fingerprint of the target, for continuations of its reasoning. */
  readonly upstream: string;
  /** Creates ids for tool calls without one. */
  readonly newId: () => string;
  /** Names of the request's tools. */
  readonly tools: ReadonlySet<string>;
}

/** One element of `tool_calls`. */
interface Fragment {
  readonly index: number | undefined;
  readonly id: string | undefined;
  readonly name: string | undefined;
  /** A piece of the arguments. */
  readonly text: string;
  /** True for a call of a custom tool, whose text becomes the only argument. */
  readonly isCustom: boolean;
  readonly signature: string | undefined;
}

/** A tool call that is assembled from fragments. */
interface OpenCall {
  readonly wireIndex: number | undefined;
  /** The upstream's id, if it has sent one. */
  wireId: string | undefined;
  /** What has arrived of the name. */
  name: string;
  /** What has arrived of the arguments. */
  arguments: string;
  /**
   * What no event has passed on yet. A piece cut from `arguments` would keep all of its text in memory, once for each
   * piece.
   */
  unsent: string;
  /** The last character of `arguments` that is no space. Reading it from there would copy all of them each time. */
  last: string;
  /**
   * Number of the call among the answer's `toolCall` events (0, 1, 2…), independent of the upstream's number. Undefined
   * until the call's name is complete, which the event needs.
   */
  index: number | undefined;
  isCustom: boolean;
  /** The thought signature, which Gemini sends with the first call of a turn. */
  signature: string | undefined;
  /** True if the name came once more after the arguments: another call of the tool may follow, or nothing. */
  mayRestart: boolean;
}

/**
 * Assembles the tool calls of one answer. OpenAI numbers the fragments of a call. Other upstreams send complete calls
 * without a number, give every call the number 0 or every fragment another one, send no id or the same one for several calls, split
 * or repeat names, send arguments as an object, or repeat complete calls at the end.
 */
export class ToolCallAssembler {
  readonly #calls: OpenCall[] = [];
  readonly #ids = new Set<string>();
  readonly #tools: ReadonlySet<string>;
  readonly #newId: () => string;
  readonly #upstream: string;
  #started = 0;

  /**
   * @param options `newId` creates an id for a call without one; `tools` are the names of the request's tools, by which a
   * complete name is recognized; `upstream` is the target's fingerprint, for continuations
   */
  constructor({ newId, tools, upstream }: AnswerOptions) {
    this.#newId = newId;
    this.#tools = tools;
    this.#upstream = upstream;
  }

  /** True if the answer calls a tool. */
  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  /** True if the arguments of every call are a complete JSON object, or absent. */
  get areWhole(): boolean {
    return this.#calls.every((call) => call.isCustom || call.last === '' || hasWholeArguments(call));
  }

  /** Adds one element of a delta's `tool_calls`, and appends its events to `events`. */
  addFragment(element: WireObject, events: GenerationEvent[]): void {
    const fragment = readFragment(element);
    if (fragment === undefined) return;
    const known = this.#findCall(fragment);
    if (known?.mayRestart && restarts(known, fragment)) this.#openCall({ ...fragment, name: known.name }, events);
    else if (known === undefined || this.#beginsAnother(known, fragment)) this.#openCall(fragment, events);
    else if (!isRepetition(known, fragment)) this.#continueCall(known, fragment, events);
  }

  /** Adds one element of a complete message's `tool_calls`. Each is a call of its own. */
  addCall(element: WireObject, events: GenerationEvent[]): void {
    const fragment = readFragment(element);
    if (fragment !== undefined) this.#openCall(fragment, events);
  }

  /**
   * Ends all calls. A call without arguments gets an empty object, because clients parse arguments as JSON.
   * @returns false if a call has no name
   */
  finish(events: GenerationEvent[]): boolean {
    for (const call of this.#calls) {
      if (call.name === '') return false;
      this.#announce(call, events);
      if (call.isCustom) appendArguments(call, CUSTOM_INPUT_FRAME[1]);
      else if (call.last === '') appendArguments(call, '{}');
      sendArguments(call, events);
    }
    return true;
  }

  /** Returns the call that a fragment may continue. */
  #findCall({ index, id, name }: Fragment): OpenCall | undefined {
    const sameId = id === undefined ? [] : this.#calls.filter((call) => call.wireId === id);
    if (sameId.length > 0) return sameId.findLast((call) => call.wireIndex === index) ?? sameId.at(-1);
    const last = this.#calls.at(-1);
    if (index !== undefined) {
      const sameIndex = this.#calls.findLast((call) => call.wireIndex === index);
      if (sameIndex !== undefined) return sameIndex;
      // Some upstreams count fragments instead of calls.
      return name === undefined && id === undefined && last && last.name !== '' && isOpen(last) ? last : undefined;
    }
    if (id === undefined) return last;
    // A new id without a name: some upstreams create an id for each fragment.
    return name === undefined && last && isOpen(last) ? last : undefined;
  }

  #beginsAnother(call: OpenCall, fragment: Fragment): boolean {
    const { index, id, name, text } = fragment;
    if (name === undefined || call.name === '') return false;
    // A new id alone begins no call, because some upstreams create a new id for each fragment.
    if (id !== undefined && call.wireId !== undefined && id !== call.wireId) return true;
    const hasOtherIndex = index !== undefined && call.wireIndex !== undefined && index !== call.wireIndex;
    if (call.arguments === '')
      return hasOtherIndex || (name !== call.name && this.#tools.has(call.name) && this.#tools.has(name));
    if (!hasWholeArguments(call)) return name !== call.name;
    if (name !== call.name || hasOtherIndex) return true;
    return text !== '' && !isRepetition(call, fragment);
  }

  #openCall(fragment: Fragment, events: GenerationEvent[]): void {
    // The name of a call that has the same number is complete now.
    for (const call of this.#calls)
      if (call.wireIndex === fragment.index && call.name !== '') this.#announce(call, events);
    const call: OpenCall = {
      wireIndex: fragment.index,
      wireId: undefined,
      name: '',
      arguments: '',
      unsent: '',
      last: '',
      index: undefined,
      isCustom: false,
      signature: undefined,
      mayRestart: false,
    };
    this.#calls.push(call);
    this.#continueCall(call, fragment, events);
  }

  #continueCall(call: OpenCall, { id, name, text, isCustom, signature }: Fragment, events: GenerationEvent[]): void {
    call.wireId ??= id;
    call.signature ??= signature;
    if (isCustom && !call.isCustom) replaceArguments(call, CUSTOM_INPUT_FRAME[0]);
    call.isCustom ||= isCustom;
    call.mayRestart = name !== undefined && name === call.name && text === '';
    if (name !== undefined && call.index === undefined) call.name = this.#joinName(call.name, name);
    // Some proxies begin with an empty object, and send the arguments after it.
    const replacesEmpty = isHeldBack(call) && text.trimStart().startsWith('{');
    if (replacesEmpty) replaceArguments(call, text);
    else appendArguments(call, text);
    if (call.name === '') return;
    if (call.arguments !== '' || this.#isCompleteName(call.name)) this.#announce(call, events);
    if (call.index !== undefined && !isHeldBack(call)) sendArguments(call, events);
  }

  /** Joins the pieces of a name. A piece that repeats the earlier ones replaces them. */
  #joinName(sofar: string, piece: string): string {
    return piece.startsWith(sofar) && !this.#tools.has(sofar + piece) ? piece : sofar + piece;
  }

  #isCompleteName(name: string): boolean {
    return this.#tools.has(name) && ![...this.#tools].some((other) => other !== name && other.startsWith(name));
  }

  #announce(call: OpenCall, events: GenerationEvent[]): void {
    if (call.index !== undefined) return;
    call.index = this.#started++;
    const id = call.wireId === undefined || this.#ids.has(call.wireId) ? this.#newId() : call.wireId;
    this.#ids.add(id);
    const { signature } = call;
    if (signature !== undefined) {
      const details = [{ thought_signature: signature }];
      const continuation = createContinuation({ place: 'thought_signature', details }, this.#upstream);
      events.push({ type: 'reasoningEnd', continuation });
    }
    events.push({ type: 'toolCall', index: call.index, id, name: call.name, ...omitUndefined({ signature }) });
  }
}

function readFragment(element: WireObject): Fragment | undefined {
  const index = asCount(element['index']);
  const id = asText(element['id']);
  // Some upstreams put name and arguments beside `id` instead of into `function`.
  const custom = asObject(element['custom']);
  const definition = custom ?? asObject(element['function']) ?? element;
  const name = asText(definition['name']);
  const text = custom ? escapeCustomInput(asText(custom['input']) ?? '') : toArgumentsText(definition['arguments']);
  const isEmpty = index === undefined && id === undefined && name === undefined && text === '';
  // https://ai.google.dev/gemini-api/docs/thought-signatures#openai
  const signature = asText(asObject(asObject(element['extra_content'])?.['google'])?.['thought_signature']);
  return isEmpty ? undefined : { index, id, name, text, isCustom: custom !== undefined, signature };
}

/** True if the fragment is the complete call once more. Without an id, it could also be a second, equal call. */
function isRepetition(call: OpenCall, { id, name, text }: Fragment): boolean {
  return id !== undefined && id === call.wireId && name === call.name && text === call.arguments && isWhole(text);
}

/** True if arguments follow the arguments of a complete call. */
function restarts(call: OpenCall, { name, text }: Fragment): boolean {
  return name === undefined && text.trim() !== '' && hasWholeArguments(call);
}

/** True for an empty object of which no event has been sent: arguments may follow that replace it. */
function isHeldBack(call: OpenCall): boolean {
  const { length } = call.arguments;
  return length < 8 && call.unsent.length === length && call.arguments.trim() === '{}';
}

/** True if more arguments may follow. */
function isOpen(call: OpenCall): boolean {
  return isHeldBack(call) || !hasWholeArguments(call);
}

function appendArguments(call: OpenCall, text: string): void {
  call.arguments += text;
  call.unsent += text;
  call.last = text.trimEnd().at(-1) ?? call.last;
}

/** Replaces arguments of which no event has been sent. */
function replaceArguments(call: OpenCall, text: string): void {
  Object.assign(call, { arguments: '', unsent: '', last: '' });
  appendArguments(call, text);
}

function sendArguments(call: OpenCall, events: GenerationEvent[]): void {
  if (call.unsent === '' || call.index === undefined) return;
  events.push({ type: 'toolArguments', index: call.index, fragment: call.unsent });
  call.unsent = '';
}

function hasWholeArguments(call: OpenCall): boolean {
  return call.last === '}' && isWhole(call.arguments);
}

/** True if the text is a complete JSON object. */
function isWhole(text: string): boolean {
  if (!text.trimEnd().endsWith('}')) return false;
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

function toArgumentsText(value: unknown): string {
  if (typeof value === 'string') return value;
  return isObject(value) ? JSON.stringify(value) : '';
}
