/** Fields that only the upstream can read, in records of reasoning that a caller gives back. */
const FIELDS = ['signature', 'data', 'encrypted_content'];
/** Those in the provider's own record, which a caller has sealed. */
const SEALED_FIELDS = [...FIELDS, 'redacted', 'content', 'thought_signature'];
/** Base64 of more bytes than most values have. */
const BASE64 = /^[\w+/-]{64,}={0,2}$/;

/** Where a record of reasoning is from. */
export type RecordSource = 'caller' | 'provider';

/**
 * Returns whether a text in a record of reasoning is a signature or encrypted content. Terms, patterns and names in it are matches
 * by chance.
 */
export function isOpaque(text: string, field: string | undefined, source: RecordSource): boolean {
  const fields = source === 'caller' ? FIELDS : SEALED_FIELDS;
  return field !== undefined && fields.includes(field) && isOpaqueText(text);
}

/** Returns whether a text may be a signature or encrypted content. */
export function isOpaqueText(text: string): boolean {
  return BASE64.test(text);
}
