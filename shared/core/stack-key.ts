import { hkdfSync } from 'node:crypto';

/**
 * Derives a key for values that callers see but must not be able to compute. It protects no content: an operator may
 * read the identifier.
 * @param stackId an identifier that is unique to the stack and that no caller knows or can guess, for example the ARN of
 * its KMS key
 * @param purpose a text of its own for each kind of value
 * @returns 32 bytes (HKDF with SHA-256, RFC 5869)
 */
export function deriveStackKey(stackId: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', stackId, '', purpose, 32));
}
