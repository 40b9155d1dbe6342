import { isIPv4, isIPv6 } from 'node:net';
import { type FindValues, findMatches } from '../finding.ts';

const V4 =
  /(?<![A-Za-z0-9])(?<![0-9A-Za-z][.:])\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9%])(?!\.\d)(?!-(?:alpha|beta|rc|pre|preview|dev|snapshot)(?![A-Za-z]))/gi;
/** Loopback, unspecified and broadcast addresses, and network masks. They identify no person. */
const V4_SPECIAL = /^(?:127\.|0\.|255\.)/;
/** What precedes a version number. */
const VERSION =
  /(?:[A-Z][A-Za-z]+\/|\bv(?:er(?:sion)?)?\.?[ :=]{0,2}|版本(?:号)?[:： 为是]{0,2}|\brelease[ :=]{0,2}|(?:[=<>~^]=|[@~^])|\b(?:chapter|section|firmware|kernel|build|[a-z]*os|oid)[ :]{0,2}|(?:内核|固件|章|第)[ :]?)$/i;
/** What follows the address of a network. */
const PREFIX = /^\/(\d{1,2})(?!\d)/;
/** The longest prefix of networks that are larger than those of households. */
const MAX_PREFIX = 24;
const V6_RUNS = /[0-9A-Fa-f:.]+/g;
const MAX_V6 = 45;

/** Finds IP addresses of both versions. */
export const findIps: FindValues = function* (text) {
  yield* findMatches(text, V4, (value, { index }) => {
    if (
      V4_SPECIAL.test(value) ||
      !isIPv4(value) ||
      isNetwork(value, text.slice(index + value.length, index + value.length + 4))
    )
      return false;
    return !VERSION.test(text.slice(Math.max(0, index - 24), index));
  });
  for (const { 0: run, index } of text.matchAll(V6_RUNS)) {
    if (run.length > MAX_V6 + 2) continue;
    // Words before an address may end with its characters, and a colon or a full stop may touch it.
    const isWord = /[A-Za-z]/.test(text[index - 1] ?? '');
    const start = isWord ? run.indexOf(':') + 1 : /^:(?!:[^:])/.test(run) ? 1 : 0;
    const value = run.slice(start).replace(/(?:(?<!:):|[.])$/, '');
    if (
      isAddress(value) &&
      !/[A-Za-z0-9]/.test(run.slice(start + value.length) === '' ? (text[index + run.length] ?? '') : '')
    )
      yield { start: index + start, end: index + start + value.length };
  }
};

/** Returns whether a length of the prefix follows an address, and all bits after it are 0: `10.0.0.0/8`. */
function isNetwork(value: string, after: string): boolean {
  const length = Number(PREFIX.exec(after)?.[1] ?? 33);
  if (length > MAX_PREFIX) return false;
  const number = value.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return number % 2 ** (32 - length) === 0;
}

/** Code such as `a::b` and times are no addresses. `::` and `::1` identify no person. */
function isAddress(value: string): boolean {
  return (
    /\d/.test(value) &&
    value.split(':').some((group) => group.length >= 3) &&
    /[^:]:+[^:]|^::[^:]/.test(value) &&
    isIPv6(value)
  );
}
