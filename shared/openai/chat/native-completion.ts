import { isObject } from '../../core/objects.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The fields that Lambent sets itself. */
interface Head {
  readonly id: string;
  readonly model: string;
}

/** Joins the chunks of a native answer into one completion, with every field that they have. */
export class NativeCompletion {
  #completion: Record<string, unknown> = {};

  /** Adds a chunk, or the completion of a call that isn't streamed. */
  add(chunk: Fields): void {
    this.#completion =
      chunk['object'] === 'chat.completion' ? { ...chunk } : addFields(this.#completion, toMessages(chunk));
  }

  /** Returns the completion with the service's own id and name of the model. */
  toCompletion({ id, model }: Head): Fields {
    const { choices } = this.#completion;
    return {
      ...this.#completion,
      id,
      object: 'chat.completion',
      model,
      choices: Array.isArray(choices) ? choices.map(withoutCallIndexes) : [],
    };
  }
}

function toMessages(chunk: Fields): Fields {
  const { choices } = chunk;
  if (!Array.isArray(choices)) return chunk;
  return { ...chunk, choices: choices.map((choice) => (isObject(choice) ? toMessage(choice) : choice)) };
}

function toMessage({ delta, ...choice }: Fields): Fields {
  return delta === undefined ? choice : { ...choice, message: delta };
}

/** Fields whose strings are complete in each chunk. Other strings are pieces of a longer one. */
const WHOLE: ReadonlySet<string> = new Set([
  ...['id', 'object', 'model', 'system_fingerprint', 'service_tier', 'finish_reason', 'role', 'type'],
]);

/**
 * Adds the fields of a chunk to those of the chunks before it: strings are concatenated, and list elements with the same `index`
 * are joined. Changes `joined`, because copying it for each chunk takes time that grows with the square of their number.
 */
function addFields(joined: Record<string, unknown>, chunk: Fields): Record<string, unknown> {
  for (const [name, value] of Object.entries(chunk)) {
    const known = Object.hasOwn(joined, name) ? joined[name] : undefined;
    if (known == null) define(joined, name, copy(value));
    else if (typeof known === 'string' && typeof value === 'string' && !WHOLE.has(name)) joined[name] = known + value;
    else if (Array.isArray(known) && Array.isArray(value)) addElements(known, value);
    else if (isObject(known) && isObject(value)) addFields(known, value);
    else if (value != null) define(joined, name, copy(value));
  }
  return joined;
}

function addElements(joined: unknown[], elements: readonly unknown[]): unknown[] {
  for (const element of elements) {
    const index = isObject(element) ? element['index'] : undefined;
    const known = index === undefined ? undefined : joined.find((each) => isObject(each) && each['index'] === index);
    if (isObject(known) && isObject(element)) addFields(known, element);
    else joined.push(copy(element));
  }
  return joined;
}

/** Returns a copy that may be changed: the chunk itself is passed on. */
function copy(value: unknown): unknown {
  if (Array.isArray(value)) return addElements([], value);
  return isObject(value) ? addFields({}, value) : value;
}

/** Sets a field of any name. An assignment to `__proto__` would set the prototype. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, configurable: true, enumerable: true, writable: true });
}

/** Returns a choice without the numbers of its calls, which only the chunks of a stream have. */
function withoutCallIndexes(choice: unknown): unknown {
  if (!isObject(choice) || !isObject(choice['message'])) return choice;
  const { message } = choice;
  const calls = message['tool_calls'];
  if (!Array.isArray(calls)) return choice;
  const unnumbered = calls.map((call) => {
    const { index: _, ...rest } = Object(call);
    return rest;
  });
  return { ...choice, message: { ...message, tool_calls: unnumbered } };
}
