import { invalidValueError } from './value-errors.ts';

/**
 * Decodes the bytes of an image or a document.
 * @throws UpstreamError `invalid_value`, naming `param`, for text that is not base64
 */
export function decodeBase64(text: string, kind: 'image' | 'document', param: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  // Node skips characters that are not base64. Encoding the bytes again shows whether it skipped any.
  if (bytes.length === 0 || removePadding(bytes.toString('base64')) !== removePadding(text)) {
    throw invalidValueError(param, `the ${kind} is not valid base64`);
  }
  return Uint8Array.from(bytes);
}

/** Removes the `=` at the end. The time of a regular expression would grow with the square of the `=` in a text. */
function removePadding(base64: string): string {
  let end = base64.length;
  while (base64[end - 1] === '=') end -= 1;
  return base64.slice(0, end);
}
