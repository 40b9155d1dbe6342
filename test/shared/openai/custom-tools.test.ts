import { describe, expect, it } from 'vitest';
import { toCustomTool } from '../../../shared/openai/custom-tools.ts';

describe('toCustomTool', () => {
  it('a custom tool is a function with one text, whose description has the grammar', () => {
    const grammar = { syntax: 'lark', definition: 'start: "a"' } as const;
    expect(toCustomTool({ name: 'edit', description: 'Edits.', grammar })).toMatchObject({
      name: 'edit',
      description: 'Edits.\n\nThe input must match this Lark grammar:\nstart: "a"',
      parameters: { properties: { input: { type: 'string' } }, required: ['input'] },
      custom: { description: 'Edits.', grammar },
    });
    expect(toCustomTool({ name: 'run' })).not.toHaveProperty('description');
  });
});
