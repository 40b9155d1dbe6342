import type { InlineImage } from '../inference/generation.ts';

const MEDIA_TYPES: ReadonlyMap<string, InlineImage['mediaType']> = new Map([
  ['image/png', 'image/png'],
  ['image/jpeg', 'image/jpeg'],
  // This type isn't registered, but many programs send it.
  ['image/jpg', 'image/jpeg'],
  ['image/gif', 'image/gif'],
  ['image/webp', 'image/webp'],
]);

/** Returns the supported media type that a caller's text names; undefined for any other text. */
export function parseImageType(text: string): InlineImage['mediaType'] | undefined {
  return MEDIA_TYPES.get(text.toLowerCase());
}

/** Returns whether `text` is standard base64 with padding, and not empty. */
export function isBase64(text: string): boolean {
  return text !== '' && text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}

/**
 * Excludes backslashes, white space and control characters. The WHATWG parser replaces or removes them, but other
 * parsers don't, and so find another host.
 */
const PLAIN_HTTPS = /^https:\/\/[^\\\s\p{Cc}]+$/u;

/**
 * Returns `url` normalized if a provider may fetch it: https, default port, no credentials and a listed host. The host
 * must be written in its normalized form, because the target of a native request parses the original text.
 */
export function normalizeAllowedUrl(url: string, hosts: readonly string[]): string | undefined {
  const parsed = PLAIN_HTTPS.test(url) ? URL.parse(url) : null;
  if (parsed === null || parsed.port !== '' || parsed.username !== '' || parsed.password !== '') return undefined;
  if (!url.toLowerCase().startsWith(parsed.origin)) return undefined;
  const isListed = hosts.some((host) =>
    host.startsWith('*.') ? parsed.hostname.endsWith(host.slice(1)) : parsed.hostname === host,
  );
  return isListed ? parsed.href : undefined;
}
