/** Fields of reasoning that only its upstream can read. */
const FIELDS: ReadonlySet<string> = new Set(['signature', 'redacted', 'data', 'content', 'encrypted_content']);
/** Base64 of more bytes than most values have. */
const BASE64 = /^[\w+/-]{64,}={0,2}$/;

/**
 * Returns whether a text in a record of reasoning is a signature or encrypted content. Nothing can be found in it, besides
 * matches by chance.
 */
export function isOpaque(text: string, field: string | undefined): boolean {
  return field !== undefined && FIELDS.has(field) && BASE64.test(text);
}
