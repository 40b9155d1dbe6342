import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBody, encodeBody } from '../../local/message-characters.ts';

/** The characters that fauxqs accepts. */
const ACCEPTED = /^[\t\n\r\x20-\ud7ff\ue000-\ufffd]*$/;

describe('encodeBody', () => {
  it('encodeBody makes any text that SQS accepts acceptable to fauxqs, and decodeBody restores it', () => {
    const unit = fc.oneof(
      fc.constantFrom('🌍', '\ud7ff', '\ue000', '\ue7fe', '\ue7ff', '\ue800', '\uefff', '\uf000', '\ufffd', '\n'),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
    );
    fc.assert(
      fc.property(fc.string({ unit }), (body) => {
        const encoded = encodeBody(body);
        expect(encoded).toMatch(ACCEPTED);
        expect(decodeBody(encoded)).toBe(body);
      }),
    );
  });

  it.each(['\u0000', '\ud83c', 'a\udf0d', '\uffff'])(
    'encodeBody leaves %j unchanged, so that fauxqs refuses it as SQS does',
    (body) => {
      expect(encodeBody(body)).toBe(body);
      expect(body).not.toMatch(ACCEPTED);
    },
  );
});
