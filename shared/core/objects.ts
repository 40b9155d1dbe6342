/** True if `value` is a JSON object: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `T` whose fields that may be undefined are optional instead. */
export type DefinedProps<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/**
 * Returns a copy of `fields` without those that are undefined. `exactOptionalPropertyTypes` forbids `undefined` in an
 * optional field, and a spread would overwrite an earlier value with it.
 */
export function omitUndefined<T extends object>(fields: T): DefinedProps<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as DefinedProps<T>;
}

/**
 * Returns the path of a field in a JSON value whose name every object has (`constructor`, `toString`) or that would set a prototype
 * (`__proto__`); undefined if it has no such field. Schemas drop such fields without an error.
 */
export function findInheritedName(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, each] of Object.entries(value)) {
    if (name in Object.prototype || name === 'prototype') return name;
    const found = findInheritedName(each);
    if (found !== undefined) return `${name}.${found}`;
  }
  return undefined;
}
