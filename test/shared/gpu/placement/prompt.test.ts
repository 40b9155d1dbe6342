import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BLOCK_BYTES,
  deriveTenantSalt,
  hashPrefixes,
  listPrefixDepths,
} from '../../../../shared/gpu/placement/prompt.ts';

const owner = { tenant: 'acme', model: 'qwen', salt: deriveTenantSalt('acme', 'qwen') };
const listHashes = (text: string, changes: Partial<typeof owner> = {}) =>
  hashPrefixes(text, { ...owner, ...changes }).prefixes.map(({ hash }) => hash);

describe('prompt prefixes', () => {
  it('prefixes are hashed at geometric depths, at most 25 of them', () => {
    expect(listPrefixDepths(50)).toEqual([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]);
    expect(listPrefixDepths(0)).toEqual([]);
    const { bytes, prefixes } = hashPrefixes('x'.repeat(524_288), owner);
    expect(bytes).toBe(524_288);
    expect(prefixes).toHaveLength(22);
    expect(prefixes.at(-1)?.bytes).toBe(524_288);
    expect(hashPrefixes('x'.repeat(6_000_000), owner).prefixes).toHaveLength(25);
  });

  it('a session is the first entry, and takes the place of the longest prefix of a very long prompt', () => {
    const hash = (text: string, changes: object = {}) => hashPrefixes(text, { ...owner, session: 's', ...changes });
    const [session, ...prefixes] = hash('x'.repeat(4_096)).prefixes;
    expect({ bytes: session?.bytes, prefixes }).toEqual({
      bytes: 1_024,
      prefixes: hashPrefixes('x'.repeat(4_096), owner).prefixes,
    });
    expect(hash('y'.repeat(100)).prefixes).toEqual([{ bytes: 100, hash: session?.hash }]);
    expect(hash('x'.repeat(6_000_000)).prefixes).toHaveLength(25);
    for (const changes of [{ session: 't' }, { tenant: 'other' }, { model: 'other' }, { salt: 'other' }])
      expect(hash('y', changes).prefixes[0]?.hash).not.toBe(session?.hash);
  });

  it('a prompt shorter than a block has no prefixes', () => {
    expect(hashPrefixes('é'.repeat(127), owner)).toEqual({ bytes: 254, prefixes: [] });
    expect(hashPrefixes([], owner)).toEqual({ bytes: 0, prefixes: [] });
  });

  it('two prompts share a hash exactly where their prefixes are equal', () => {
    const text = fc.string({ minLength: 1, maxLength: 4_000 });
    fc.assert(
      fc.property(text, text, text, (common, one, other) => {
        const a = hashPrefixes(common + one, owner).prefixes;
        const b = hashPrefixes(common + other, owner).prefixes;
        const bytesA = Buffer.from(common + one);
        const bytesB = Buffer.from(common + other);
        for (const [index, { bytes, hash }] of a.entries()) {
          const isEqual = bytesA.subarray(0, bytes).equals(bytesB.subarray(0, bytes));
          expect(b[index]?.hash === hash).toBe(isEqual && b[index] !== undefined);
          expect(bytes % BLOCK_BYTES).toBe(0);
        }
      }),
    );
  });

  it('the hashes do not depend on how the prompt is split into parts', () => {
    const parts = fc.array(fc.string({ unit: 'grapheme', maxLength: 700 }), { maxLength: 12 });
    fc.assert(
      fc.property(parts, (split) => {
        expect(hashPrefixes(split, owner)).toEqual(hashPrefixes(split.join(''), owner));
      }),
    );
  });

  it('the hashes of equal prompts differ by tenant, fleet and model', () => {
    const name = fc.stringMatching(/^[a-z0-9._-]{1,20}$/);
    fc.assert(
      fc.property(fc.string({ minLength: 300 }), name, name, (text, one, other) => {
        fc.pre(one !== other);
        const of = (tenant: string) => listHashes(text, { tenant, salt: deriveTenantSalt(tenant, 'qwen') });
        const hashes = new Set(of(one));
        expect(of(other).some((hash) => hashes.has(hash))).toBe(false);
      }),
    );
    const text = 'x'.repeat(512);
    const all = [
      ...listHashes(text),
      ...listHashes(text, { model: 'adapter' }),
      ...listHashes(text, { salt: deriveTenantSalt('acme', 'other') }),
      ...listHashes(text, { tenant: 'acm', model: 'eqwen' }),
    ];
    expect(new Set(all).size).toBe(all.length);
    expect(deriveTenantSalt('a', 'b')).not.toBe(deriveTenantSalt('ab', ''));
  });

  it('a hash contains nothing of the prompt or its tenant', () => {
    for (const hash of listHashes('acme '.repeat(200))) expect(hash).toMatch(/^[\w-]{22}$/);
  });
});
