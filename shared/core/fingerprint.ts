import { createHash } from 'node:crypto';

/** Computes a SHA-256 hash (32 bytes) of a JSON value. The order of object fields doesn't affect it. */
export function computeFingerprint(body: unknown): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(body, sortFields) ?? '')
    .digest();
}

function sortFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
