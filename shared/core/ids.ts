import { randomUUID } from 'node:crypto';

/** Makes an id from random hexadecimal digits: 32 of them, or the first `digits`. */
export function newId(digits = 32): string {
  return randomUUID().replaceAll('-', '').slice(0, digits);
}
