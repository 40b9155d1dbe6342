import { isObject } from '../../../core/objects.ts';

/**
 * Functions that read JSON from an upstream leniently. Dialects omit different fields and use different types, so a
 * value that doesn't have the expected type counts as absent.
 */

/** A JSON object with unknown fields. */
export type WireObject = Readonly<Record<string, unknown>>;

/** Returns `value` if it is an object, else undefined. */
export function asObject(value: unknown): WireObject | undefined {
  return isObject(value) ? value : undefined;
}

/** Returns the objects in the array `value`; an empty array if it is not an array. */
export function asObjects(value: unknown): readonly WireObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** Returns `value` if it is a non-empty string, else undefined. */
export function asText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Returns `value` if it is an integer of 0 or more, or a string of its digits; else undefined. */
export function asCount(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
