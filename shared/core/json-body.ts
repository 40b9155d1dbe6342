import { LambentError } from './errors.ts';
import { isObject } from './objects.ts';

/**
 * The deepest nesting that a body may have. Far above any real request or schema, and far below the depth at which a
 * recursive function (ours, a provider's, JSON.stringify) exhausts the stack.
 */
const MAX_DEPTH = 256;

/** The body of an API Gateway event. */
export interface ProxyBody {
  readonly body: string | null;
  readonly isBase64Encoded: boolean;
}

/**
 * Parses the JSON body of an API Gateway event.
 * @throws LambentError `unsupported_media_type`; `invalid_json` if it isn't JSON or contains half of a surrogate pair,
 * which UTF-8 can't encode; `invalid_value` if it is nested deeper than 256 levels
 */
export function parseJsonBody(event: ProxyBody, contentType: string | undefined): unknown {
  if (contentType !== undefined && !/[/+]json\b/i.test(contentType)) {
    throw new LambentError(
      'unsupported_media_type',
      "Unsupported content type: send 'Content-Type: application/json'.",
    );
  }
  const text = readBodyText(event);
  if (text.trim() === '') throw new LambentError('invalid_json', 'The request has no body; it must be a JSON object.');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new LambentError('invalid_json', 'We could not parse the JSON body of your request.', { cause });
  }
  checkJson(body);
  return body;
}

/** Returns the text of a body, which is empty if there is none. */
export function readBodyText({ body, isBase64Encoded }: ProxyBody): string {
  return isBase64Encoded ? Buffer.from(body ?? '', 'base64').toString('utf8') : (body ?? '');
}

/** Checks the depth and the strings of a parsed value. `depth` is the number of arrays and objects around it. */
function checkJson(value: unknown, depth = 0): void {
  if (typeof value === 'string') checkText(value);
  if (typeof value !== 'object' || value === null) return;
  if (depth === MAX_DEPTH) {
    throw new LambentError(
      'invalid_value',
      `The request is nested too deeply: at most ${MAX_DEPTH} levels are accepted.`,
    );
  }
  if (Array.isArray(value)) for (const item of value) checkJson(item, depth + 1);
  if (!isObject(value)) return;
  for (const key in value) {
    checkText(key);
    checkJson(value[key], depth + 1);
  }
}

function checkText(text: string): void {
  if (text.isWellFormed()) return;
  throw new LambentError('invalid_json', 'The request contains half of a surrogate pair, which is not valid Unicode.');
}
