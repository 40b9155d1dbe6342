import { randomUUID } from 'node:crypto';

/** Creates a random id of `digits` hexadecimal digits, at most 32. */
export function newId(digits = 32): string {
  return randomUUID().replaceAll('-', '').slice(0, digits);
}

/** Returns an id that a caller sent, in a form that fits an error message: at most 128 characters of valid Unicode. */
export function abbreviateId(id: string): string {
  return id.slice(0, 128).toWellFormed();
}
