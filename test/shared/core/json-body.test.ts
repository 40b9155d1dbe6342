import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { parseJsonBody } from '../../../shared/core/json-body.ts';

const parse = (body: string | null, contentType: string | undefined = 'application/json') =>
  parseJsonBody({ body, isBase64Encoded: false }, contentType);

function getErrorCode(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof LambentError) return thrown.code;
    throw thrown;
  }
  return 'none';
}

describe('a JSON body', () => {
  it('any JSON body is parsed without change', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        expect(parse(JSON.stringify(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('a base64 body is decoded', () => {
    expect(
      parseJsonBody({ body: Buffer.from('{"a":"ü"}').toString('base64'), isBase64Encoded: true }, undefined),
    ).toEqual({
      a: 'ü',
    });
  });

  it.each([
    ['', 'invalid_json'],
    [null, 'invalid_json'],
    ['{"a":', 'invalid_json'],
    ['{"a":"\\ud800"}', 'invalid_json'],
    ['{"\\udfff":1}', 'invalid_json'],
    ['{"a":"\\ud83d\\ude00"}', 'none'],
    [`${'['.repeat(256)}${']'.repeat(256)}`, 'none'],
    [`${'['.repeat(257)}${']'.repeat(257)}`, 'invalid_value'],
    [`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`, 'invalid_value'],
    [`${'{"a":'.repeat(100_000)}`, 'invalid_json'],
    ['["a",{"b":["\\ud800"]}]', 'invalid_json'],
    [`{"a":"${'['.repeat(300)}"}`, 'none'],
    [`{"a":"\\\\\\"${'['.repeat(300)}"}`, 'none'],
    ['"\\', 'invalid_json'],
  ])('the body %.40j results in the error code %s', (body, code) => {
    expect(getErrorCode(() => parse(body))).toBe(code);
  });

  it('a body must have a JSON media type if it has one', () => {
    expect(getErrorCode(() => parse('{}', 'application/x-www-form-urlencoded'))).toBe('unsupported_media_type');
    expect(parse('{}', 'application/json; charset=utf-8')).toEqual({});
    expect(parse('{}', 'application/vnd.api+json')).toEqual({});
    expect(parseJsonBody({ body: '{}', isBase64Encoded: false }, undefined)).toEqual({});
  });

  it('any text is parsed or rejected with an error code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => void getErrorCode(() => parse(text))),
    );
  });
});
