import { describe, expect, it } from 'vitest';
import type { GenerationEvent } from '../../../../../shared/inference/generation.ts';
import { ToolCallAssembler } from '../../../../../shared/inference/providers/openai-compatible/tool-calls.ts';

describe('a tool call with long arguments', () => {
  it.each([
    ['the number of its call', () => 0],
    ['another number each time', (index: number) => index],
  ])('takes memory in proportion to its length, if its fragments have %s', (_, toIndex) => {
    const pieces = [
      '{"text":"',
      ...Array.from({ length: 4_000 }, () => 'const f = () => { return { a: 1 } }; /* more */ '),
      '"}',
    ];
    const before = process.memoryUsage().heapUsed;
    const assembler = new ToolCallAssembler({ newId: () => 'id', upstream: 'u', tools: new Set(['write']) });
    const events: GenerationEvent[] = [];
    assembler.addFragment({ index: toIndex(0), id: 'c', function: { name: 'write', arguments: '' } }, events);
    for (const [index, piece] of pieces.entries())
      assembler.addFragment({ index: toIndex(index), function: { arguments: piece } }, events);
    const added = process.memoryUsage().heapUsed - before;
    expect(assembler.areWhole).toBe(true);
    expect(assembler.finish(events)).toBe(true);
    const text = events.map((event) => (event.type === 'toolArguments' ? event.fragment : '')).join('');
    expect(text).toBe(pieces.join(''));
    expect(added).toBeLessThan(250 * text.length);
  });
});
