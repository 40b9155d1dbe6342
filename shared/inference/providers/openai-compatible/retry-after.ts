import type { IncomingHttpHeaders } from 'node:http';

/** A longer time means a quota, not a pause. The limit also keeps an absurd header from overflowing a timer. */
const LONGEST_MS = 86_400_000;

/**
 * Returns how long an upstream asks the client to wait. Reads `retry-after-ms`; `retry-after` as seconds (decimals
 * included), as a date (RFC 9110 §10.2.3) or as a duration such as `1m30s`; and with status 429 the
 * `x-ratelimit-reset…` headers, which don't ask the client to wait in other responses.
 * @param now epoch milliseconds
 * @returns milliseconds from 0 to a day; undefined without such a header
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
 * Parses a duration in Go's notation: `20ms`, `7.66s`, `6m0s`, `1h30m`.
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

/**
 * Parses seconds, a duration or a date.
 * @param sentAt time of the response by the upstream's clock, to which its dates refer; epoch milliseconds
 * @returns milliseconds, or undefined for anything else
 */
function parseSecondsOrDate(value: string, sentAt: number): number | undefined {
  if (NUMBER.test(value)) return Number(value) * 1_000;
  const duration = parseDuration(value);
  if (duration !== undefined) return duration;
  // Date.parse accepts many texts that aren't dates. An HTTP date has a month's name; an ISO date begins with the year.
  const date = /[a-z]{3}|^\d{4}-\d\d-\d\dT/i.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : date - sentAt;
}

/**
 * Returns the milliseconds until a rate limit is reset. OpenAI and Groq have separate limits for requests and tokens:
 * the latest reset of the exhausted ones, or the earliest of both if neither is exhausted. Others have one limit.
 */
function parseRateLimitReset(headers: IncomingHttpHeaders, sentAt: number): number | undefined {
  const limits = ['requests', 'tokens'].flatMap((kind) => {
    const wait = parseReset(readHeader(headers[`x-ratelimit-reset-${kind}`]), sentAt);
    const isExhausted = readHeader(headers[`x-ratelimit-remaining-${kind}`]) === '0';
    return wait === undefined ? [] : [{ wait, isExhausted }];
  });
  const exhausted = limits.filter(({ isExhausted }) => isExhausted);
  if (exhausted.length > 0) return Math.max(...exhausted.map(({ wait }) => wait));
  if (limits.length > 0) return Math.min(...limits.map(({ wait }) => wait));
  return (
    parseReset(readHeader(headers['x-ratelimit-reset']), sentAt) ??
    parseReset(readHeader(headers['ratelimit-reset']), sentAt)
  );
}

/** Parses a duration, a date, seconds from now or (OpenRouter and others) a time in epoch seconds or milliseconds. */
function parseReset(value: string, sentAt: number): number | undefined {
  const number = NUMBER.test(value) ? Number(value) : 0;
  if (number > 1e12) return number - sentAt;
  if (number > 1e9) return number * 1_000 - sentAt;
  return parseSecondsOrDate(value, sentAt);
}
