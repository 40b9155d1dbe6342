import { expect, it } from 'vitest';
import { estimateMessageTokens, estimatePromptTokens } from '../../../shared/inference/prompt-tokens.ts';
import { makeRequest } from './requests.ts';

it('a PDF counts by its pages, and a text document by its text', () => {
  const count = (part: object): number =>
    estimateMessageTokens({ role: 'user', content: [{ type: 'document', param: 'p', ...part } as never] });
  const pdf = (length: number) => ({ mediaType: 'application/pdf', base64: 'A'.repeat(length) });
  expect(count(pdf(400_000)) - count(pdf(200_000))).toBe(2 * (count(pdf(200_000)) - count(pdf(100_000))));
  expect(count({ mediaType: 'text/plain', text: 'x'.repeat(4_000) })).toBe(1_004);
});

it('a prompt has the tokens of its messages, tools and format', () => {
  const plain = estimatePromptTokens(makeRequest());
  const parameters = { type: 'object', description: 'x'.repeat(400) };
  const withTool = estimatePromptTokens(makeRequest({ tools: [{ name: 'f', parameters, strict: false }] }));
  expect(withTool - plain).toBeGreaterThan(100);
});
