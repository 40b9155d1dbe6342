import type { IncomingHttpHeaders } from 'node:http';

/** Beyond a day it is no pause but a quota; also keeps a nonsensical header from overflowing a timer. */
const LONGEST_MS = 86_400_000;

/**
 * How long an upstream asks to wait, from whichever header it uses: `retry-after-ms`; `retry-after` as seconds (with
 * decimals too), as a date (RFC 9110 §10.2.3) or as a duration such as `1m30s`; for a throttled request also the
 * `x-ratelimit-reset…` family, which on other answers only describes the limits.
 * @param now epoch milliseconds
 * @returns milliseconds, 0 to a day; undefined when no header says
 */
export function parseRetryAfter(status: number, headers: IncomingHttpHeaders, now: number): number | undefined {
  const sentAt = Date.parse(headers['date'] ?? '') || now;
  const wait =
    parseNumber(readHeader(headers['retry-after-ms'])) ??
    parseSecondsOrDate(readHeader(headers['retry-after']), sentAt) ??
    (status === 429 ? parseRateLimitReset(headers, sentAt) : undefined);
  return wait === undefined ? undefined : Math.min(Math.max(0, Math.ceil(wait)), LONGEST_MS);
}

/**
 * Reads a duration in Go's notation: `20ms`, `7.66s`, `6m0s`, `1h30m`.
 * @returns milliseconds, or undefined for anything else
 */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|h|m|s))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)) {
    total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  }
  return total;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const NUMBER = /^\d+(\.\d+)?$/;

function readHeader(header: string | string[] | undefined): string {
  return (Array.isArray(header) ? header[0] : header)?.trim() ?? '';
}

function parseNumber(value: string): number | undefined {
  return NUMBER.test(value) ? Number(value) : undefined;
}

/** @param sentAt the upstream's own clock: a date that it gives is on that clock, not on ours */
function parseSecondsOrDate(value: string, sentAt: number): number | undefined {
  if (NUMBER.test(value)) return Number(value) * 1_000;
  const duration = parseDuration(value);
  if (duration !== undefined) return duration;
  // Date.parse takes much that is no date: an HTTP date names its month, an ISO date begins with year and month.
  const date = /[a-z]{3}|^\d{4}-\d\d-\d\dT/i.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : date - sentAt;
}

/** OpenAI's and Groq's per-kind limits first, for those that are used up if that is told; then the plain one. */
function parseRateLimitReset(headers: IncomingHttpHeaders, sentAt: number): number | undefined {
  const kinds = ['requests', 'tokens'].flatMap((kind) => {
    const wait = parseReset(readHeader(headers[`x-ratelimit-reset-${kind}`]), sentAt);
    return wait === undefined ? [] : [{ wait, usedUp: readHeader(headers[`x-ratelimit-remaining-${kind}`]) === '0' }];
  });
  const usedUp = kinds.filter((kind) => kind.usedUp);
  if (usedUp.length > 0) return Math.max(...usedUp.map(({ wait }) => wait));
  if (kinds.length > 0) return Math.min(...kinds.map(({ wait }) => wait));
  return (
    parseReset(readHeader(headers['x-ratelimit-reset']), sentAt) ??
    parseReset(readHeader(headers['ratelimit-reset']), sentAt)
  );
}

/** A duration, a date, seconds from now, or (OpenRouter and others) a moment as epoch seconds or milliseconds. */
function parseReset(value: string, sentAt: number): number | undefined {
  const number = NUMBER.test(value) ? Number(value) : 0;
  if (number > 1e12) return number - sentAt;
  if (number > 1e9) return number * 1_000 - sentAt;
  return parseSecondsOrDate(value, sentAt);
}
