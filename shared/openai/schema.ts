import * as v from 'valibot';

/**
 * The words that request schemas are written in. A message in a schema is not a sentence but a piece of one, which
 * `validation.ts` puts in place: for a type it is what was expected ("an integer"), for a check what is wrong.
 */

type Schema = v.GenericSchema<unknown, unknown>;

export const string = v.string('a string');
export const boolean = v.boolean('a boolean');

/** A string with `min` to `max` UTF-16 units, and of `pattern` if one is given. */
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

/** The names of functions and of output formats. */
export const functionName = text({ min: 1, max: 64, pattern: /^[a-zA-Z0-9_-]+$/ });

/** The id of something that is stored. Ours have about 40 characters; any other text is just not found. */
export const storedId = text({ min: 1, max: 128 });

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
export function oneOf<const T extends readonly string[]>(values: T) {
  return v.picklist(values, listed(values));
}

/** An array of `min` to `max` times `item`; `phrase` says in the plural what they are ("objects"). */
export function arrayOf<T extends Schema>(item: T, phrase: string, { min = 0, max = Number.POSITIVE_INFINITY } = {}) {
  return v.pipe(
    v.array(item, `an array of ${phrase}`),
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

/** An object with these fields and no others. */
export function object<const T extends v.ObjectEntries>(entries: T) {
  const fields = v.strictObject(entries, 'an object');
  // valibot takes an array for an object.
  return v.lazy((input) => (Array.isArray(input) ? notAnObject : fields));
}

const notAnObject = v.custom<never>(() => false, 'an object');

/** Any JSON object, as it came: a JSON schema, say. */
export const jsonObject = v.custom<Readonly<Record<string, unknown>>>(isObject, 'an object');

/** A JSON object of at most `max` fields, each looked at by `check`, which says what is wrong with it, if anything. */
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

/** Text, or an array of parts. */
export function textOrParts<T extends Schema>(parts: T) {
  return v.lazy((input) => (typeof input === 'string' ? string : Array.isArray(input) ? parts : neither));
}

const neither = v.custom<never>(() => false, 'one of a string or array of objects');

/**
 * Objects told apart by the string in their field `key`.
 * @param options a schema for each value of the field
 * @param unsupported further values that OpenAI knows and Lambent refuses
 */
export function variant<const T extends Readonly<Record<string, Schema>>>(
  key: string,
  options: T,
  unsupported: readonly string[] = [],
) {
  const schemas = new Map<string, T[keyof T]>();
  for (const kind in options) schemas.set(kind, options[kind]);
  const supported = [...schemas.keys()];
  const X_unused = v.pipe(
    v.looseObject({ [key]: v.pipe(string, notSupported(supported)) }),
    v.never('an object of another kind'),
  );
  const unknownKind = v.pipe(v.object({ [key]: oneOf(supported) }, 'an object'), v.never('an object of another kind'));
  return v.lazy((input): T[keyof T] | typeof X_unused | typeof unknownKind | typeof notAnObject => {
    if (!isObject(input)) return notAnObject;
    const kind = input[key];
    if (typeof kind !== 'string') return unknownKind;
    return unsupported.includes(kind) ? X_unused : (schemas.get(kind) ?? unknownKind);
  });
}

function notSupported(supported: readonly string[]) {
  return v.check<string, v.ErrorMessage<v.CheckIssue<string>>>(
    () => false,
    ({ input }) => `does not support '${input}' here. Supported values are: ${listed(supported)}.`,
  );
}

/** A value that OpenAI takes and Lambent refuses, unless `accept` says otherwise; `why` follows the field's name. */
export function supportedIf<T>(accept: (value: T) => boolean, why: string) {
  return v.check<T, string>(accept, why);
}

/** A field that Lambent refuses, whatever is in it; `why` follows its name. */
export function unsupported(why: string) {
  return v.nullish(v.never(why));
}

/** A field that may be there, and changes nothing. */
export const ignored = v.nullish(v.unknown());

/** Enumerates as OpenAI does: 'a', 'b', and 'c'. */
function listed(values: readonly string[]): string {
  const quoted = values.map((value) => `'${value}'`);
  const last = quoted.pop() ?? '';
  if (quoted.length === 0) return last;
  return quoted.length === 1 ? `${quoted[0]} and ${last}` : `${quoted.join(', ')}, and ${last}`;
}

/** Whether `input` is an object of JSON, so neither null nor an array. */
export function isObject(input: unknown): input is Record<string, unknown> {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}
