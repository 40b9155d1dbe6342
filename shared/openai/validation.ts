import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';

/**
 * Returns `input` as the schema's type. Errors use OpenAI's wording and name the first fault only: known fields in the
 * order of the schema, then unknown ones.
 * @throws LambentError `invalid_type`, `invalid_value`, `missing_required_parameter`, `unknown_parameter`,
 * `unsupported_parameter` or `unsupported_value`, with the field's path as its `param`
 */
export function validate<T extends v.GenericSchema>(schema: T, input: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, input, { abortEarly: true });
  if (result.success) return result.output;
  throw toError(result.issues[0]);
}

function toError(issue: v.BaseIssue<unknown>): LambentError {
  const param = formatPath(issue.path);
  const createError = (code: LambentError['code'], message: string) =>
    new LambentError(code, message, param === '' ? {} : { param });

  if (issue.type === 'strict_object' && issue.path?.at(-1)?.origin === 'key') {
    if (issue.expected === 'never') return createError('unknown_parameter', `Unknown parameter: '${param}'.`);
    return missingParameterError(param);
  }
  if (issue.kind === 'validation') {
    // Only unsupported values are rejected by a `check`.
    return issue.type === 'check'
      ? createError('unsupported_value', `Unsupported value: '${param}' ${issue.message}`)
      : createError('invalid_value', `Invalid '${param}': ${issue.message}`);
  }
  if (issue.input === undefined) return missingParameterError(param);
  if (issue.type === 'never')
    return createError('unsupported_parameter', `Unsupported parameter: '${param}' ${issue.message}`);
  if (issue.type === 'picklist' && typeof issue.input === 'string') {
    return createError(
      'invalid_value',
      `Invalid value: '${abbreviate(issue.input)}'. Supported values are: ${issue.message}.`,
    );
  }
  const expected = issue.type === 'picklist' ? 'a string' : issue.message;
  return createError(
    'invalid_type',
    `Invalid type for ${param === '' ? 'the body' : `'${param}'`}: expected ${expected}, but got ${describeJsonType(issue.input)} instead.`,
  );
}

/** Returns the error for a missing required field. */
export function missingParameterError(param: string): LambentError {
  return new LambentError('missing_required_parameter', `Missing required parameter: '${param}'.`, { param });
}

/** Returns the error for a value that a schema alone can't reject. */
export function invalidValueError(param: string, message: string): LambentError {
  return new LambentError('invalid_value', message, { param });
}

/** Returns the JSON type of `input` in OpenAI's wording ("an integer"). */
export function describeJsonType(input: unknown): string {
  if (input === null) return 'null';
  if (Array.isArray(input)) return 'an array';
  switch (typeof input) {
    case 'number':
      return Number.isInteger(input) ? 'an integer' : 'a decimal';
    case 'object':
      return 'an object';
    default:
      return `a ${typeof input}`;
  }
}

/** Formats a path as OpenAI does: `messages[0].content`. */
function formatPath(path: v.BaseIssue<unknown>['path']): string {
  let text = '';
  for (const { key } of path ?? []) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += text === '' ? String(key) : `.${String(key)}`;
  }
  return abbreviate(text);
}

/** Shortens the caller's text, which may have megabytes, for an error message. */
function abbreviate(text: string): string {
  return text.length <= MAX_QUOTE ? text : `${text.slice(0, MAX_QUOTE)}…`.toWellFormed();
}

const MAX_QUOTE = 200;
