import { createHash } from 'node:crypto';
import type { CallIdRule } from './dialect.ts';

const CHARACTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/**
 * Returns the function that makes ids of tool calls acceptable. An id that breaks the rule is replaced by its hash, so
 * that a call and its result still match. The hash never reaches the caller.
 */
export function createCallIdWriter(rule: CallIdRule | undefined): (id: string) => string {
  if (rule === undefined) return (id) => id;
  return (id) => (rule.pattern.test(id) ? id : hashId(id, rule.length));
}

function hashId(id: string, length: number): string {
  const bytes = createHash('sha256').update(id).digest().subarray(0, length);
  return Array.from(bytes, (byte) => CHARACTERS.charAt(byte % CHARACTERS.length)).join('');
}
