import { runInNewContext } from 'node:vm';
import { Validator } from '@cfworker/json-schema';
import type { JsonSchema, UnenforcedSchemas } from './adapt-request.ts';
import type { FinishReason, GenerationEvent } from './generation.ts';

/** Limit of all checks of one answer. A caller's pattern may take exponential time. */
const MAX_CHECK_MS = 250;

const UNENFORCED = "The model doesn't enforce strict schemas.";
const UNFORCED = "This model can't be forced to call a tool.";

/** Collects the parts of an answer that have schemas while its events pass. */
export class StrictCheck {
  readonly #schemas: UnenforcedSchemas;
  #text = '';
  readonly #calls: { readonly name: string; arguments: string }[] = [];

  constructor(schemas: UnenforcedSchemas) {
    this.#schemas = schemas;
  }

  add(event: GenerationEvent): void {
    if (event.type === 'text' && this.#schemas.format !== undefined) this.#text += event.text;
    if (event.type === 'toolCall') this.#calls[event.index] = { name: event.name, arguments: '' };
    if (event.type !== 'toolArguments') return;
    const call = this.#calls[event.index];
    if (call !== undefined) call.arguments += event.fragment;
  }

  /**
   * Describes the first part that is missing or doesn't match its schema, without its content. Undefined if all parts match,
   * and for an answer that was cut or refused, which OpenAI's API doesn't guarantee to match either.
   */
  findViolation(reason: FinishReason): string | undefined {
    if (reason === 'length' || reason === 'contentFilter') return undefined;
    const { format, tools, call } = this.#schemas;
    if (call === 'required' && this.#calls.length === 0) return `The answer calls no tool. ${UNFORCED}`;
    if (typeof call === 'object' && !this.#calls.some(({ name }) => name === call.name))
      return `The answer doesn't call the tool ${call.name}. ${UNFORCED}`;
    const endAt = performance.now() + MAX_CHECK_MS;
    for (const { name, arguments: text } of this.#calls) {
      const schema = tools.get(name);
      if (schema !== undefined && !matches(text === '' ? '{}' : text, schema, endAt))
        return `The arguments of a call of the tool ${name} don't match its schema. ${UNENFORCED}`;
    }
    if (format === undefined || this.#calls.length > 0 || this.#text === '') return undefined;
    if (matches(this.#text, format, endAt)) return undefined;
    return `The answer doesn't match the schema of the output format. ${UNENFORCED}`;
  }
}

/**
 * Returns whether a text is JSON that matches a schema. True if the schema itself can't be used or takes too long.
 * @param endAt time of `performance.now()` at which the check ends
 */
function matches(text: string, schema: JsonSchema, endAt: number): boolean {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return false;
  }
  const timeout = Math.ceil(endAt - performance.now());
  if (timeout <= 0) return true;
  try {
    const validate = () => new Validator(schema, '2020-12', true).validate(value).valid;
    // The timeout of a context also stops functions from outside that it calls.
    return runInNewContext('validate()', { validate }, { timeout }) === true;
  } catch {
    return true;
  }
}
