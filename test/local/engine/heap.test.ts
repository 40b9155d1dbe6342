import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Heap, type HeapElement } from '../../../local/engine/heap.ts';

interface Numbered extends HeapElement {
  readonly value: number;
}

it('a heap keeps its smallest element first, whichever elements are removed', () => {
  const operations = fc.array(fc.record({ push: fc.nat(3), number: fc.nat(10_000) }), { size: 'max', maxLength: 300 });
  fc.assert(
    fc.property(operations, (all) => {
      const heap = new Heap<Numbered>((a, b) => a.value < b.value);
      const held: Numbered[] = [];
      for (const { push, number } of all) {
        // More elements are pushed than removed, so that the heap grows deep.
        if (push > 0 || held.length === 0) {
          const element = { value: number, heapIndex: -1 };
          held.push(element);
          heap.push(element);
        } else {
          const [removed] = held.splice(number % held.length, 1);
          if (removed !== undefined) heap.remove(removed);
        }
        expect(heap.size).toBe(held.length);
        expect(new Set(heap.values())).toEqual(new Set(held));
        expect(heap.first?.value ?? Number.POSITIVE_INFINITY).toBe(Math.min(...held.map(({ value }) => value)));
      }
      const drained: number[] = [];
      for (let next = heap.first; next !== undefined; next = heap.first) {
        drained.push(next.value);
        heap.remove(next);
      }
      expect(drained).toEqual(held.map(({ value }) => value).sort((a, b) => a - b));
    }),
  );
});
