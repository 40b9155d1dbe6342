import { isObject } from '../../core/objects.ts';

/**
 * Returns the fields of a call with its thought signature, which Gemini wants back, as in its compatible API.
 * @see https://ai.google.dev/gemini-api/docs/thought-signatures
 */
export function encodeSignature(thought_signature: string | undefined) {
  return thought_signature === undefined ? {} : { extra_content: { google: { thought_signature } } };
}

/** Returns the thought signature of a call that a caller sends back, if it has one. */
export function readSignature(call: object): { readonly signature?: string } {
  const extra = 'extra_content' in call ? call.extra_content : undefined;
  const google = isObject(extra) ? extra['google'] : undefined;
  const signature = isObject(google) ? google['thought_signature'] : undefined;
  return typeof signature === 'string' && signature !== '' ? { signature } : {};
}
