import { arrayOf, object, oneOf } from '../schema.ts';
import { validate } from '../validation.ts';

/** What a request's `include` may ask for. */
export const SUPPORTED_INCLUDES = ['reasoning.encrypted_content', 'message.output_text.logprobs'] as const;

/** All that the official client knows. The others are about items that are not here, or about what is shown anyway. */
export const INCLUDES = [
  ...SUPPORTED_INCLUDES,
  'code_interpreter_call.outputs',
  'computer_call_output.output.image_url',
  'file_search_call.results',
  'message.input_image.image_url',
  'web_search_call.action.sources',
  'web_search_call.results',
] as const;

/** What a caller asks to see of what is stored. */
export type Includes = ReadonlySet<(typeof INCLUDES)[number]>;

const asked = object({ include: arrayOf(oneOf(INCLUDES), 'strings') });

/**
 * Reads `include` of a query, in any of the ways in which clients write lists.
 * @throws LambentError `invalid_value` for what no version of the API knows
 */
export function parseIncludes(query: Readonly<Record<string, string>>): Includes {
  const include = Object.entries(query).flatMap(([name, text]) =>
    /^include(\[\d*\])?$/.test(name) && text !== '' ? text.split(',') : [],
  );
  return new Set(validate(asked, { include }).include);
}
