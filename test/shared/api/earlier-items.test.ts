import { describe, expect, it } from 'vitest';
import { collectItems } from '../../../shared/api/earlier-items.ts';

/** A text of this many tokens by estimate. */
const tokens = (count: number, letter: string) => letter.repeat(4 * count);

function createItem(id: string, text: string, role = 'user') {
  const content = { item: { id, type: 'message', role, content: [{ type: 'input_text', text }] } };
  return { id, content, sizeBytes: text.length };
}

type Item = ReturnType<typeof createItem>;

/** A conversation that is read in pages of two items, and counts how many have been read. */
function createConversation(items: readonly Item[]) {
  const read = { items: 0 };
  const earlier = {
    end: items.length,
    async *pages() {
      for (let start = 0; start < items.length; start += 2) {
        const page = items.slice(start, start + 2);
        read.items += page.length;
        yield page;
      }
    },
    findIds: async () => new Set<string>(),
    hasTurn: async () => false,
  };
  return { earlier, read };
}

const collect = async (items: readonly Item[], truncation: 'auto' | 'disabled') => {
  const collected = await collectItems(createConversation(items).earlier, { limitTokens: 10, truncation });
  return { ...collected, items: collected.items.map(({ item }) => item.id) };
};

describe('collectItems', () => {
  it('a conversation that fits is collected as a whole', async () => {
    const items = ['a', 'b', 'c'].map((id) => createItem(id, tokens(3, id)));
    const expected = { items: ['a', 'b', 'c'], ids: new Set(['a', 'b', 'c']), droppedItems: 0 };
    expect(await collect(items, 'auto')).toEqual(expected);
    expect(await collect(items, 'disabled')).toEqual(expected);
  });

  it('of a conversation that is too long, the oldest and newest items and the instructions are kept', async () => {
    const items = Array.from({ length: 40 }, (_, index) => createItem(`i${index}`, tokens(3, 'x')));
    items[20] = createItem('i20', tokens(3, 'x'), 'developer');
    const { items: kept, ids, droppedItems } = await collect(items, 'auto');
    expect(kept).toEqual(['i0', 'i1', 'i2', 'i3', 'i20', 'i36', 'i37', 'i38', 'i39']);
    expect(ids.size).toBe(40);
    expect(droppedItems).toBe(31);
  });

  it('a conversation that is too long is rejected before it is read to its end, unless it may be truncated', async () => {
    const items = Array.from({ length: 100 }, (_, index) => createItem(`i${index}`, tokens(3, 'x')));
    const { earlier, read } = createConversation(items);
    const collected = collectItems(earlier, { limitTokens: 10, truncation: 'disabled' });
    await expect(collected).rejects.toMatchObject({ code: 'context_length_exceeded', param: 'input' });
    expect(read.items).toBeLessThan(12);
  });

  it('large items are left out although they have few tokens', async () => {
    const items = Array.from({ length: 30 }, (_, index) => ({ ...createItem(`i${index}`, 'x'), sizeBytes: 5_000_000 }));
    const { items: kept } = await collectItems(createConversation(items).earlier, {
      limitTokens: 1_000,
      truncation: 'auto',
    });
    expect(kept.map(({ item }) => item.id)).toEqual(['i0', 'i1', 'i2', 'i27', 'i28', 'i29']);
  });

  it('instructions that are too long are rejected', async () => {
    const items = Array.from({ length: 40 }, (_, index) => createItem(`i${index}`, tokens(3, 'x'), 'system'));
    await expect(collect(items, 'auto')).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });
});
