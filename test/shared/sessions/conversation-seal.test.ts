import { expect, it } from 'vitest';
import { isStringRecord } from '../../../shared/sessions/conversation-seal.ts';

it('only an object whose values are all strings is metadata', () => {
  for (const value of [{}, { a: '1' }, { a: '1', b: '' }]) expect(isStringRecord(value)).toBe(true);
  for (const value of [null, undefined, 'text', 7, { a: 1 }, { a: '1', b: null }, [1]])
    expect(isStringRecord(value)).toBe(false);
});
