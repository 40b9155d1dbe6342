import fc from 'fast-check';
import { expect, it } from 'vitest';
import { encodeJson } from '../../../shared/core/encode-json.ts';

it('any object is encoded as by JSON.stringify, in UTF-8', () => {
  const value = fc.jsonValue({ maxDepth: 4 });
  const field = fc.oneof(value, fc.array(fc.oneof(value, fc.constant(undefined))), fc.constant(undefined));
  const text = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(fc.dictionary(text, fc.oneof(field, text, fc.array(text))), (fields) => {
      expect(encodeJson(fields).toString('utf8')).toBe(JSON.stringify(fields));
    }),
  );
});
