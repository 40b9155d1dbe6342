import { expect, it } from 'vitest';
import { NativeCompletion } from '../../../../shared/openai/chat/native-completion.ts';

const HEAD = { id: 'chatcmpl-own', model: 'alias' };

function joinChunks(chunks: readonly Readonly<Record<string, unknown>>[]) {
  const completion = new NativeCompletion();
  for (const chunk of chunks) completion.add(chunk);
  return completion.toCompletion(HEAD);
}

it('the log probabilities of a long answer are joined in time that grows with its length', () => {
  const logprobs = { content: [{ token: 'a', logprob: -1, bytes: [97], top_logprobs: [] }] };
  const chunk = { object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content: 'a' }, logprobs }] };
  const count = 40_000;
  const startedAt = performance.now();
  const { choices } = joinChunks(Array.from({ length: count }, () => chunk));
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  const [choice] = choices as { message: { content: string }; logprobs: { content: unknown[] } }[];
  expect(choice?.message.content).toHaveLength(count);
  expect(choice?.logprobs.content).toHaveLength(count);
});

it('chunks stay as they are, and fields of any name are joined', () => {
  const first = JSON.parse(
    '{"choices":[{"index":0,"delta":{"content":"a","x":{"__proto__":{"b":"1"}}}}],"toString":"t"}',
  );
  const second = JSON.parse('{"choices":[{"index":0,"delta":{"content":"b","x":{"__proto__":{"b":"2"}}}}]}');
  const before = JSON.stringify([first, second]);
  const joined = joinChunks([first, second]);
  expect(JSON.stringify([first, second])).toBe(before);
  expect(JSON.stringify(joined)).toBe(
    '{"choices":[{"index":0,"message":{"content":"ab","x":{"__proto__":{"b":"12"}}}}],"toString":"t","id":"chatcmpl-own","object":"chat.completion","model":"alias"}',
  );
  expect(Object.hasOwn(Object.prototype, 'b')).toBe(false);
});
