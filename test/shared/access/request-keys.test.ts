import { describe, expect, it } from 'vitest';
import { parseKey } from '../../../shared/access/request-keys.ts';

describe('parseKey', () => {
  it.each([
    ['Bearer sk-local', 'sk-local'],
    ['bearer  sk-local ', 'sk-local'],
    ['Bearer', undefined],
    ['Basic c2s6', undefined],
    ['Bearer two words', undefined],
    ['Bearer schlüssel', undefined],
    [`Bearer ${'x'.repeat(257)}`, undefined],
    ['', undefined],
    [undefined, undefined],
  ])('parseKey returns from the header %j the key %j', (header, key) => {
    expect(parseKey(header)).toBe(key);
  });
});
