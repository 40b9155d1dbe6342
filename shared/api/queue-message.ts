import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { parseJsonBody } from '../core/json-body.ts';
import { isObject } from '../core/objects.ts';
import { type TicketMessage, ticketSchema } from '../jobs/ticket-message.ts';
import { ENDPOINTS } from './endpoints.ts';

const MAX_KEY_BYTES = 1024;

/** The location of a body that is too large for a message: in Lambent's bucket, under the tenant's `inbox/`. */
const bodyPointer = v.strictObject({
  bucket: v.pipe(v.string(), v.minLength(1)),
  /** @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html */
  key: v.pipe(
    v.string(),
    v.minLength(1),
    v.check((key) => Buffer.byteLength(key) <= MAX_KEY_BYTES, 'at most 1,024 bytes in UTF-8'),
  ),
});

/** An object that is kept as it is. valibot's `record` drops members such as `constructor`. */
const jsonObject = v.custom<Readonly<Record<string, unknown>>>(isObject, 'Object');
const strings = v.custom<Readonly<Record<string, string>>>(
  (input) => isObject(input) && Object.values(input).every((each) => typeof each === 'string'),
  'an object of strings',
);

/**
 * A request sent by a program. Unknown fields are rejected, because a response whose `replyTo` is misspelt would never
 * be sent.
 */
const generateMessage = v.strictObject({
  version: v.literal(1),
  type: v.literal('generate'),
  tenant: ticketSchema.entries.tenant,
  /** Messages with the same key belong to the same job, so a message may be sent or delivered repeatedly. */
  idempotencyKey: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  endpoint: v.picklist(ENDPOINTS),
  body: v.optional(jsonObject),
  bodyPointer: v.optional(bodyPointer),
  /** Added to a body without `metadata`. */
  metadata: v.optional(strings),
  /** Alias of the reply queue that the response is sent to. */
  replyTo: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(64))),
});
export type GenerateMessage = v.InferOutput<typeof generateMessage>;

const envelope = v.looseObject({ version: v.number(), type: v.string() });

/**
 * Parses a message of the generation queue.
 * @throws LambentError `invalid_json`, `unsupported_value` for an unknown version or type, `unsupported_parameter` for
 * `webhook`, which is planned, `unknown_parameter`, `missing_required_parameter`, `invalid_value`
 */
export function parseMessage(text: string): GenerateMessage | TicketMessage {
  const json = parseJsonBody({ body: text, isBase64Encoded: false }, undefined);
  const result = v.safeParse(envelope, json);
  if (!result.success) throw toError(result.issues[0]);
  const { version, type } = result.output;
  if (version !== 1) throw new LambentError('unsupported_value', `Unknown version ${version}.`, { param: 'version' });
  if (type === 'job') return validate(ticketSchema, json);
  if (type !== 'generate') {
    throw new LambentError('unsupported_value', "Unknown type: expected 'generate'.", { param: 'type' });
  }
  if ('webhook' in result.output) {
    throw new LambentError('unsupported_parameter', "'webhook' is not supported yet.", { param: 'webhook' });
  }
  const message = validate(generateMessage, json);
  if ((message.body === undefined) === (message.bodyPointer === undefined)) {
    throw new LambentError('missing_required_parameter', "Exactly one of 'body' and 'bodyPointer' is required.", {
      param: 'body',
    });
  }
  return message;
}

/**
 * Returns the id of the response to a program's message: `resp_` and the first 40 hexadecimal digits of a SHA-256. It
 * hashes the tenant and the key, each prefixed with its length in bytes and a colon: `4:acme8:order-17`.
 */
export function deriveResponseId(tenant: string, idempotencyKey: string): string {
  const text = [tenant, idempotencyKey].map((part) => `${Buffer.byteLength(part)}:${part}`).join('');
  return `resp_${createHash('sha256').update(text).digest('hex').slice(0, 40)}`;
}

/**
 * Returns the object key in a message's body pointer, or undefined if it has none.
 * @param bucket the only bucket that may be read
 * @throws LambentError `invalid_value` for another bucket, or a key outside `<tenant>/inbox/`
 */
export function getInboxKey({ tenant, bodyPointer }: GenerateMessage, bucket: string): string | undefined {
  if (bodyPointer === undefined) return undefined;
  const prefix = `${tenant}/inbox/`;
  if (bodyPointer.bucket === bucket && bodyPointer.key.startsWith(prefix) && bodyPointer.key.length > prefix.length) {
    return bodyPointer.key;
  }
  throw new LambentError('invalid_value', `The object must be in this service's bucket, under '${prefix}'.`, {
    param: 'bodyPointer',
  });
}

function validate<Schema extends v.GenericSchema>(schema: Schema, json: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  throw toError(result.issues[0]);
}

function toError(issue: v.BaseIssue<unknown>): LambentError {
  const param = v.getDotPath(issue) ?? undefined;
  const details = param === undefined ? {} : { param };
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return new LambentError('unknown_parameter', `Unknown field: '${param}'.`, details);
  }
  if (issue.received === 'undefined') {
    return new LambentError('missing_required_parameter', `Missing field: '${param}'.`, details);
  }
  return new LambentError(
    'invalid_value',
    `Invalid '${param ?? 'message'}': expected ${['custom', 'check'].includes(issue.type) ? issue.message : issue.expected}.`,
    details,
  );
}
