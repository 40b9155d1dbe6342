import fc from 'fast-check';
import { expect, it } from 'vitest';
import { OrderedList } from './ordered-list.ts';

it('an ordered list holds the added items that were not removed, in their order', () => {
  const orders = fc.array(fc.nat(40), { maxLength: 200 });
  fc.assert(
    fc.property(orders, (toggled) => {
      const list = new OrderedList<{ readonly order: number }>();
      const expected = new Set<number>();
      for (const order of toggled) {
        if (expected.delete(order)) list.remove({ order });
        else {
          expected.add(order);
          list.add({ order });
        }
        const items = Array.from({ length: list.length }, (_, index) => list.at(index)?.order);
        expect(items).toEqual([...expected].sort((a, b) => a - b));
        expect(list.at(list.length)).toBeUndefined();
      }
    }),
  );
});
