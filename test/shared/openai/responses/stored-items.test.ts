import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createItemIdGenerator,
  parseStoredItem,
  responseIdFor,
  toStoredInput,
} from '../../../../shared/openai/responses/stored-items.ts';

const RESPONSE = 'resp_0123456789abcdef0123456789abcdef';

describe('the id of an item', () => {
  test('says which response it belongs to, and is never another item’s', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 50 }), (epoch, count) => {
        const ids = [...nextOf(epoch, count), ...nextOf(epoch + 1, count)];
        expect(new Set(ids).size).toBe(2 * count);
        for (const id of ids) expect(responseIdFor(`msg_${id}`)).toBe(RESPONSE);
      }),
    );
  });

  test('of another make belongs to no response', () => {
    for (const id of ['msg_1', 'item', '', 'msg_', `msg_${'0'.repeat(200)}`]) expect(responseIdFor(id)).toBeUndefined();
  });
});

function nextOf(epoch: number, count: number): string[] {
  const next = createItemIdGenerator(RESPONSE, epoch);
  return Array.from({ length: count }, next);
}

describe('the items of a request', () => {
  const input = [
    { role: 'user' as const, content: 'Hello' },
    { role: 'assistant' as const, content: 'Hi' },
    { type: 'function_call' as const, call_id: 'c1', name: 'look', arguments: '{}' },
    { type: 'function_call_output' as const, call_id: 'c1', output: 'seen' },
    { type: 'reasoning' as const, summary: [], encrypted_content: 'opaque' },
  ];

  test('are the same whenever they are asked for, and each can be read by a model again', () => {
    const items = toStoredInput(input, createItemIdGenerator(RESPONSE, 0));
    expect(toStoredInput(input, createItemIdGenerator(RESPONSE, 0))).toEqual(items);
    expect(items.map(({ id }) => id.replace(/_.*/, ''))).toEqual(['msg', 'msg', 'fc', 'fco', 'rs']);
    expect(items.map(parseStoredItem)).toEqual(items);
  });

  test('keep the ids that they had from here, and no others', () => {
    const own = `msg_${createItemIdGenerator(RESPONSE, 1)()}`;
    const [kept, renamed] = toStoredInput(
      [
        { role: 'user', content: 'a', id: own },
        { role: 'user', content: 'b', id: 'mine' },
      ],
      createItemIdGenerator('resp_ffffffffffffffffffffffffffffffff', 0),
    );
    expect(kept?.id).toBe(own);
    expect(renamed?.id).toMatch(/^msg_f{32}/);
  });

  test('are read with fields that a newer version wrote, wherever they are', () => {
    const [message] = toStoredInput('Hello', createItemIdGenerator(RESPONSE, 0));
    const newer = {
      ...message,
      id: message?.id ?? '',
      type: 'message',
      mood: 'new',
      content: [{ type: 'input_text', text: 'Hello', shine: { bright: true } }],
    };
    expect(parseStoredItem(newer)).toEqual({ ...message, content: [{ type: 'input_text', text: 'Hello' }] });
  });

  test('of a kind that only a newer version knows are refused', () => {
    expect(() => parseStoredItem({ id: 'x_1', type: 'dream' })).toThrow(
      expect.objectContaining({ code: 'record_unreadable' }),
    );
  });
});
