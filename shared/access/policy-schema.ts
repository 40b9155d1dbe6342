import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { formatPath } from '../core/format-path.ts';
import { findInheritedName } from '../core/objects.ts';
import { ABUSE_SIGNS, MAX_NETWORKS } from './abuse-rules.ts';
import { closedObject } from './closed-object.ts';
import { contentRulesSchema, guardrailName, guardrailSchema } from './content-policy-schema.ts';
import { isValidPattern } from './custom-pattern.ts';
import { isIpRange } from './ip-ranges.ts';
import { limitsSchema } from './limit-policy-schema.ts';
import { PERSONAL_DATA_ACTIONS, PERSONAL_DATA_KINDS } from './personal-data.ts';
import type { Policy, Restrictions } from './policy.ts';

// Used only when a policy is written. Code that reads policies relies on these checks.

const models = v.strictObject({
  mode: v.picklist(['allow', 'deny']),
  models: v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(256))),
});

const action = v.picklist(PERSONAL_DATA_ACTIONS);
const personalData = closedObject({
  all: v.optional(action),
  kinds: v.optional(closedObject(v.entriesFromList(PERSONAL_DATA_KINDS, v.optional(action)))),
  patterns: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          name: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9]{0,19}$/, 'Expected 1 to 20 upper-case letters and digits')),
          pattern: v.pipe(
            v.string(),
            v.minLength(1),
            v.maxLength(256),
            v.check(isValidPattern, 'Expected a small regular expression of RE2 that matches no empty text'),
          ),
          action,
        }),
      ),
      v.maxLength(10),
    ),
  ),
  guardrail: v.optional(guardrailName),
  unsearchable: v.optional(v.picklist(['pass', 'refuse'])),
});

const perHour = (most: number) => v.optional(v.nullable(whole(1, most)));
const abuse = closedObject({
  networksPerHour: perHour(MAX_NETWORKS),
  refusalsPerHour: perHour(1_000_000),
  timesUsualRate: v.optional(v.nullable(v.pipe(v.number(), v.minValue(1.1), v.maxValue(1_000)))),
  leastCallsPerHour: v.optional(whole(1, 1_000_000_000)),
  hold: v.optional(v.array(v.picklist(ABUSE_SIGNS))),
  /** A minute to 30 days. A hold takes effect within a minute. */
  holdSeconds: v.optional(whole(60, 30 * 86_400)),
});

function whole(least: number, most: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
}

const ipRange = v.pipe(
  v.string(),
  v.check(
    isIpRange,
    'Expected an IPv4 or IPv6 address, or a block such as 192.0.2.0/24. Write IPv4 addresses without the prefix ::ffff:',
  ),
);

const certificate = v.strictObject({
  key: v.pipe(v.string(), v.base64()),
  isAuthority: v.boolean(),
  expiresAt: v.pipe(v.number(), v.integer()),
});

/** The restrictions of a level. Each part of the service adds its section. */
const restrictionsSchema = v.strictObject({
  models: v.optional(models),
  ipRanges: v.optional(v.pipe(v.array(ipRange), v.minLength(1))),
  certificates: v.optional(v.pipe(v.array(certificate), v.minLength(1))),
  limits: v.optional(limitsSchema),
  personalData: v.optional(personalData),
  contentRules: v.optional(contentRulesSchema),
  guardrail: v.optional(guardrailSchema),
  retention: v.optional(v.picklist(['none', 'modified_abuse_monitoring', 'zero_data_retention'])),
  readOnly: v.optional(v.literal(true)),
  abuse: v.optional(abuse),
});

/** The body of a request that replaces sections of restrictions, and removes those that are null. `encodeRestrictions` checks the result. */
export const restrictionsBody = v.object(
  Object.fromEntries(
    Object.entries(restrictionsSchema.entries)
      // Other routes activate certificates.
      .filter(([section]) => section !== 'certificates')
      .map(([section, { wrapped }]) => [section, v.nullish<v.GenericSchema>(wrapped)]),
  ),
);

/**
 * Checks that sections which a request sets or removes exist. One that another version has stored can be removed.
 * @throws LambentError `unknown_parameter`
 */
export function checkSectionNames(sections: object, stored: Restrictions): void {
  const isKnown = (name: string) => Object.hasOwn(restrictionsSchema.entries, name) || Object.hasOwn(stored, name);
  const unknown = Object.keys(sections).find((name) => !isKnown(name));
  if (unknown !== undefined) throw unknownParameterError(shorten(unknown));
}

/**
 * The largest sizes in bytes, as `measure` returns them. With them the authorizer's whole response stays below 8 KB, and a function's
 * event grows by no more. AWS documents 8 KB, which can't be raised, as the quota of WebSocket APIs, and none for REST APIs, of which
 * a stage has one.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
 */
const MAX_BYTES: Readonly<Record<keyof Policy, number>> = { account: 3_000, project: 3_000, key: 1_000 };

/**
 * Checks restrictions and returns them as JSON, or undefined if there are none.
 * @param before the stored restrictions that these replace. An earlier version may have accepted what this one refuses: sections that
 * are as before aren't checked again, and restrictions that are too large may stay so, but not grow.
 * @throws LambentError `unknown_parameter`, `missing_required_parameter`, or `invalid_value`, also for restrictions that are too large
 */
export function encodeRestrictions(
  level: keyof Policy,
  restrictions: Restrictions,
  before: Restrictions = {},
): string | undefined {
  const inherited = findInheritedName(restrictions);
  if (inherited !== undefined)
    throw new LambentError('invalid_value', `Invalid '${inherited}': no field can have this name.`, {
      param: inherited,
    });
  const { unchanged, changed } = compareSections(restrictions, before);
  const result = v.safeParse(restrictionsSchema, changed);
  if (!result.success) {
    const [issue] = result.issues;
    const param = shorten(formatPath(issue.path) || level);
    if (issue.type === 'strict_object' && issue.path?.at(-1)?.origin === 'key')
      throw issue.expected === 'never'
        ? unknownParameterError(param)
        : new LambentError('missing_required_parameter', `Missing required parameter: '${param}'.`, { param });
    throw new LambentError('invalid_value', `Invalid '${param}': ${shorten(issue.message)}`, { param });
  }
  if (level !== 'project' && result.output.limits?.models !== undefined) {
    const message = "Invalid 'limits.models': only a project has limits of single models.";
    throw new LambentError('invalid_value', message, { param: 'limits.models' });
  }
  for (const name of ['storedBytes', 'storedItems'] as const) {
    if (level === 'project' || result.output.limits?.[name] === undefined) continue;
    const message = `Invalid 'limits.${name}': only a project has limits of what it stores.`;
    throw new LambentError('invalid_value', message, { param: `limits.${name}` });
  }
  if (level !== 'key' && result.output.ipRanges !== undefined)
    throw new LambentError('invalid_value', "Invalid 'ipRanges': only a key has them.", { param: 'ipRanges' });
  if (level !== 'project' && result.output.readOnly !== undefined)
    throw new LambentError('invalid_value', "Invalid 'readOnly': only a project has it.", { param: 'readOnly' });
  const { retention } = result.output;
  if (retention !== undefined && (level === 'key' || (level === 'account' && retention === 'none'))) {
    const message = "Invalid 'retention': only projects have 'none', and keys have no retention of their own.";
    throw new LambentError('invalid_value', message, { param: 'retention' });
  }
  for (const section of ['abuse', 'certificates'] as const)
    if (level === 'key' && result.output[section] !== undefined)
      throw new LambentError('invalid_value', `Invalid '${section}': only projects and the organization have it.`, {
        param: section,
      });
  const json = JSON.stringify({ ...unchanged, ...result.output });
  if (json === '{}') return undefined;
  const sizeBytes = measure(json);
  if (sizeBytes <= Math.max(MAX_BYTES[level], measure(JSON.stringify(before)))) return json;
  const message = `The restrictions of the ${level} have ${sizeBytes} bytes, counting quotation marks and backslashes twice; the maximum is ${MAX_BYTES[level]}.`;
  throw new LambentError('invalid_value', message, { param: level });
}

/** Returns the known sections that are as before, and all others. */
function compareSections(restrictions: Restrictions, before: Restrictions) {
  const isUnchanged = ([section, value]: [string, unknown]): boolean =>
    Object.hasOwn(restrictionsSchema.entries, section) && isDeepStrictEqual(value, Reflect.get(before, section));
  const { unchanged = [], changed = [] } = Object.groupBy(Object.entries(restrictions), (each) =>
    isUnchanged(each) ? 'unchanged' : 'changed',
  );
  return { unchanged: Object.fromEntries(unchanged), changed: Object.fromEntries(changed) };
}

/**
 * Returns the bytes that restrictions take in the authorizer's response. There, their JSON is in a string of another JSON text, so
 * that each quotation mark and backslash is escaped by another backslash.
 */
function measure(json: string): number {
  return Buffer.byteLength(JSON.stringify(json)) - '""'.length;
}

function unknownParameterError(param: string): LambentError {
  return new LambentError('unknown_parameter', `Unknown parameter: '${param}'.`, { param });
}

/** Shortens a text that may quote megabytes of a request. */
function shorten(text: string): string {
  return text.slice(0, 500).toWellFormed();
}
