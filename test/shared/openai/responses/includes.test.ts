import { expect, it } from 'vitest';
import { applyIncludes } from '../../../../shared/openai/responses/includes.ts';

it('the encrypted content of reasoning is returned if it is included, and that of a compaction always', () => {
  const content = { encrypted_content: 'opaque' };
  expect(applyIncludes({ type: 'reasoning', ...content }, new Set())).toEqual({ type: 'reasoning' });
  expect(applyIncludes({ type: 'reasoning', ...content }, new Set(['reasoning.encrypted_content']))).toMatchObject(
    content,
  );
  expect(applyIncludes({ type: 'compaction', ...content }, new Set())).toMatchObject(content);
});
