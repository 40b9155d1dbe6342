import { arrayOf, object, oneOf } from '../schema.ts';
import { validate } from '../validation.ts';

/**
 * All values in the official client. Only the first two have an effect: the others concern item types that Lambent
 * doesn't have, or fields that are always returned.
 */
export const INCLUDES = [
  'reasoning.encrypted_content',
  'message.output_text.logprobs',
  'code_interpreter_call.outputs',
  'computer_call_output.output.image_url',
  'file_search_call.results',
  'message.input_image.image_url',
  'web_search_call.action.sources',
  'web_search_call.results',
] as const;

/** The optional fields of stored items that a caller asks for. */
export type Includes = ReadonlySet<(typeof INCLUDES)[number]>;

const includeQuery = object({ include: arrayOf(oneOf(INCLUDES), 'strings') });

/**
 * Parses `include` of a query string. Clients write lists as `include=a,b`, `include[]=a` or `include[0]=a`.
 * @throws LambentError `invalid_value` for values that OpenAI's API doesn't have
 */
export function parseIncludes(query: Readonly<Record<string, string>>): Includes {
  const include = Object.entries(query).flatMap(([name, text]) =>
    /^include(\[\d*\])?$/.test(name) && text !== '' ? text.split(',') : [],
  );
  return new Set(validate(includeQuery, { include }).include);
}

/** Returns an item without the optional fields that the caller didn't include. */
export function applyIncludes(item: Readonly<Record<string, unknown>>, included: Includes) {
  // A compaction item is nothing but its content.
  if (item['type'] !== 'reasoning' || !('encrypted_content' in item) || included.has('reasoning.encrypted_content'))
    return item;
  const { encrypted_content: _, ...visibleFields } = item;
  return visibleFields;
}
