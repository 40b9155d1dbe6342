import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** What a key is for, and how it begins, so that scanners for secrets and people recognize it. */
const PREFIXES = {
  project: 'sk-proj-',
  admin: 'sk-admin-',
  serviceAccount: 'sk-svcacct-',
  accessToken: 'sk-token-',
} as const;
export type KeyKind = keyof typeof PREFIXES;

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 256 bits in base 62. */
const SECRET_LENGTH = 43;
/** 32 bits in base 62. */
const CHECKSUM_LENGTH = 6;
const FORM = new RegExp(
  `^((?:${Object.values(PREFIXES).join('|')})[0-9A-Za-z]{${SECRET_LENGTH}})([0-9A-Za-z]{${CHECKSUM_LENGTH}})$`,
);
/** A key of an earlier version, which has no checksum. */
const EARLIER_FORM = /^sk-[0-9a-f]{64}$/;

/** Returns a random key: a prefix, 256 random bits and a checksum. */
export function generateKey(kind: KeyKind): string {
  const secret = Array.from({ length: SECRET_LENGTH }, () => DIGITS[randomInt(DIGITS.length)]).join('');
  const text = `${PREFIXES[kind]}${secret}`;
  return `${text}${computeChecksum(text)}`;
}

/**
 * Returns whether a text has the form of a key that Lambent has generated, checksum included. What has not is refused
 * without a read. The checksum finds truncated and mistyped keys; it is no secret.
 */
export function hasKeyForm(text: string): boolean {
  const [, secret, checksum] = FORM.exec(text) ?? [];
  return secret === undefined ? EARLIER_FORM.test(text) : computeChecksum(secret) === checksum;
}

/** Returns the CRC-32 of a text in base 62. */
function computeChecksum(text: string): string {
  let digits = '';
  for (let rest = crc32(text); digits.length < CHECKSUM_LENGTH; rest = Math.floor(rest / DIGITS.length))
    digits = `${DIGITS[rest % DIGITS.length]}${digits}`;
  return digits;
}
