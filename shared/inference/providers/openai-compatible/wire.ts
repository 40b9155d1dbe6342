/**
 * Careful reading of what an upstream sent. Dialects differ in what they leave out and in which types they use, so
 * nothing about a field is taken for granted: what is not of the expected type counts as absent.
 */

/** A JSON object whose fields are not known. */
export type WireObject = Readonly<Record<string, unknown>>;

/** Whether `value` is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is WireObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `value` as an object; undefined when it is anything else. */
export function asObject(value: unknown): WireObject | undefined {
  return isObject(value) ? value : undefined;
}

/** The objects in the array `value`; none when it is anything else. */
export function asObjects(value: unknown): readonly WireObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** `value` as a text with at least one character; undefined when it is anything else. */
export function asText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** `value` as a whole number from 0, also when it was sent as digits; undefined when it is anything else. */
export function asCount(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
