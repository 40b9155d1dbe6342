import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BLOCK_BYTES,
  deriveTenantSalt,
  hashPrefixes,
  listPrefixDepths,
} from '../../../../shared/gpu/placement/prompt.ts';

const owner = { tenant: 'acme', model: 'qwen', salt: deriveTenantSalt('acme', 'qwen') };
const hashesOf = (text: string, changes: Partial<typeof owner> = {}) =>
  hashPrefixes(text, { ...owner, ...changes }).prefixes.map(({ hash }) => hash);

describe('a prompt', () => {
  test('has names at geometric depths, so that its length hardly matters', () => {
    expect(listPrefixDepths(50)).toEqual([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]);
    expect(listPrefixDepths(0)).toEqual([]);
    const { bytes, prefixes } = hashPrefixes('x'.repeat(524_288), owner);
    expect(bytes).toBe(524_288);
    expect(prefixes).toHaveLength(22);
    expect(prefixes.at(-1)?.bytes).toBe(524_288);
    expect(hashPrefixes('x'.repeat(6_000_000), owner).prefixes).toHaveLength(25);
  });

  test('that is shorter than a block has a length and no names', () => {
    expect(hashPrefixes('é'.repeat(127), owner)).toEqual({ bytes: 254, prefixes: [] });
    expect(hashPrefixes([], owner)).toEqual({ bytes: 0, prefixes: [] });
  });

  test('shares names with another exactly as far as both begin alike', () => {
    const text = fc.string({ minLength: 1, maxLength: 4_000 });
    fc.assert(
      fc.property(text, text, text, (common, one, other) => {
        const a = hashPrefixes(common + one, owner).prefixes;
        const b = hashPrefixes(common + other, owner).prefixes;
        const bytesA = Buffer.from(common + one);
        const bytesB = Buffer.from(common + other);
        for (const [index, { bytes, hash }] of a.entries()) {
          const alike = bytesA.subarray(0, bytes).equals(bytesB.subarray(0, bytes));
          expect(b[index]?.hash === hash).toBe(alike && b[index] !== undefined);
          expect(bytes % BLOCK_BYTES).toBe(0);
        }
      }),
    );
  });

  test('has the same names wherever it is cut into parts', () => {
    const parts = fc.array(fc.string({ unit: 'grapheme', maxLength: 700 }), { maxLength: 12 });
    fc.assert(
      fc.property(parts, (cut) => {
        expect(hashPrefixes(cut, owner)).toEqual(hashPrefixes(cut.join(''), owner));
      }),
    );
  });

  test('of another tenant, fleet or model has other names', () => {
    const name = fc.stringMatching(/^[a-z0-9._-]{1,20}$/);
    fc.assert(
      fc.property(fc.string({ minLength: 300 }), name, name, (text, one, other) => {
        fc.pre(one !== other);
        const of = (tenant: string) => hashesOf(text, { tenant, salt: deriveTenantSalt(tenant, 'qwen') });
        const names = new Set(of(one));
        expect(of(other).some((hash) => names.has(hash))).toBe(false);
      }),
    );
    const text = 'x'.repeat(512);
    const all = [
      ...hashesOf(text),
      ...hashesOf(text, { model: 'adapter' }),
      ...hashesOf(text, { salt: deriveTenantSalt('acme', 'other') }),
      ...hashesOf(text, { tenant: 'acm', model: 'eqwen' }),
    ];
    expect(new Set(all).size).toBe(all.length);
    expect(deriveTenantSalt('a', 'b')).not.toBe(deriveTenantSalt('ab', ''));
  });

  test('has names that show nothing of it or its tenant', () => {
    for (const hash of hashesOf('acme '.repeat(200))) expect(hash).toMatch(/^[\w-]{22}$/);
  });
});
