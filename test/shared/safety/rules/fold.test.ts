import { describe, expect, it } from 'vitest';
import { fold } from '../../../../shared/safety/rules/fold.ts';

describe('the folding of texts for terms', () => {
  it('is the same for all cases of each character of Unicode', () => {
    const folded = (text: string) => fold(text).join('');
    const differing: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const character = String.fromCodePoint(code);
      const [lower, upper] = [character.toLowerCase(), character.toUpperCase()];
      if (lower === character && upper === character) continue;
      for (const other of new Set([lower, upper, lower.toUpperCase(), upper.toLowerCase()]))
        if (folded(other) !== folded(character)) differing.push(`${character} ${other}`);
    }
    expect(differing).toEqual([]);
  });

  it.each(['\u200b', '\ufff9', '\u{e0061}'])('ignores the invisible character %j', (invisible) => {
    expect(fold(`fal${invisible}con`)).toEqual([...'falcon']);
  });
});
