import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { formatPath } from '../core/format-path.ts';
import { isObject } from '../core/objects.ts';

/**
 * Returns `input` as the schema's type, without fields that the schema doesn't have. Errors use OpenAI's wording and name
 * the first fault only, in the order of the schema.
 * @throws LambentError `invalid_type`, `invalid_value`, `missing_required_parameter`, `unsupported_parameter` or
 * `unsupported_value`, with the field's path as its `param`
 */
export function validate<T extends v.GenericSchema>(schema: T, input: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, input, { abortEarly: true });
  if (result.success) return result.output;
  throw toError(result.issues[0]);
}

function toError(issue: v.BaseIssue<unknown>): LambentError {
  const param = abbreviate(formatPath(issue.path));
  const createError = (code: LambentError['code'], message: string) =>
    new LambentError(code, message, param === '' ? {} : { param });

  if (issue.type === 'object' && issue.path?.at(-1)?.origin === 'key') return missingParameterError(param);
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

/** Number of paths of unknown fields that are listed. More would say no more to a caller. */
const MAX_UNKNOWN_FIELDS = 50;

/**
 * Lists the paths of the fields that `validate` dropped from `input`, each once: `messages[].mood`. A field that is null
 * counts as absent.
 */
export function listUnknownFields(input: unknown, output: unknown): string[] {
  const paths = new Set<string>();
  collectUnknownFields(input, output, '', paths);
  return [...paths];
}

/** Recurses only into values that a schema copied, so its depth is that of the schema and not of the caller's JSON. */
function collectUnknownFields(input: unknown, output: unknown, path: string, paths: Set<string>): void {
  if (input === output || paths.size >= MAX_UNKNOWN_FIELDS) return;
  if (Array.isArray(input) && Array.isArray(output)) {
    const itemPath = `${path}[]`;
    for (const [index, item] of input.entries()) collectUnknownFields(item, output[index], itemPath, paths);
    return;
  }
  if (!isObject(input) || !isObject(output)) return;
  for (const key in input) {
    const value = input[key];
    // Most fields are the same strings: their paths aren't needed.
    if (value === output[key]) continue;
    const keyPath = path === '' ? key : `${path}.${key}`;
    const kept = Object.hasOwn(output, key) ? output[key] : undefined;
    if (kept !== undefined) collectUnknownFields(value, kept, keyPath, paths);
    else if (value !== null && paths.size < MAX_UNKNOWN_FIELDS) paths.add(keyPath);
  }
}

/** Returns the error for a missing required field. */
export function missingParameterError(param: string): LambentError {
  return new LambentError('missing_required_parameter', `Missing required parameter: '${param}'.`, { param });
}

/** Returns the error for a value that a schema alone can't reject. */
export function invalidValueError(param: string, message: string): LambentError {
  return new LambentError('invalid_value', message, { param });
}

/** Returns the error for a value of OpenAI's API that isn't supported. In the message, `reason` follows the field's name. */
export function unsupportedValueError(param: string, reason: string): LambentError {
  return new LambentError('unsupported_value', `Unsupported value: '${param}' ${reason}`, { param });
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

/** Shortens the caller's text, which may have megabytes, for an error message. */
export function abbreviate(text: string): string {
  return text.length <= MAX_QUOTE ? text : `${text.slice(0, MAX_QUOTE)}…`.toWellFormed();
}

const MAX_QUOTE = 200;
