import type { ErrorCode } from '../../../core/errors.ts';
import { omitUndefined } from '../../../core/objects.ts';
import { boundErrorText, type Recovery, UpstreamError } from '../../model.ts';

interface FailureClass {
  readonly code: ErrorCode;
  readonly recovery: Recovery;
}

const UNAVAILABLE: FailureClass = { code: 'upstream_unavailable', recovery: 'retry' };
const MISCONFIGURED: FailureClass = { code: 'upstream_misconfigured', recovery: 'nextTarget' };
const THROTTLED: FailureClass = { code: 'rate_limit_exceeded', recovery: 'retry' };
const OUT_OF_QUOTA: FailureClass = { code: 'insufficient_quota', recovery: 'nextTarget' };
const REJECTED: FailureClass = { code: 'upstream_rejected', recovery: 'fail' };
const TOO_LONG: FailureClass = { code: 'context_length_exceeded', recovery: 'fail' };
const TIMED_OUT: FailureClass = { code: 'upstream_timeout', recovery: 'retryOnce' };
const CUT: FailureClass = { code: 'upstream_cut', recovery: 'retry' };
const MALFORMED: FailureClass = { code: 'upstream_malformed', recovery: 'retryOnce' };

/** The exceptions of the Bedrock service, of AWS's front door and of the SDK's credential chain. */
const BY_NAME: Readonly<Record<string, FailureClass>> = {
  ThrottlingException: THROTTLED,
  TooManyRequestsException: THROTTLED,
  ServiceQuotaExceededException: OUT_OF_QUOTA,
  ModelNotReadyException: UNAVAILABLE,
  ServiceUnavailableException: UNAVAILABLE,
  InternalServerException: UNAVAILABLE,
  InternalFailure: UNAVAILABLE,
  ConflictException: UNAVAILABLE,
  ModelTimeoutException: TIMED_OUT,
  ModelErrorException: { code: 'upstream_unavailable', recovery: 'retryOnce' },
  ModelStreamErrorException: CUT,
  ValidationException: REJECTED,
  AccessDeniedException: MISCONFIGURED,
  ResourceNotFoundException: MISCONFIGURED,
  UnrecognizedClientException: MISCONFIGURED,
  InvalidSignatureException: MISCONFIGURED,
  IncompleteSignatureException: MISCONFIGURED,
  MissingAuthenticationTokenException: MISCONFIGURED,
  ExpiredTokenException: MISCONFIGURED,
  CredentialsProviderError: MISCONFIGURED,
  TokenProviderError: MISCONFIGURED,
  TimeoutError: UNAVAILABLE,
};

const TOO_LONG_TEXT =
  /input is too long|prompt is too long|too many (input )?tokens|context (length|window|limit)|maximum context|input tokens? exceed/i;
/** A validation error that the caller can't fix: the model id or the account's access is wrong. */
const WRONG_MODEL_TEXT =
  /model identifier is invalid|on-demand throughput isn.t supported|operation not allowed|legacy.*model|end of its life/i;

/**
 * What an operator has to do before the model can be used, by the service's message. The messages are no part of
 * Bedrock's API reference; `local/bedrock/access-errors.ts` has them with their sources. The first that matches counts.
 */
const ACCESS_TEXTS: readonly (readonly [text: RegExp, missing: string])[] = [
  [/payment.instrument/i, 'valid payment method missing'],
  [/marketplace/i, 'marketplace subscription missing'],
  [/use case details|request form/i, 'use case form missing'],
  [/have access to the model/i, 'model access missing'],
  [/not authorized to perform/i, 'permission missing'],
  [/on-demand throughput isn.t supported/i, 'inference profile needed'],
];

/**
 * Maps an exception of a Converse call to an UpstreamError.
 * @param thrown the SDK's exception, from the call or from the stream
 * @param accepted true if the upstream had accepted the call and its stream was open
 */
export function bedrockError(thrown: unknown, accepted: boolean): UpstreamError {
  if (thrown instanceof UpstreamError) return thrown;
  const failure = parseFailure(thrown);
  const { code, recovery } = classify(failure, accepted);
  // A parser's error quotes the model's answer, so neither its message nor its cause may be logged.
  if (code === 'upstream_malformed') return unreadableAnswerError(failure.name);
  const retryAfterMs = parseRetryAfter(failure.headers);
  return new UpstreamError(code, toPublicMessage(failure), {
    recovery,
    upstream: code === MISCONFIGURED.code ? describeMissing(failure) : failure.name,
    cause: thrown,
    ...omitUndefined({ retryAfterMs }),
  });
}

/** Returns the exception's name and, if known, what is missing. Contains no text of the service, so it may be logged. */
function describeMissing({ name, message }: Failure): string {
  const missing = ACCESS_TEXTS.find(([text]) => text.test(message))?.[1];
  return missing === undefined ? name : `${name}: ${missing}`;
}

function unreadableAnswerError(upstream: string): UpstreamError {
  const { code, recovery } = MALFORMED;
  return new UpstreamError(code, "Bedrock's response could not be parsed", { recovery, upstream });
}

/**
 * True if the service accepted the call before it failed. The SDK's `send` waits for the stream's first frame, so it
 * can throw after a response with status 200.
 */
export function wasAccepted(thrown: unknown): boolean {
  return getField(getField(thrown, '$metadata'), 'httpStatusCode') === 200;
}

/** The error for a stream that ended or broke before the model's stop reason. */
export function incompleteStreamError(cause?: unknown): UpstreamError {
  const { code, recovery } = CUT;
  const details = cause === undefined ? { recovery } : { recovery, cause };
  return new UpstreamError(code, 'Bedrock ended its stream before messageStop', details);
}

function classify(failure: Failure, accepted: boolean): FailureClass {
  if (failure.name === 'ValidationException') {
    if (TOO_LONG_TEXT.test(failure.message)) return TOO_LONG;
    if (WRONG_MODEL_TEXT.test(failure.message)) return MISCONFIGURED;
  }
  // "Too many tokens per day": a retry doesn't help; the operator has to raise the quota.
  if (failure.name === 'ThrottlingException' && /per day/i.test(failure.message)) return OUT_OF_QUOTA;
  const named = BY_NAME[failure.name];
  if (named) return named;
  if (failure.status !== undefined && failure.status >= 400) return classifyStatus(failure.status);
  if (accepted) return CUT;
  // Node's connection errors have a code such as ECONNRESET.
  return failure.systemCode === undefined ? MALFORMED : UNAVAILABLE;
}

function classifyStatus(status: number): FailureClass {
  if (status >= 500 || status === 424) return UNAVAILABLE;
  if (status === 429) return THROTTLED;
  if (status === 408) return TIMED_OUT;
  if (status === 413) return TOO_LONG;
  return [401, 403, 404].includes(status) ? MISCONFIGURED : REJECTED;
}

interface Failure {
  readonly name: string;
  readonly message: string;
  readonly status: number | undefined;
  readonly systemCode: string | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
}

function parseFailure(thrown: unknown): Failure {
  if (!(thrown instanceof Error)) {
    return {
      name: 'Error',
      message: boundErrorText(String(thrown)),
      status: undefined,
      systemCode: undefined,
      headers: {},
    };
  }
  const metadata = getField(thrown, '$metadata');
  const status = getField(metadata, 'httpStatusCode');
  const systemCode = getField(thrown, 'code');
  const headers = getField(getField(thrown, '$response'), 'headers');
  return {
    // Exceptions in a stream that the SDK doesn't model keep the lower-case first letter of the wire format.
    name: thrown.name.charAt(0).toUpperCase() + thrown.name.slice(1),
    message: unwrapMessage(removeHint(boundErrorText(thrown.message))),
    status: typeof status === 'number' ? status : undefined,
    systemCode: typeof systemCode === 'string' ? systemCode : undefined,
    headers: typeof headers === 'object' && headers !== null ? { ...headers } : {},
  };
}

/** Removes a debugging hint that the SDK appends to messages. */
function removeHint(message: string): string {
  const at = message.indexOf('Deserialization error: to see the raw response');
  return at === -1 ? message : message.slice(0, at).trimEnd();
}

/** Extracts the message of an exception that the SDK doesn't model: it is JSON. */
function unwrapMessage(message: string): string {
  const text = /^\{\s*"message"\s*:\s*"((?:[^"\\]|\\.)*)"\s*\}$/.exec(message)?.[1];
  return text ?? message;
}

function getField(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value ? Reflect.get(value, name) : undefined;
}

/** Returns the service's message, which names parameters and limits, without the account's ARNs. */
function toPublicMessage(failure: Failure): string {
  return failure.message.replace(/arn:aws[\w-]*:\S+/g, 'the model') || failure.name;
}

/** Returns the milliseconds of `retry-after-ms` or `Retry-After` (seconds or a date); undefined without either. */
function parseRetryAfter(headers: Readonly<Record<string, unknown>>): number | undefined {
  const milliseconds = Number(headers['retry-after-ms'] ?? headers['x-amz-retry-after'] ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const text = headers['retry-after'];
  if (typeof text !== 'string') return undefined;
  if (/^\d+(\.\d+)?$/.test(text.trim())) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
