import { isObject } from '../../core/objects.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The fields that Lambent sets itself. */
interface Head {
  readonly id: string;
  readonly model: string;
}

/** Joins the chunks of a native answer into one completion, with every field that they have. */
export class NativeCompletion {
  #completion: Fields = {};

  /** Adds a chunk, or the completion of a call that isn't streamed. */
  add(chunk: Fields): void {
    this.#completion = chunk['object'] === 'chat.completion' ? chunk : join(this.#completion, toMessages(chunk));
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

/** Joins two objects: strings are concatenated, and list elements with the same `index` are joined. */
function join(first: Fields, second: Fields): Fields {
  const joined: Record<string, unknown> = { ...first };
  for (const [name, value] of Object.entries(second)) {
    const known = joined[name];
    if (known == null) joined[name] = Array.isArray(value) ? joinLists([], value) : value;
    else if (typeof known === 'string' && typeof value === 'string' && !WHOLE.has(name)) joined[name] = known + value;
    else if (Array.isArray(known) && Array.isArray(value)) joined[name] = joinLists(known, value);
    else if (isObject(known) && isObject(value)) joined[name] = join(known, value);
    else if (value != null) joined[name] = value;
  }
  return joined;
}

function joinLists(first: readonly unknown[], second: readonly unknown[]): unknown[] {
  const joined = [...first];
  for (const element of second) {
    const index = isObject(element) ? element['index'] : undefined;
    const at = index === undefined ? -1 : joined.findIndex((each) => isObject(each) && each['index'] === index);
    const known = joined[at];
    if (isObject(known) && isObject(element)) joined[at] = join(known, element);
    else joined.push(element);
  }
  return joined;
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
