import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createItemIdGenerator,
  parseStoredItem,
  responseIdFor,
  toStoredInput,
} from '../../../../shared/openai/responses/stored-items.ts';

const TOOL = { type: 'custom' as const, name: 'note' };
const RESPONSE = 'resp_0123456789abcdef0123456789abcdef';

describe('item ids', () => {
  it('item ids contain the id of their response and are unique', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 50 }), (epoch, count) => {
        const ids = [...takeIds(epoch, count), ...takeIds(epoch + 1, count)];
        expect(new Set(ids).size).toBe(2 * count);
        for (const id of ids) expect(responseIdFor(`msg_${id}`)).toBe(RESPONSE);
      }),
    );
  });

  it('an item id that Lambent did not generate belongs to no response', () => {
    const long = [`msg_${'0'.repeat(200)}`, `${'m'.repeat(500_000)}_${'0'.repeat(40)}`];
    for (const id of ['msg_1', 'item', '', 'msg_', ...long]) expect(responseIdFor(id)).toBeUndefined();
  });
});

function takeIds(epoch: number, count: number): string[] {
  const next = createItemIdGenerator(RESPONSE, epoch);
  return Array.from({ length: count }, next);
}

describe('stored items', () => {
  const input = [
    { role: 'user' as const, content: 'Hello' },
    { role: 'assistant' as const, content: 'Hi' },
    { type: 'function_call' as const, call_id: 'c1', name: 'look', arguments: '{}' },
    { type: 'function_call_output' as const, call_id: 'c1', output: 'seen' },
    { type: 'custom_tool_call' as const, call_id: 'c2', namespace: 'crm', name: 'note', input: 'paid' },
    { type: 'custom_tool_call_output' as const, call_id: 'c2', output: 'noted' },
    { type: 'tool_search_call' as const, call_id: 'c3', execution: 'client' as const, arguments: { query: 'x' } },
    { type: 'tool_search_output' as const, call_id: 'c3', execution: 'client' as const, tools: [TOOL] },
    { type: 'additional_tools' as const, role: 'developer', tools: [TOOL] },
    { type: 'web_search_call' as const, id: 'ws_1', status: 'completed', action: { type: 'search', query: 'x' } },
    { type: 'reasoning' as const, summary: [], encrypted_content: 'opaque' },
  ];

  it('converting an input twice gives equal stored items, which parse to themselves', () => {
    const items = toStoredInput(input, createItemIdGenerator(RESPONSE, 0));
    expect(toStoredInput(input, createItemIdGenerator(RESPONSE, 0))).toEqual(items);
    expect(items.map(({ id }) => id.replace(/_.*/, ''))).toEqual([
      ...['msg', 'msg', 'fc', 'fco', 'ctc', 'ctco', 'tsc', 'tso', 'at', 'hti', 'rs'],
    ]);
    expect(items.map((item) => parseStoredItem(item))).toEqual(items);
  });

  it('items of hosted tools have the fields that OpenAI adds to them', () => {
    const output = [{ stdout: '', stderr: '', outcome: { type: 'timeout' } }];
    const items = [
      { type: 'computer_call_output' as const, call_id: 'c', output: {}, acknowledged_safety_checks: null },
      { type: 'shell_call' as const, call_id: 'c', action: { commands: ['ls'] } },
      { type: 'shell_call_output' as const, call_id: 'c', output, status: null },
    ];
    expect(toStoredInput(items, createItemIdGenerator(RESPONSE, 0)).map(({ id: _, ...item }) => item)).toEqual([
      { type: 'computer_call_output', status: 'completed', call_id: 'c', output: {} },
      {
        type: 'shell_call',
        status: 'completed',
        environment: null,
        call_id: 'c',
        action: { commands: ['ls'], max_output_length: null, timeout_ms: null },
      },
      { type: 'shell_call_output', status: 'completed', max_output_length: null, call_id: 'c', output },
    ]);
  });

  it('the parts of a call’s output are stored in the same form as those of a message', () => {
    const part = { type: 'input_text' as const, text: 'seen', prompt_cache_breakpoint: null };
    const output = { type: 'function_call_output' as const, call_id: 'c1', output: [part] };
    const [, stored] = toStoredInput([input[2] as never, output], createItemIdGenerator(RESPONSE, 0));
    expect(stored?.['output']).toEqual([{ type: 'input_text', text: 'seen' }]);
  });

  it('stored items keep ids that Lambent generated and get new ids otherwise', () => {
    const generatedId = `msg_${createItemIdGenerator(RESPONSE, 1)()}`;
    const [kept, renamed] = toStoredInput(
      [
        { role: 'user', content: 'a', id: generatedId },
        { role: 'user', content: 'b', id: 'mine' },
      ],
      createItemIdGenerator('resp_ffffffffffffffffffffffffffffffff', 0),
    );
    expect(kept?.id).toBe(generatedId);
    expect(renamed?.id).toMatch(/^msg_f{32}/);
  });

  it('a stored item is parsed without the fields that a newer version added, at any depth', () => {
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

  it('a stored item of a type that only a newer version knows is unreadable', () => {
    expect(() => parseStoredItem({ id: 'x_1', type: 'dream' })).toThrow(
      expect.objectContaining({ code: 'record_unreadable' }),
    );
  });
});
