import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CUSTOM_INPUT_FRAME,
  CustomInputReader,
  decodeCustomInput,
  encodeCustomInput,
  escapeCustomInput,
} from '../../../shared/inference/custom-input.ts';

/** Splits a text at any UTF-16 positions. */
const pieces = (text: string, cuts: readonly number[]): string[] => {
  const ends = [...new Set([...cuts.map((cut) => cut % (text.length + 1)), text.length])].sort((a, b) => a - b);
  return ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end));
};

const read = (fragments: readonly string[]): string => {
  const reader = new CustomInputReader();
  return fragments.map((fragment) => reader.push(fragment)).join('') + reader.end();
};

describe('the input of a custom tool', () => {
  it('any text is read from its arguments, however they are split', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(text, fc.array(fc.nat()), fc.boolean(), (input, cuts, isSpaced) => {
        const json = isSpaced ? JSON.stringify({ input }, null, 2) : encodeCustomInput(input);
        expect(read(pieces(json, cuts))).toBe(input);
      }),
    );
  });

  it('fragments of a text are fragments of its arguments', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.array(fc.nat()), (input, cuts) => {
        const [head, tail] = CUSTOM_INPUT_FRAME;
        expect(JSON.parse(head + pieces(input, cuts).map(escapeCustomInput).join('') + tail)).toEqual({ input });
      }),
    );
  });

  it('any fragments are read without an error, and cut arguments up to the cut', () => {
    fc.assert(fc.property(fc.array(fc.string({ unit: 'binary' })), (fragments) => void read(fragments)));
    expect(read(['{"input":"*** Begin', ' Patch\\n+a', '\\'])).toBe('*** Begin Patch\n+a');
    expect(read(['{"input":"a\\u00', 'e9b'])).toBe('aéb');
  });

  it('text is returned as it arrives', () => {
    const reader = new CustomInputReader();
    expect(['{"inp', 'ut": "ab', 'c\\', 'nd"', '}'].map((fragment) => reader.push(fragment))).toEqual([
      '',
      'ab',
      'c',
      '\nd',
      '',
    ]);
    expect(reader.end()).toBe('');
  });

  it.each([
    ['{"patch":"x"}', 'x'],
    ['{"reason":"r","input":"x"}', 'x'],
    ['"x"', 'x'],
    ['ls -la', 'ls -la'],
    ['{"a":1}', '{"a":1}'],
    ['{}', ''],
    ['', ''],
  ])('arguments of another form, %j, have the text %j', (text, input) => {
    expect(decodeCustomInput(text)).toBe(input);
  });

  it('an input of megabytes is read', () => {
    const input = 'a\n'.repeat(2_000_000);
    expect(decodeCustomInput(encodeCustomInput(input)) === input).toBe(true);
  });
});
