import * as v from 'valibot';
import { MAX_MESSAGE_BYTES } from '../aws/sqs.ts';
import type { LambentError } from '../core/errors.ts';
import { isObject, omitUndefined } from '../core/objects.ts';

/** A rejected message, as it is sent to the dead-letter queue. */
export interface RejectedMessage {
  readonly body: string;
  /** Codes and ids only: SQS encrypts bodies and no attributes. Sent as attributes of the type `String`. */
  readonly attributes: Readonly<Record<string, string>>;
}

interface Rejected {
  readonly body: string;
  readonly messageId: string;
  /** The sender's id, followed by a session's name if it is a role's. */
  readonly senderId: string;
}

/** Every body of this version begins so. */
const PREFIX = '{"version":1,"type":"rejected",';
/** Enough for a person to understand the error. */
const MAX_TEXT_CHARACTERS = 256;

/**
 * Wraps the body of a rejected message together with the error, which may quote the sender's words. If there is no space
 * for the error, returns the body as it is; if even the attributes don't fit, the error without the body.
 */
export function wrapRejected({ body, messageId, senderId }: Rejected, error: LambentError): RejectedMessage {
  const { code, param, message } = error;
  // The session's name is the sender's choice, and may name a person.
  const attributes = { reason: code, messageId, senderId: senderId.split(':')[0] ?? '' };
  const shown = { code, ...omitUndefined({ param: param && shorten(param) }), message: shorten(message) };
  const head = `${PREFIX}"error":${JSON.stringify(shown)}`;
  // An object is embedded as it is, because escaping would enlarge it.
  const original = isObject(parseJson(body)) ? body : JSON.stringify(body);
  const bodies = [`${head},"message":${original}}`, body];
  const fitting = bodies.find((each) => computeSizeBytes(each, attributes) <= MAX_MESSAGE_BYTES);
  return { body: fitting ?? `${head},"leftOutBytes":${Buffer.byteLength(body)}}`, attributes };
}

const wrapped = v.object({ type: v.literal('rejected'), message: v.union([v.string(), v.looseObject({})]) });

/** Returns the body that `wrapRejected` wrapped: an operator may have moved the message back. Returns any other body as it is. */
export function unwrapRejected(body: string): string {
  if (!body.startsWith(PREFIX)) return body;
  const result = v.safeParse(wrapped, parseJson(body));
  if (!result.success) return body;
  const { message } = result.output;
  return typeof message === 'string' ? message : JSON.stringify(message);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Shortens a text and removes what SQS rejects in bodies and JSON doesn't escape. */
function shorten(text: string): string {
  return text.slice(0, MAX_TEXT_CHARACTERS).replace(/[\ufffe\uffff]/g, ' ');
}

/** Returns a message's size as SQS counts it: its body and each attribute's name, type and value. */
function computeSizeBytes(body: string, attributes: Readonly<Record<string, string>>): number {
  const counted = Object.entries(attributes).flatMap(([name, value]) => [name, 'String', value]);
  return [body, ...counted].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}
