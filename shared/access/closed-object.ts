import * as v from 'valibot';

/** Returns the schema of an object that has these fields alone. valibot's own accepts an empty array, too. */
export function closedObject<const T extends v.ObjectEntries>(entries: T) {
  return v.pipe(notAnArray, v.strictObject(entries));
}

/** Begins the schema of an object. */
export const notAnArray = v.custom<object>((input) => !Array.isArray(input), 'Expected an object');
