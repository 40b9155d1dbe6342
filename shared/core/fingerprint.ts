import { createHash } from 'node:crypto';

/** What tells one body from another, however its fields are ordered: 32 bytes. */
export function computeFingerprint(body: unknown): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(body, inOrder) ?? '')
    .digest();
}

function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
