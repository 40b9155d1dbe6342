import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeReasoning, encodeReasoning } from '../../../shared/openai/continuation.ts';

function made(value: unknown): string {
  return `lambent1.${Buffer.from(JSON.stringify(value)).toString('base64url')}`;
}

describe('the record of reasoning that a caller brings back', () => {
  it('opens to what was sealed', () => {
    const data = fc.jsonValue({ maxDepth: 4 });
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), data, (text, provider, record) => {
        const plain = JSON.parse(JSON.stringify(record));
        const sealed = encodeReasoning(text, { provider, data: plain });
        expect(sealed).toMatch(/^[\w.-]+$/);
        expect(decodeReasoning(sealed ?? '')).toEqual({
          type: 'reasoning',
          text,
          continuation: { provider, data: plain },
        });
      }),
    );
  });

  it('is left out when it is larger than a caller could bring back', () => {
    expect(encodeReasoning('x'.repeat(1_000_000), { provider: 'p', data: null })).toBeUndefined();
  });

  it('is nothing when somebody else made it, or made it up', () => {
    let deep: unknown = 1;
    for (let depth = 0; depth < 20; depth += 1) deep = [deep];
    for (const sealed of [
      '',
      'gAAAAABother',
      'lambent1.',
      'lambent1.%%%',
      'lambent2.e30',
      made(null),
      made([]),
      made({ text: 'x', provider: 'p' }),
      made({ text: 1, provider: 'p', data: 1 }),
      made({ text: 'x', provider: 'p', data: deep }),
      made({ text: 'x'.repeat(2_000_000), provider: 'p', data: 1 }),
    ]) {
      expect(decodeReasoning(sealed), sealed.slice(0, 40)).toBeUndefined();
    }
  });

  it('is nothing rather than an error, whatever it is', () => {
    fc.assert(fc.property(fc.string(), (text) => void decodeReasoning(`lambent1.${text}`)));
  });
});
