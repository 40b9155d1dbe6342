import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createDetector } from '../../../../shared/safety/personal/detector.ts';
import { createMaskingDetector, listFound } from './detectors.ts';

const detect = await createMaskingDetector();

it.each(['base64', 'base64url'] as const)('no credential is found in opaque text that is random (%s)', (encoding) => {
  for (let sample = 0; sample < 2_000; sample++) {
    const outputLength = 48 + ((sample * 7) % 2_950);
    const random = createHash('shake256', { outputLength }).update(`${sample}`).digest(encoding);
    expect(detect(random, { isOpaque: true })).toEqual([]);
  }
});

describe('the detector', () => {
  it.each([
    ['电话１３８１２３４５６７８，谢谢', 'PHONE:１３８１２３４５６７８'],
    ['请用zhang@example.com联系', 'EMAIL:zhang@example.com'],
    ['请发到zhang@example.com谢谢', 'EMAIL:zhang@example.com'],
    ['请发到名字@example.com谢谢', 'EMAIL:名字@example.com'],
    ['联系用户@例子.中国吧', 'EMAIL:用户@例子.中国'],
    ['me＠例え.jpです', 'EMAIL:me＠例え.jp'],
    ['{"a":"\\u540d\\u5b57@example.com"}', 'EMAIL:\\u540d\\u5b57@example.com'],
    ['to "john doe"@example.com', 'EMAIL:"john doe"@example.com'],
    ['Passport#: 925665416', 'PASSPORT:925665416'],
    ['my passport, number X1234567', 'PASSPORT:X1234567'],
    ['call (0755)8888 8888', 'PHONE:(0755)8888 8888'],
    ['my phone is 415 555 2671.', 'PHONE:415 555 2671'],
    ['ID 440306 1985 1212 123X', 'RESIDENTID:440306 1985 1212 123X'],
    ['IBANDE89370400440532013000', 'IBAN:DE89370400440532013000'],
    ['IBAN DE89 3704 0044\n0532 0130 00.', 'IBAN:DE89 3704 0044\n0532 0130 00'],
    ['41111111 11111111', 'CARD:41111111 11111111'],
    ['authorization: basic dXNlcjpwYXNzd29yZDEyMw==', 'CREDENTIAL:dXNlcjpwYXNzd29yZDEyMw=='],
    ['https://x.example/?q=john%40example.com&n=1', 'EMAIL:john%40example.com'],
    ['{"a":"const password = \\"Tr0ub4dor&3x\\";"}', 'CREDENTIAL:Tr0ub4dor&3x'],
    ['{"a":"{\\"b\\":\\"password: \\\\\\"Tr0ub4dor&3x\\\\\\"\\"}"}', 'CREDENTIAL:Tr0ub4dor&3x'],
    ['{"password":"Tr0ub4dor&3x\\\\"}', 'CREDENTIAL:Tr0ub4dor&3x\\\\'],
    ['{"a":"https:\\/\\/user:pa55w0rd@host\\/x"}', 'CREDENTIAL:pa55w0rd'],
    ['{"a":"\\u0062ob\\u0040example.com"}', 'EMAIL:\\u0062ob\\u0040example.com'],
    ['{"a":"jos\\u00e9@ex\\u00e4mple.de"}', 'EMAIL:jos\\u00e9@ex\\u00e4mple.de'],
    ['{"\\u5bc6\\u7801\\uff1aTr0ub4dor&3xyz"}', 'CREDENTIAL:Tr0ub4dor&3xyz'],
    ['to=jos%C3%A9@example.com', 'EMAIL:jos%C3%A9@example.com'],
    ['to: jos&#233;@example.com', 'EMAIL:jos&#233;@example.com'],
    ['to=a\\u200bnn@example.com', 'EMAIL:a\\u200bnn@example.com'],
    ['tel=%2B8613812345678', 'PHONE:%2B8613812345678'],
    ['line\\n13812345678\\n', 'PHONE:13812345678'],
    ['138\u200b1234\u200b5678', 'PHONE:138\u200b1234\u200b5678'],
    ['138\u20111234\u20115678', 'PHONE:138\u20111234\u20115678'],
    ['bob&#64;example.com', 'EMAIL:bob&#64;example.com'],
    ['𝟏𝟑𝟖𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖!', 'PHONE:𝟏𝟑𝟖𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖'],
    ['1101051949123100\u0425'.replace('00\u0425', '002\u0425'), 'RESIDENTID:11010519491231002\u0425'],
    ['card 4111 1111 1111 1111 123', 'CARD:4111 1111 1111 1111'],
    ['IBAN DE89 3704 0044 0532 0130 00 and more', 'IBAN:DE89 3704 0044 0532 0130 00'],
    ['+44 20 7946 0958 2024', 'PHONE:+44 20 7946 0958'],
  ])('finds the value in %j with its own characters', (text, found) => {
    expect(listFound(detect, text)).toEqual([found]);
  });

  it.each([
    'commit 13812345678',
    'sizes 320 640 1280',
    'route 10.0.0.0/8',
    'image 4.2.2.2-beta',
    'class sk-skeleton-loader-123',
    '装饰器@app.route',
    '关注@人民网.中国',
    '{"id":"@app.setter"}',
  ])('finds nothing in %j', (text) => {
    expect(listFound(detect, text)).toEqual([]);
  });

  it.each([
    ...'\u00ad\u034f\u061c\u115f\u17b4\u180e\u200b\u2060\u206f\u3164\ufe0f\ufeff\uffa0\ufff9\u{e0061}\u{e0100}',
  ])('finds a value with the invisible character %j in it', (invisible) => {
    const value = `138${invisible}12345678`;
    expect(listFound(detect, `call ${value}.`)).toEqual([`PHONE:${value}`]);
  });

  it('joins values that overlap, and names them by the more specific kind', () => {
    expect(listFound(detect, 'postgres://app:s3cret-9@db.example.com/x')).toEqual([
      'CREDENTIAL:s3cret-9@db.example.com',
    ]);
  });

  it('applies the strictest action to values that overlap', async () => {
    const strict = await createDetector({
      kinds: new Map([
        ['credential', 'mask'],
        ['email', 'refuse'],
      ]),
      patterns: [],
    });
    expect(strict('https://app:s3cret-9@db.example.com').map(({ action }) => action)).toEqual(['refuse']);
  });

  it('finds only the kinds that it is asked for', async () => {
    const emails = await createMaskingDetector(['email']);
    expect(listFound(emails, 'a@example.com 13812345678')).toEqual(['EMAIL:a@example.com']);
  });
});

describe('a custom pattern', () => {
  it('finds its values in folded text, however long the text is', async () => {
    const own = await createMaskingDetector([], [{ name: 'STAFF', pattern: 'E-\\d{5}\\b', action: 'mask' }]);
    const padding = 'no value here. '.repeat(600);
    expect(listFound(own, `Ｅ－１２３４５ ${padding}E-54321 E-123456`)).toEqual([
      'STAFF:Ｅ－１２３４５',
      'STAFF:E-54321',
    ]);
  });

  it.each([1_000, 1_020, 1_023, 1_024, 1_025])('finds a value that begins at character %i', async (at) => {
    const own = await createMaskingDetector([], [{ name: 'STAFF', pattern: 'E-\\d{5}', action: 'mask' }]);
    expect(listFound(own, `${'x'.repeat(at)}E-54321${'x'.repeat(2_000)}`)).toEqual(['STAFF:E-54321']);
  });

  it.each(['(', 'a*', '(?=a)b', '(a)\\1', '(?:[a-z]{500}){4}'])(
    'is refused if it is invalid, empty or too large: %s',
    async (pattern) => {
      const creation = createMaskingDetector([], [{ name: 'OWN', pattern, action: 'mask' }]);
      await expect(creation).rejects.toMatchObject({ code: 'configuration' });
    },
  );

  it('refuses a text in which it matches everywhere', async () => {
    const own = await createMaskingDetector([], [{ name: 'OWN', pattern: '(?:a.*b|a)', action: 'mask' }]);
    expect(() => own('a'.repeat(100_000))).toThrow(expect.objectContaining({ code: 'content_filter' }));
  });
});

/** Repeated, each begins many values without ending one. */
const UNITS = [
  'a@',
  'a.',
  '1',
  '1.',
  '1234 ',
  'GB82 ',
  'a:',
  '+1',
  'eyJa',
  'eyJaaaaaaaaa.',
  '-----BEGIN PRIVATE KEY-----',
];
const MORE_UNITS = [
  'password=',
  'token:"',
  '%41',
  '\\',
  '\\"',
  '<',
  'P<',
  '://a:',
  'sk-',
  'bearer ',
  '\\n',
  '((1',
  '１',
  '1\u200b',
  '[at]',
  '护照',
  '汉@',
  '@汉.',
  '"a@',
  'Private-Lines: 1\n',
  'authorization: basic a',
  'IBANDE89 ',
  '&#',
];

it.each([...UNITS, ...MORE_UNITS])('a megabyte of %j is searched in time', (unit) => {
  expect(detect(unit.repeat(1_000_000 / unit.length)).length).toBeLessThan(50_000);
});
