import type { IncomingHttpHeaders } from 'node:http';
import type { ErrorCode } from '../../../core/errors.ts';
import { isObject, omitUndefined } from '../../../core/objects.ts';
import { boundErrorText, type Recovery, UpstreamError } from '../../model.ts';
import { parseDuration, parseRetryAfter } from './retry-after.ts';
import { asText as asAnyText, asCount, asObject, asObjects, type WireObject } from './wire.ts';

/** An upstream's error, parsed from whichever format it uses. */
export interface WireError {
  /** HTTP status of the response; for an error inside a 200 response, the status that it stands for. */
  readonly status: number;
  /** The upstream's message; undefined if the body is not an error object (an HTML page, an empty body). */
  readonly message: string | undefined;
  /** All codes, types and status names in the error. */
  readonly codes: readonly string[];
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;
}

/**
 * Parses a response whose status is not 2xx.
 * @param now epoch milliseconds
 */
export function parseErrorResponse(status: number, headers: IncomingHttpHeaders, body: string, now: number): WireError {
  const error = parseErrorObject(parseJson(body));
  return { ...error, status, retryAfterMs: parseRetryAfter(status, headers, now) ?? error.retryAfterMs };
}

/**
 * Finds an error in a stream's chunk, or in a body with status 200.
 * @returns undefined if the chunk is not an error
 */
export function findInBandError(chunk: WireObject, eventName?: string): WireError | undefined {
  const choices = asObjects(chunk['choices']);
  const inChoice = asObject(choices[0]?.['error']);
  const isError =
    eventName === 'error' ||
    Boolean(chunk['error']) ||
    inChoice !== undefined ||
    chunk['object'] === 'error' ||
    (choices.length === 0 && hasErrorText(chunk));
  if (!isError) return undefined;
  const error = parseErrorObject(inChoice ?? chunk);
  return { ...error, status: error.status || inferStatus(error.codes) };
}

function hasErrorText(chunk: WireObject): boolean {
  const texts = [chunk['message'], chunk['msg'], chunk['detail'], findMiniMaxError(chunk)?.['status_msg']];
  return texts.some((text) => asText(text) !== undefined) || asObjects(chunk['errors']).length > 0;
}

/** Returns MiniMax's object for an error, which comes with status 200. In a good answer its code is 0. */
function findMiniMaxError(body: WireObject | undefined): WireObject | undefined {
  const result = asObject(body?.['base_resp']);
  return result?.['status_code'] ? result : undefined;
}

/** HTTP statuses of MiniMax's codes. @see https://platform.minimax.io/docs/api-reference/errorcode */
const MINIMAX_STATUSES: ReadonlyMap<unknown, number> = new Map([
  [1002, 429],
  [1004, 401],
  [1008, 402],
  [1026, 400],
  [1027, 400],
  [1039, 429],
  [1041, 429],
  [2013, 400],
  [2049, 401],
  [2056, 429],
]);

/** Functions that apply a request's data when its error is mapped. */
export interface ErrorContext {
  /** Maps the upstream's parameter to the caller's. */
  readonly callerParam: (param: string) => string;
  /** True if the request contains `words`, which the upstream may then have quoted. */
  readonly isQuoted: (words: string) => boolean;
  /** Removes API keys from a text: some upstreams quote them. */
  readonly redact: (text: string) => string;
}

/** Maps an upstream's error to an UpstreamError. */
export function toUpstreamError(error: WireError, { callerParam, isQuoted, redact }: ErrorContext): UpstreamError {
  const { code, recovery } = classify(error, isQuoted);
  const param = error.param !== undefined && recovery === 'fail' ? callerParam(error.param) : undefined;
  return new UpstreamError(code, redact(toPublicMessage({ code, recovery }, error)), {
    recovery,
    upstream: redact([error.status, ...listCodes(error)].join(' ')),
    ...omitUndefined({ param }),
    ...(error.retryAfterMs === undefined || recovery === 'fail' ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}

/** The error for an upstream that refuses a field which every request needs. */
export function requiredFieldRefusedError(field: string, error: WireError, { redact }: ErrorContext): UpstreamError {
  return new UpstreamError('upstream_misconfigured', `The upstream refuses the required field ${field}`, {
    recovery: 'nextTarget',
    upstream: redact([error.status, ...listCodes(error)].join(' ')),
  });
}

/** The error for an answer that can't be parsed: an HTML page, a garbled event, too many bytes. */
export function malformedAnswerError(message: string, recovery: Recovery, cause?: unknown): UpstreamError {
  return new UpstreamError('upstream_malformed', message, cause === undefined ? { recovery } : { recovery, cause });
}

/** The error for an answer that ended before it was complete. */
export function cutAnswerError(message: string, cause?: unknown): UpstreamError {
  const details = { recovery: 'retry' as const };
  return new UpstreamError('upstream_cut', message, cause === undefined ? details : { ...details, cause });
}

/**
 * Maps Node's error for a connection: refused, reset, unresolved, a TLS failure, or bytes that are not HTTP.
 * @param stale true if a kept-alive connection was reused and the upstream had closed it in the meantime
 */
export function connectionError(thrown: unknown, where: string, stale: boolean): UpstreamError {
  const code = asText(Reflect.get(Object(thrown), 'code')) ?? 'unknown failure';
  // Node's HTTP parser: HPE_INVALID_CONSTANT and the like.
  if (code.startsWith('HPE_'))
    return malformedAnswerError(`${where} does not speak HTTP/1.1 (${code})`, 'retryOnce', thrown);
  return new UpstreamError('upstream_unavailable', `The connection to ${where} failed (${code})`, {
    recovery: 'retry',
    upstream: code,
    cause: thrown,
    ...(stale ? { retryAfterMs: 0 } : {}),
  });
}

/** True if the cause of `error` is a connection that could not be made or broke, not a response of the upstream. */
export function isConnectionFailure({ code, cause }: UpstreamError): boolean {
  const isConnectionCode = code === 'upstream_unavailable' || code === 'upstream_cut';
  return isConnectionCode && cause instanceof Error && !(cause instanceof UpstreamError);
}

interface FailureClass {
  readonly code: ErrorCode;
  readonly recovery: Recovery;
}

const REJECTED: FailureClass = { code: 'upstream_rejected', recovery: 'fail' };
const TOO_LONG: FailureClass = { code: 'context_length_exceeded', recovery: 'fail' };
const FILTERED: FailureClass = { code: 'content_filter', recovery: 'fail' };
const TOO_LARGE: FailureClass = { code: 'request_too_large', recovery: 'fail' };
const MISCONFIGURED: FailureClass = { code: 'upstream_misconfigured', recovery: 'nextTarget' };
const OUT_OF_QUOTA: FailureClass = { code: 'insufficient_quota', recovery: 'nextTarget' };
const THROTTLED: FailureClass = { code: 'rate_limit_exceeded', recovery: 'retry' };
const UNAVAILABLE: FailureClass = { code: 'upstream_unavailable', recovery: 'retry' };
const TIMED_OUT: FailureClass = { code: 'upstream_timeout', recovery: 'retry' };

const QUOTA_CODES =
  /^(insufficient_quota|billing_hard_limit_reached|billing_not_active|exceeded_current_quota_error|insufficient_balance|arrearage)$/i;
const THROTTLE_CODES = /rate_limit|ratelimit|throttl|too_many_requests|tokens_per_|requests_per_/i;
const CONTEXT_CODES = /context_length_exceeded|context_window|exceed_context_size/i;
const CONTEXT_TEXT =
  /maximum context length|context (length|window|size)|max_model_len|prompt is too long|input (is )?too long|too many (input |prompt )?tokens|input token count.*exceeds|reduce the length of the (messages|prompt|input)/i;
const FILTER_CODES =
  /content_?filter|content_?policy|responsibleaipolicy|data_?inspection_?failed|moderation|prohibited_content|^safety$|^1301$/i;
const FILTER_TEXT = /content (management|policy)|content exists risk|flagged (by|as|for)|moderation/i;
const KEY_CODES = /invalid_api_key|authentication|unauthenticated|^unauthorized$/i;
const KEY_TEXT =
  /(invalid|incorrect|expired|missing) api[ _-]?key|api[ _-]?key (is |was )?(not valid|invalid|expired|missing)/i;
const MODEL_CODES = /model_not_found|model_not_exist|invalid_model|unknown_model/i;
/** Includes the preceding word, so that "file does not exist" in a prompt doesn't match "Model does not exist". */
const MODEL_TEXT =
  /\w{0,40} ?\b(?:(does not exist|not exist|not found|is not (?:available|supported))(?<=model[^.]{0,80}\1)|not a valid model)/i;

function classify({ status, codes, message }: WireError, isQuoted: ErrorContext['isQuoted']): FailureClass {
  const said = (pattern: RegExp): boolean => codes.some((code) => pattern.test(code));
  if (status === 402 || said(QUOTA_CODES)) return OUT_OF_QUOTA;
  if (status === 429) return THROTTLED;
  if (status === 408 || status === 504 || status === 524) return TIMED_OUT;
  if (status === 409 || status === 425 || status >= 500) return UNAVAILABLE;
  if (status < 400) return MISCONFIGURED;
  if (said(CONTEXT_CODES) || CONTEXT_TEXT.test(message ?? '')) return TOO_LONG;
  // Groq answers 413 to a request above the limit per minute. It can never serve it, but another target may.
  if (status === 413) return said(THROTTLE_CODES) ? { code: 'rate_limit_exceeded', recovery: 'nextTarget' } : TOO_LARGE;
  if (said(FILTER_CODES) || FILTER_TEXT.test(message ?? '')) return FILTERED;
  if ([401, 403, 404, 405, 407].includes(status)) return MISCONFIGURED;
  // Gemini and xAI answer 400 to a wrong key, DeepSeek and SiliconFlow to a wrong model. A response without an error
  // object doesn't come from an API, so the URL is wrong.
  if (said(KEY_CODES) || said(MODEL_CODES) || message === undefined) return MISCONFIGURED;
  // Without a code, only the message shows the cause. If its words also occur in the request, the upstream may have
  // quoted them, and the request counts as the cause.
  const words = (KEY_TEXT.exec(message) ?? MODEL_TEXT.exec(message))?.[0];
  return words === undefined || isQuoted(words) ? REJECTED : MISCONFIGURED;
}

/** Returns the error's message. It quotes the upstream only for a 4xx status; text of a 5xx must not reach the log. */
function toPublicMessage({ code, recovery }: FailureClass, error: WireError): string {
  const words = listCodes(error);
  const answered = `The upstream answered ${error.status}${words.length > 0 ? ` (${words.join(', ')})` : ''}`;
  if (recovery === 'fail') return clip(error.message) ?? `The model refused the request. ${answered}.`;
  if (code === 'rate_limit_exceeded') return 'The model is rate limited at the moment. Try again later.';
  if (error.status < 400) return `${answered} with a redirect, which is not followed`;
  if (error.status >= 500 || error.message === undefined) return answered;
  return `${answered}: ${clip(error.message)}`;
}

const LONGEST_MESSAGE = 1_000;

function clip(text: string | undefined): string | undefined {
  return text !== undefined && text.length > LONGEST_MESSAGE ? `${text.slice(0, LONGEST_MESSAGE)}…` : text;
}

/** Lists the codes that look like identifiers. Other values of those fields may hold content. */
function listCodes({ codes }: WireError): string[] {
  return [...new Set(codes.filter((code) => /^[\w.:-]{1,80}$/.test(code)))];
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    // For instance an HTML page of a proxy. The status classifies the error.
    return undefined;
  }
}

/**
 * Parses `{error:{…}}`, `{error:"…"}`, `[{error:{…}}]` (Gemini), `{message}`, `{msg}`, `{detail}` (FastAPI), `{errors:[…]}` and
 * MiniMax's `{base_resp}`.
 */
function parseErrorObject(body: unknown): WireError {
  const outer = Array.isArray(body) ? asObject(body[0]) : asObject(body);
  const miniMax = findMiniMaxError(outer);
  if (miniMax) return toMiniMaxError(miniMax);
  const nested = outer?.['error'] ?? asObjects(outer?.['errors'])[0];
  const error = asObject(nested) ?? outer;
  const message =
    asText(nested) ??
    asText(error?.['message']) ??
    toDetailText(error?.['detail']) ??
    asText(outer?.['message']) ??
    asText(outer?.['msg']);
  const inner = asObject(error?.['innererror']);
  const named = [error?.['code'], error?.['type'], error?.['status'], inner?.['code'], outer?.['code']];
  const statusCode = error?.['status_code'] ?? error?.['http_code'] ?? error?.['status'] ?? error?.['code'];
  return {
    status: toHttpStatus(statusCode) ?? 0,
    message,
    codes: named.flatMap((name) => (typeof name === 'number' ? [String(name)] : (asText(name) ?? []))),
    param: asText(error?.['param']) ?? findDetailField(error?.['detail']),
    retryAfterMs: parseRetryHint(error, message),
  };
}

function toMiniMaxError({ status_code: code, status_msg: message }: WireObject): WireError {
  const codes = code === 1026 || code === 1027 ? [String(code), 'content_filter'] : [String(code)];
  return {
    status: MINIMAX_STATUSES.get(code) ?? 500,
    message: asText(message),
    codes,
    param: undefined,
    retryAfterMs: undefined,
  };
}

/** Returns the location and the message of FastAPI's validation errors, without the input that they quote. */
function toDetailText(detail: unknown): string | undefined {
  if (!Array.isArray(detail)) return asText(detail);
  const lines = detail.filter(isObject).map(({ loc, msg }) => {
    const place = Array.isArray(loc) ? loc.filter((step) => step !== 'body').join('.') : '';
    return [place, asText(msg)].filter(Boolean).join(': ');
  });
  return asText(lines.join('; '));
}

/** Returns the first field of FastAPI's validation errors, if it is at the top level of the body. */
function findDetailField(detail: unknown): string | undefined {
  const [{ loc } = {}] = asObjects(detail);
  const place = Array.isArray(loc) ? loc.filter((step) => step !== 'body') : [];
  return place.length === 1 ? asText(place[0]) : undefined;
}

/** Returns the milliseconds of Google's RetryInfo or of OpenAI's "Please try again in 1.2s." */
function parseRetryHint(error: WireObject | undefined, message: string | undefined): number | undefined {
  const retryInfo = asObjects(error?.['details']).find((detail) => asText(detail['retryDelay']));
  const duration =
    asText(retryInfo?.['retryDelay']) ?? /try again in ((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)/i.exec(message ?? '')?.[1];
  return duration === undefined ? undefined : parseDuration(duration);
}

/** Returns the first characters of `value` if it is a non-empty string, else undefined. */
function asText(value: unknown): string | undefined {
  const text = asAnyText(value);
  return text && boundErrorText(text);
}

function toHttpStatus(value: unknown): number | undefined {
  const status = asCount(value);
  return status !== undefined && status >= 400 && status < 600 ? status : undefined;
}

/** Returns the HTTP status that an error's codes stand for; 500 if they are unknown. */
function inferStatus(codes: readonly string[]): number {
  for (const [status, pattern] of STATUS_WORDS) if (codes.some((code) => pattern.test(code))) return status;
  return 500;
}

const STATUS_WORDS: readonly (readonly [number, RegExp])[] = [
  [429, /rate_?limit|throttl|too_?many_?requests|resource_exhausted|insufficient_quota/i],
  [401, /authentication|invalid_api_key|unauthenticated|unauthorized/i],
  [403, /permission/i],
  [404, /not_?found/i],
  [413, /too_large/i],
  [504, /timeout|deadline_exceeded/i],
  [503, /overloaded|unavailable/i],
  [400, /invalid|bad_?request|context_length|content_?filter|content_?policy|unsupported/i],
];
