import * as v from 'valibot';
import { type ErrorCode, LambentError } from '../core/errors.ts';

/**
 * Returns `input` as the schema's type. Errors use Anthropic's wording and name the first fault.
 * @throws LambentError `invalid_value` or `missing_required_parameter`, with the field's path as its `param`
 */
export function validate<T extends v.GenericSchema>(schema: T, input: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, input, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const isMissing = issue.input === undefined && issue.kind === 'schema';
  const path = (issue.path ?? []).map(({ key }) => String(key)).join('.');
  throw invalidRequestError(
    abbreviate(path),
    isMissing ? 'Field required' : issue.message,
    isMissing ? 'missing_required_parameter' : 'invalid_value',
  );
}

/**
 * Returns the error for a parameter, in Anthropic's wording.
 * @param param the path of the parameter, such as `messages.0.content.1`; empty for the whole body
 */
export function invalidRequestError(param: string, reason: string, code: ErrorCode = 'invalid_value'): LambentError {
  return param === '' ? new LambentError(code, reason) : new LambentError(code, `${param}: ${reason}`, { param });
}

/** Shortens the caller's text, which may have megabytes, for an error message. */
export function abbreviate(text: string): string {
  return text.length <= MAX_QUOTE ? text : `${text.slice(0, MAX_QUOTE)}…`.toWellFormed();
}

const MAX_QUOTE = 200;
