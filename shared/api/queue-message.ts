import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { parseBody } from '../core/json-body.ts';
import { type JobPointer, pointerSchema } from '../jobs/pointer-message.ts';
import { ENDPOINTS } from './endpoints.ts';

/** Where a body that is too large for a message lies: in Lambent's own bucket, under its tenant's `inbox/`. */
const bodyPointer = v.strictObject({
  bucket: v.pipe(v.string(), v.minLength(1)),
  key: v.pipe(v.string(), v.minLength(1), v.maxLength(1024)),
});

/** What a program sends to have something generated. Unknown fields are refused: a misspelt `replyTo` loses an answer. */
const generateMessage = v.strictObject({
  version: v.literal(1),
  type: v.literal('generate'),
  tenant: pointerSchema.entries.tenant,
  /** The same key is the same job: a message may come as often as it likes. */
  idempotencyKey: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  endpoint: v.picklist(ENDPOINTS),
  body: v.optional(v.record(v.string(), v.unknown())),
  bodyPointer: v.optional(bodyPointer),
  /** Goes into the body, where it has none of its own. */
  metadata: v.optional(v.record(v.string(), v.string())),
  /** Alias of a queue that gets the answer. */
  replyTo: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(64))),
});
export type GenerateMessage = v.InferOutput<typeof generateMessage>;

const kinds = v.looseObject({ version: v.number(), type: v.string() });

/**
 * Reads a message of the generation queue.
 * @throws LambentError `invalid_json`, `unsupported_value` for a version or type that isn't known, `unsupported_parameter`
 * for what is planned and not there, `unknown_parameter`, `missing_required_parameter`, `invalid_value`
 */
export function parseMessage(text: string): GenerateMessage | JobPointer {
  const json = parseBody({ body: text, isBase64Encoded: false }, undefined);
  const kind = v.safeParse(kinds, json);
  if (!kind.success) throw refusalOf(kind.issues[0]);
  const { version, type } = kind.output;
  if (version !== 1) throw new LambentError('unsupported_value', `Unknown version ${version}.`, { param: 'version' });
  if (type === 'job') return parsed(pointerSchema, json);
  if (type !== 'generate') {
    throw new LambentError('unsupported_value', "Unknown type: expected 'generate'.", { param: 'type' });
  }
  if ('webhook' in kind.output) {
    throw new LambentError('unsupported_parameter', "'webhook' is not supported yet.", { param: 'webhook' });
  }
  const message = parsed(generateMessage, json);
  if ((message.body === undefined) === (message.bodyPointer === undefined)) {
    throw new LambentError('missing_required_parameter', "Exactly one of 'body' and 'bodyPointer' is needed.", {
      param: 'body',
    });
  }
  return message;
}

/** The tier of the job that a message is about; undefined where that isn't said in it. */
export function tierFor(message: GenerateMessage | JobPointer): string | undefined {
  if (message.type === 'job') return message.tier;
  if (message.body === undefined) return undefined;
  return message.body['service_tier'] === 'flex' ? 'flex' : 'default';
}

/**
 * The id of the response that a program's message becomes: `resp_` and the first 40 hexadecimal digits of the SHA-256 of
 * both strings, each preceded by its length in bytes and a colon: `4:acme8:order-17`.
 */
export function deriveResponseId(tenant: string, idempotencyKey: string): string {
  const text = [tenant, idempotencyKey].map((part) => `${Buffer.byteLength(part)}:${part}`).join('');
  return `resp_${createHash('sha256').update(text).digest('hex').slice(0, 40)}`;
}

/**
 * The object's key that a message's pointer names, if its tenant may have it read.
 * @param bucket the one bucket that is ever read
 * @throws LambentError `invalid_value` for any other bucket, and any key outside `<tenant>/inbox/`
 */
export function getInboxKey({ tenant, bodyPointer }: GenerateMessage, bucket: string): string | undefined {
  if (bodyPointer === undefined) return undefined;
  const prefix = `${tenant}/inbox/`;
  if (bodyPointer.bucket === bucket && bodyPointer.key.startsWith(prefix) && bodyPointer.key.length > prefix.length) {
    return bodyPointer.key;
  }
  throw new LambentError('invalid_value', `A body has to lie in this service's own bucket, under '${prefix}'.`, {
    param: 'bodyPointer',
  });
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, json: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  throw refusalOf(result.issues[0]);
}

function refusalOf(issue: v.BaseIssue<unknown>): LambentError {
  const param = v.getDotPath(issue) ?? undefined;
  const details = param === undefined ? {} : { param };
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return new LambentError('unknown_parameter', `Unknown field: '${param}'.`, details);
  }
  if (issue.received === 'undefined') {
    return new LambentError('missing_required_parameter', `Missing field: '${param}'.`, details);
  }
  return new LambentError('invalid_value', `Invalid '${param ?? 'message'}': expected ${issue.expected}.`, details);
}
