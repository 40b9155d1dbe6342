import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateKey, hasKeyForm } from '../../../shared/access/api-key.ts';

const KINDS = ['project', 'admin', 'serviceAccount'] as const;
const base62 = fc.stringMatching(/^[0-9A-Za-z]$/);

describe('a generated key', () => {
  it.each([
    ['project', /^sk-proj-[0-9A-Za-z]{49}$/],
    ['admin', /^sk-admin-[0-9A-Za-z]{49}$/],
    ['serviceAccount', /^sk-svcacct-[0-9A-Za-z]{49}$/],
  ] as const)('a key of the kind %s has its prefix, 43 random characters and six of a checksum', (kind, form) => {
    const keys = Array.from({ length: 100 }, () => generateKey(kind));
    for (const key of keys) expect(key).toMatch(form);
    for (const key of keys) expect(hasKeyForm(key)).toBe(true);
    expect(new Set(keys).size).toBe(100);
  });

  it('the checksum is the CRC-32 of what precedes it, in base 62', () => {
    const key = generateKey('project');
    const digits = [...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'];
    const sum = [...key.slice(-6)].reduce((value, digit) => value * 62 + digits.indexOf(digit), 0);
    expect(sum).toBe(crc32(key.slice(0, -6)));
  });

  it('a key with a changed character, a transposition or another length has not the form of a key', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), fc.nat(48), base62, (kind, index, character) => {
        const key = generateKey(kind);
        const at = key.length - 49 + index;
        const changed = `${key.slice(0, at)}${character}${key.slice(at + 1)}`;
        expect(hasKeyForm(changed)).toBe(changed === key);
        const swapped = `${key.slice(0, at)}${key[at + 1] ?? ''}${key[at]}${key.slice(at + 2)}`;
        expect(hasKeyForm(swapped)).toBe(swapped === key);
        expect(hasKeyForm(key.slice(0, at))).toBe(false);
        expect(hasKeyForm(`${key}${character}`)).toBe(false);
      }),
    );
  });

  it.each([
    'sk-local',
    'sk-proj-',
    'sk-',
    '',
    'undefined',
    `sk-${'a'.repeat(63)}`,
    `sk-${'G'.repeat(64)}`,
    'sk-ant-api03-abc',
  ])('%j has not the form of a key', (text) => {
    expect(hasKeyForm(text)).toBe(false);
  });

  it('a key of an earlier version has the form of a key', () => {
    expect(hasKeyForm(`sk-${'0123456789abcdef'.repeat(4)}`)).toBe(true);
  });
});
