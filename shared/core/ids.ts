import { randomUUID } from 'node:crypto';

/** Creates a random id of hexadecimal digits. */
export function newId(digits = 32): string {
  return randomUUID().replaceAll('-', '').slice(0, digits);
}
