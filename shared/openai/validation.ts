import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';

/**
 * Validates `input` and says what is wrong with it in OpenAI's words. Only the first fault is told: in the order of
 * the schema's fields, then unknown ones.
 * @throws LambentError `invalid_type`, `invalid_value`, `missing_required_parameter`, `unknown_parameter`,
 * `unsupported_parameter` or `unsupported_value`, with the field's path as its `param`
 */
export function validate<T extends v.GenericSchema>(schema: T, input: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, input, { abortEarly: true });
  if (result.success) return result.output;
  throw faultOf(result.issues[0]);
}

function faultOf(issue: v.BaseIssue<unknown>): LambentError {
  const param = pathOf(issue.path);
  const fault = (code: LambentError['code'], message: string) =>
    new LambentError(code, message, param === '' ? {} : { param });

  if (issue.type === 'strict_object' && issue.path?.at(-1)?.origin === 'key') {
    if (issue.expected === 'never') return fault('unknown_parameter', `Unknown parameter: '${param}'.`);
    return missingParameterError(param);
  }
  if (issue.kind === 'validation') {
    return issue.type === 'check'
      ? fault('unsupported_value', `Unsupported value: '${param}' ${issue.message}`)
      : fault('invalid_value', `Invalid '${param}': ${issue.message}`);
  }
  if (issue.input === undefined) return missingParameterError(param);
  if (issue.type === 'never')
    return fault('unsupported_parameter', `Unsupported parameter: '${param}' ${issue.message}`);
  if (issue.type === 'picklist' && typeof issue.input === 'string') {
    return fault('invalid_value', `Invalid value: '${short(issue.input)}'. Supported values are: ${issue.message}.`);
  }
  const expected = issue.type === 'picklist' ? 'a string' : issue.message;
  return fault(
    'invalid_type',
    `Invalid type for ${param === '' ? 'the body' : `'${param}'`}: expected ${expected}, but got ${describeJsonType(issue.input)} instead.`,
  );
}

/** The error for a required field that is not there. */
export function missingParameterError(param: string): LambentError {
  return new LambentError('missing_required_parameter', `Missing required parameter: '${param}'.`, { param });
}

/** The error for a value that no schema could refuse by itself. */
export function invalidValueError(param: string, message: string): LambentError {
  return new LambentError('invalid_value', message, { param });
}

/** What JSON value it is, in OpenAI's words. */
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

/** `messages[0].content`, as OpenAI writes it. */
function pathOf(path: v.BaseIssue<unknown>['path']): string {
  let text = '';
  for (const { key } of path ?? []) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += text === '' ? String(key) : `.${String(key)}`;
  }
  return short(text);
}

/** A caller's own words are quoted only so far: they may be megabytes. */
function short(text: string): string {
  return text.length <= MAX_QUOTE ? text : `${text.slice(0, MAX_QUOTE)}…`.toWellFormed();
}

const MAX_QUOTE = 200;
