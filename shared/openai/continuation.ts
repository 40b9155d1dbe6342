import type { Continuation, ReasoningPart } from '../inference/generation.ts';
import { isObject } from './schema.ts';

/**
 * `encrypted_content` of a reasoning item: a turn's reasoning with the provider's own record of it, for callers to
 * bring back with the next request. It is opaque and versioned, not secret: it holds nothing that its caller may not
 * read. Nor is it trusted: what a caller changes in it, the provider finds out by its own signature.
 */
export function encodeReasoning(text: string, continuation: Continuation): string | undefined {
  const json = JSON.stringify({ text, provider: continuation.provider, data: continuation.data });
  const sealed = PREFIX + Buffer.from(json, 'utf8').toString('base64url');
  return sealed.length <= MAX_LENGTH ? sealed : undefined;
}

/** Opens what `sealReasoning` made; undefined for anything else, such as what another service encrypted. */
export function decodeReasoning(sealed: string): ReasoningPart | undefined {
  if (!sealed.startsWith(PREFIX) || sealed.length > MAX_LENGTH) return undefined;
  const json = parsed(Buffer.from(sealed.slice(PREFIX.length), 'base64url').toString('utf8'));
  if (!isObject(json) || typeof json['text'] !== 'string' || typeof json['provider'] !== 'string') return undefined;
  if (!('data' in json) || !isShallow(json['data'], MAX_DEPTH)) return undefined;
  return { type: 'reasoning', text: json['text'], continuation: { provider: json['provider'], data: json['data'] } };
}

/** Names the format and its version. */
const PREFIX = 'lambent1.';
/** A mebibyte: many times the longest reasoning, and a small part of a request. */
const MAX_LENGTH = 1_048_576;
/** A provider's record is a few levels deep; what a caller made up may be deep enough to break whoever walks it. */
const MAX_DEPTH = 16;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isShallow(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((child) => isShallow(child, depth - 1));
}
