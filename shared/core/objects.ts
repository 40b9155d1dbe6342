/** True if `value` is a JSON object: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The fields of `T` that are never undefined as they are, and the others as optional fields. */
export type DefinedProps<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/**
 * Copies `fields` without those that are undefined. Use it where an absent field is meant: `exactOptionalPropertyTypes` forbids
 * `undefined` in an optional field, and a spread would overwrite an earlier value with it.
 */
export function definedProps<T extends object>(fields: T): DefinedProps<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as DefinedProps<T>;
}
