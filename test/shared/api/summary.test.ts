import { expect, it } from 'vitest';
import { renderUntranslated } from '../../../shared/api/summary.ts';

it.each([
  ['the call of a hosted tool', { type: 'web_search_call', action: { type: 'search', query: 'a secret' } }],
  ['the call of a tool search', { type: 'tool_search_call', arguments: { goal: 'a secret' } }],
  ['the tools that a search found', { type: 'tool_search_output', tools: [{ type: 'function', name: 'a secret' }] }],
])('what a summary has of %s can be moderated before', (_, item) => {
  expect(renderUntranslated([item as never])).toContain('a secret');
});

it('what every request to a model has is not moderated twice', () => {
  expect(renderUntranslated([{ type: 'message', role: 'user', content: 'Hello' } as never])).toBe('');
});
