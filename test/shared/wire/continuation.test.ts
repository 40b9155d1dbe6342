import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeReasoning, encodeReasoning } from '../../../shared/wire/continuation.ts';

function encode(value: unknown): string {
  return `lambent1.${Buffer.from(JSON.stringify(value)).toString('base64url')}`;
}

describe('encrypted reasoning', () => {
  it('encoded reasoning decodes to the original text and continuation', () => {
    const data = fc.jsonValue({ maxDepth: 4 });
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), data, (text, provider, record) => {
        const plain = JSON.parse(JSON.stringify(record));
        const encoded = encodeReasoning(text, { provider, data: plain });
        expect(encoded).toMatch(/^[\w.-]+$/);
        expect(decodeReasoning(encoded ?? '')).toEqual({
          type: 'reasoning',
          text,
          continuation: { provider, data: plain },
        });
      }),
    );
  });

  it('reasoning that would exceed 1 MiB is not encoded', () => {
    expect(encodeReasoning('x'.repeat(1_000_000), { provider: 'p', data: null })).toBeUndefined();
  });

  it('encrypted content that is malformed, too deep or from another service decodes to undefined', () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 20; depth += 1) deep = [deep];
    for (const content of [
      '',
      'gAAAAABother',
      'lambent1.',
      'lambent1.%%%',
      'lambent2.e30',
      encode(null),
      encode([]),
      encode({ text: 'x', provider: 'p' }),
      encode({ text: 1, provider: 'p', data: 1 }),
      encode({ text: 'x', provider: 'p', data: deep }),
      encode({ text: 'x'.repeat(2_000_000), provider: 'p', data: 1 }),
    ]) {
      expect(decodeReasoning(content), content.slice(0, 40)).toBeUndefined();
    }
  });

  it('decoding any encrypted content never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void decodeReasoning(`lambent1.${text}`)));
  });
});
