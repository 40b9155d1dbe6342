import { describe, expect, it } from 'vitest';
import { BoundedMap } from '../../../shared/core/bounded-map.ts';

describe('BoundedMap', () => {
  it('a bounded map evicts the entry that was set least recently', () => {
    const map = new BoundedMap<string, number>(2);
    map.set('a', 1).set('b', 2).set('a', 3).set('c', 4);
    expect([...map]).toEqual([
      ['a', 3],
      ['c', 4],
    ]);
  });

  it('a bounded map keeps its size when an entry is replaced', () => {
    const map = new BoundedMap<string, number>(2);
    map.set('a', 1).set('b', 2).set('b', 3);
    expect([...map.keys()]).toEqual(['a', 'b']);
  });
});
