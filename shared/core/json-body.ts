import { LambentError } from './errors.ts';

/**
 * The deepest nesting that a body may have. Far above any real request or schema, and far below the depth at which a
 * recursive function (ours, a provider's, JSON.stringify) exhausts the stack.
 */
const MAX_DEPTH = 256;

/**
 * Parses the JSON body of an API Gateway event.
 * @throws LambentError `unsupported_media_type`; `invalid_json` if it isn't JSON or contains half of a surrogate pair,
 * which UTF-8 can't encode; `invalid_value` if it is nested deeper than 256 levels
 */
export function parseJsonBody(
  event: { readonly body: string | null; readonly isBase64Encoded: boolean },
  contentType: string | undefined,
): unknown {
  if (contentType !== undefined && !/[/+]json\b/i.test(contentType)) {
    throw new LambentError(
      'unsupported_media_type',
      "Unsupported content type: send 'Content-Type: application/json'.",
    );
  }
  const text = event.isBase64Encoded ? Buffer.from(event.body ?? '', 'base64').toString('utf8') : (event.body ?? '');
  if (text.trim() === '') throw new LambentError('invalid_json', 'The request has no body; it must be a JSON object.');
  if (measureDepth(text) > MAX_DEPTH) {
    throw new LambentError(
      'invalid_value',
      `The request is nested too deeply: at most ${MAX_DEPTH} levels are accepted.`,
    );
  }
  let body: unknown;
  try {
    body = JSON.parse(text, hasSurrogateEscape(text) ? rejectLoneSurrogates : undefined);
  } catch (cause) {
    if (cause instanceof LambentError) throw cause;
    throw new LambentError('invalid_json', 'We could not parse the JSON body of your request.', { cause });
  }
  return body;
}

/** Returns the deepest nesting of brackets outside strings. Works for any text, JSON or not. */
function measureDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) index = findStringEnd(text, index);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
  }
  return deepest;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Returns the index of the quote that ends the string which begins at `start`. Skips from quote to quote. */
function findStringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

/**
 * True if the text contains the escape of a surrogate. A lone surrogate can't come from anything else, because API
 * Gateway passes on decoded, well-formed text.
 */
function hasSurrogateEscape(text: string): boolean {
  return /\\u[dD][89a-fA-F]/.test(text);
}

function rejectLoneSurrogates(key: string, value: unknown): unknown {
  if (!key.isWellFormed() || (typeof value === 'string' && !value.isWellFormed())) {
    throw new LambentError(
      'invalid_json',
      'The request contains half of a surrogate pair, which is not valid Unicode.',
    );
  }
  return value;
}
