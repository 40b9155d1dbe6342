import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import type { Policy, Restrictions } from './policy.ts';

// Used when a policy is written. What reads policies relies on it.

const models = v.strictObject({
  mode: v.picklist(['allow', 'deny']),
  models: v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(256))),
});

/** The restrictions of a level. Each part of the service adds its section. */
const restrictionsSchema = v.strictObject({
  models: v.optional(models),
});

/**
 * The largest sizes in bytes, as JSON: the authorizer's whole response stays below 8 KB, which all kinds of API Gateway
 * accept, and a function's event grows by no more.
 */
const MAX_BYTES: Readonly<Record<keyof Policy, number>> = { account: 3_000, project: 3_000, key: 1_000 };

/**
 * Checks restrictions and returns them as JSON, or undefined if there are none.
 * @throws LambentError `invalid_value` for an unknown section, an invalid value, or restrictions that are too large
 */
export function encodeRestrictions(level: keyof Policy, restrictions: Restrictions): string | undefined {
  const result = v.safeParse(restrictionsSchema, restrictions);
  if (!result.success) {
    const [issue] = result.issues;
    throw new LambentError('invalid_value', `Invalid '${v.getDotPath(issue)}': ${issue.message}`, {
      param: v.getDotPath(issue) ?? level,
    });
  }
  const json = JSON.stringify(result.output);
  if (json === '{}') return undefined;
  const sizeBytes = Buffer.byteLength(json);
  if (sizeBytes <= MAX_BYTES[level]) return json;
  const message = `The restrictions of the ${level} have ${sizeBytes} bytes; the maximum is ${MAX_BYTES[level]}.`;
  throw new LambentError('invalid_value', message, { param: level });
}
