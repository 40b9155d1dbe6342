import * as v from 'valibot';
import { isObject } from '../core/objects.ts';

/**
 * Schema helpers for request bodies. The message of a schema names the expected type ("an integer"), and the message of
 * a check names the fault. `validation.ts` completes the sentence.
 */

type Schema = v.GenericSchema<unknown, unknown>;

export const string = v.string('a string');
export const boolean = v.boolean('a boolean');

/** A string of `min` to `max` UTF-16 code units that matches `pattern`. */
export function text({ min = 0, max = Number.POSITIVE_INFINITY, pattern = /(?:)/ }: TextLimits) {
  return v.pipe(
    string,
    v.minLength(min, ({ input, requirement }) =>
      input === ''
        ? `empty string. Expected a string with minimum length ${requirement}, but got an empty string instead.`
        : `string too short. Expected a string with minimum length ${requirement}, but got a string with length ${input.length} instead.`,
    ),
    v.maxLength(
      max,
      ({ input, requirement }) =>
        `string too long. Expected a string with maximum length ${requirement}, but got a string with length ${input.length} instead.`,
    ),
    v.regex(
      pattern,
      ({ requirement }) =>
        `string does not match pattern. Expected a string that matches the pattern '${requirement.source}'.`,
    ),
  );
}

export interface TextLimits {
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: RegExp;
}

/** The name of a function or of an output format. */
export const functionName = text({ min: 1, max: 64, pattern: /^[a-zA-Z0-9_-]+$/ });

/** Maximum length of the id of a stored object. Lambent's ids have about 50 characters. */
export const MAX_ID_LENGTH = 128;

/** The id of a stored object. Any text that is not an id of Lambent leads to a not-found error. */
export const storedId = text({ min: 1, max: MAX_ID_LENGTH });

/** A whole number from `min` to `max`, both included. */
export function integer(min: number, max: number) {
  return v.pipe(
    v.custom<number>((input) => Number.isInteger(input), 'an integer'),
    v.minValue(
      min,
      ({ input }) => `integer below minimum value. Expected a value >= ${min}, but got ${input} instead.`,
    ),
    v.maxValue(
      max,
      ({ input }) => `integer above maximum value. Expected a value <= ${max}, but got ${input} instead.`,
    ),
  );
}

/** A number from `min` to `max`, both included. */
export function decimal(min: number, max: number) {
  return v.pipe(
    v.number('a decimal'),
    v.minValue(
      min,
      ({ input }) => `decimal below minimum value. Expected a value >= ${min}, but got ${input} instead.`,
    ),
    v.maxValue(
      max,
      ({ input }) => `decimal above maximum value. Expected a value <= ${max}, but got ${input} instead.`,
    ),
  );
}

/** One of the strings in `values`. */
export function oneOf<const T extends readonly string[]>(values: T, supported: readonly string[] = values) {
  return v.picklist(values, formatList(supported));
}

/**
 * An array of `min` to `max` items.
 * @param plural the items' type for error messages ("objects")
 */
export function arrayOf<T extends Schema>(item: T, plural: string, { min = 0, max = Number.POSITIVE_INFINITY } = {}) {
  return v.pipe(
    v.array(item, `an array of ${plural}`),
    v.minLength(
      min,
      ({ requirement }) =>
        `empty array. Expected an array with minimum length ${requirement}, but got an empty array instead.`,
    ),
    v.maxLength(
      max,
      ({ input, requirement }) =>
        `array too long. Expected an array with maximum length ${requirement}, but got an array with length ${input.length} instead.`,
    ),
  );
}

/** An object with these fields. Others are dropped; `listUnknownFields` names them. */
export function object<const T extends v.ObjectEntries>(entries: T) {
  const fields = v.object(entries, 'an object');
  // valibot accepts an array as an object.
  return v.lazy((input) => (Array.isArray(input) ? notAnObject : fields));
}

const notAnObject = v.custom<never>(() => false, 'an object');

/** Any JSON object, for example a JSON schema. It is kept unchanged. */
export const jsonObject = v.custom<Readonly<Record<string, unknown>>>(isObject, 'an object');

/** A JSON object of at most `max` fields. `check` returns the fault of a field, or undefined if it is valid. */
export function recordOf<T>(max: number, check: (key: string, value: unknown) => string | undefined) {
  return v.pipe(
    v.custom<Readonly<Record<string, T>>>(isObject, 'an object'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const input = dataset.value;
      const entries = Object.entries(input);
      if (entries.length > max) {
        addIssue({
          message: `too many properties. Expected an object with at most ${max} properties, but got ${entries.length} properties instead.`,
        });
      }
      for (const [key, value] of entries) {
        const message = check(key, value);
        if (message === undefined) continue;
        addIssue({ message, path: [{ type: 'object', origin: 'value', input, key, value }] });
        return;
      }
    }),
  );
}

/** A string, or an array with the schema `parts`. */
export function textOrParts<T extends Schema>(parts: T) {
  return v.lazy((input) => (typeof input === 'string' ? string : Array.isArray(input) ? parts : notStringOrArray));
}

const notStringOrArray = v.custom<never>(() => false, 'one of a string or array of objects');

/**
 * An object whose field `key` selects its schema.
 * @param options a schema for each supported value of the field
 * @param unsupported the other values of OpenAI's API, which Lambent rejects
 * @param other the schema of an object with any other value; absent to reject it
 */
export function variant<const T extends Readonly<Record<string, Schema>>, O extends Schema = never>(
  key: string,
  options: T,
  unsupported: readonly string[] = [],
  other?: O,
) {
  const schemas = new Map<string, T[keyof T]>();
  for (const kind in options) schemas.set(kind, options[kind]);
  const supported = [...schemas.keys()];
  const unsupportedKind = v.pipe(
    v.looseObject({ [key]: v.pipe(string, rejectKind(supported)) }),
    v.never('an object of another kind'),
  );
  const unknownKind = v.pipe(v.object({ [key]: oneOf(supported) }, 'an object'), v.never('an object of another kind'));
  return v.lazy((input): T[keyof T] | O | typeof unsupportedKind | typeof unknownKind | typeof notAnObject => {
    if (!isObject(input)) return notAnObject;
    const kind = input[key];
    if (typeof kind !== 'string') return unknownKind;
    return unsupported.includes(kind) ? unsupportedKind : (schemas.get(kind) ?? other ?? unknownKind);
  });
}

/** Returns a check that always fails, with a message that names the unsupported kind. */
function rejectKind(supported: readonly string[]) {
  return v.check<string, v.ErrorMessage<v.CheckIssue<string>>>(
    () => false,
    ({ input }) => `does not support '${input}' here. Supported values are: ${formatList(supported)}.`,
  );
}

/** A check for values of OpenAI's API that Lambent supports. In the message, `reason` follows the field's name. */
export function supportedIf<T>(isSupported: (value: T) => boolean, reason: string) {
  return v.check<T, string>(isSupported, reason);
}

/** A field of OpenAI's API that Lambent rejects with any value but null. In the message, `reason` follows its name. */
export function unsupported(reason: string) {
  return v.nullish(v.never(reason));
}

/** A field that is accepted with any value and ignored. */
export const ignored = v.nullish(v.unknown());

/**
 * A field that has no effect here. It is checked with its schema and dropped, so that `listUnknownFields` names it as it
 * names fields that no schema has.
 */
export function withoutEffect<T extends Schema>(schema: T) {
  return v.nullish(
    v.pipe(
      schema,
      v.transform(() => undefined),
    ),
  );
}

/** Formats a list as OpenAI does: 'a', 'b', and 'c'. */
export function formatList(values: readonly string[]): string {
  const quoted = values.map((value) => `'${value}'`);
  const last = quoted.pop() ?? '';
  if (quoted.length === 0) return last;
  return quoted.length === 1 ? `${quoted[0]} and ${last}` : `${quoted.join(', ')}, and ${last}`;
}
