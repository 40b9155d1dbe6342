import { expect, it } from 'vitest';
import { parseFormBody } from '../../../shared/core/form-body.ts';

const FORM = 'application/x-www-form-urlencoded; charset=utf-8';

it('a form is parsed into an object of its fields, and any other body as JSON', () => {
  expect(parseFormBody({ body: 'a=1%202&b=', isBase64Encoded: false }, FORM)).toEqual({ a: '1 2', b: '' });
  const encoded = { body: Buffer.from('a=1').toString('base64'), isBase64Encoded: true };
  expect(parseFormBody(encoded, FORM)).toEqual({ a: '1' });
  expect(parseFormBody({ body: '{"a":1}', isBase64Encoded: false }, 'application/json')).toEqual({ a: 1 });
});

it('a form with a field that occurs twice is refused', () => {
  expect(() => parseFormBody({ body: 'a=1&a=1', isBase64Encoded: false }, FORM)).toThrow("'a' occurs twice");
});
