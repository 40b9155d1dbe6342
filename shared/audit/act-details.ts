import { createHash } from 'node:crypto';

/**
 * Far below the 256 KB at which CloudWatch may split a line, and the 400 KB of an item of DynamoDB, also if the text is escaped as
 * part of another JSON text.
 */
const MAX_BYTES = 32_768;

/**
 * Returns the details of an act, which are JSON text. Of details above 32 KB, the result has only the size in bytes and the SHA-256, in
 * hexadecimal: `{"omitted":{"size_bytes":40000,"sha256":"…"}}`.
 */
export function limitDetails(details: string): string {
  const sizeBytes = Buffer.byteLength(details);
  if (sizeBytes <= MAX_BYTES) return details;
  const sha256 = createHash('sha256').update(details).digest('hex');
  return JSON.stringify({ omitted: { size_bytes: sizeBytes, sha256 } });
}
