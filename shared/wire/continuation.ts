import { isObject } from '../core/objects.ts';
import { SEALED } from '../inference/continuation-seal.ts';
import type { Continuation, ReasoningPart } from '../inference/generation.ts';

/**
 * Encodes a reasoning item's text and the provider's continuation as the item's `encrypted_content`. The caller sends
 * it back with the next request. A continuation that the router's models have sealed has the text in it. The result isn't
 * trusted.
 * @returns undefined if the encoded text would be longer than 1 MiB
 */
export function encodeReasoning(text: string, continuation: Continuation): string | undefined {
  const json = JSON.stringify({
    text: continuation.provider === SEALED ? '' : text,
    provider: continuation.provider,
    data: continuation.data,
  });
  const encoded = PREFIX + Buffer.from(json, 'utf8').toString('base64url');
  return encoded.length <= MAX_LENGTH ? encoded : undefined;
}

/** Decodes a result of `encodeReasoning`. Returns undefined for any other text, such as another service's content. */
export function decodeReasoning(encoded: string): ReasoningPart | undefined {
  if (!encoded.startsWith(PREFIX) || encoded.length > MAX_LENGTH) return undefined;
  const json = parseJson(Buffer.from(encoded.slice(PREFIX.length), 'base64url').toString('utf8'));
  if (!isObject(json) || typeof json['text'] !== 'string' || typeof json['provider'] !== 'string') return undefined;
  if (!('data' in json) || !isNestedAtMost(json['data'], MAX_DEPTH)) return undefined;
  return { type: 'reasoning', text: json['text'], continuation: { provider: json['provider'], data: json['data'] } };
}

/** The format's name and version. */
const PREFIX = 'lambent1.';
/** 1 MiB: many times the longest reasoning, and a small part of the largest request. */
const MAX_LENGTH = 1_048_576;
/** Continuations have a few levels of nesting. A forged one could be deep enough to overflow the stack. */
const MAX_DEPTH = 16;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isNestedAtMost(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((child) => isNestedAtMost(child, depth - 1));
}
