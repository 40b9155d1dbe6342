import fc from 'fast-check';
import { expect, it } from 'vitest';
import { hashPrefixes } from '../../../../../shared/gpu/placement/prompt.ts';
import type { Message } from '../../../../../shared/inference/generation.ts';
import { canonicalizePrompt } from '../../../../../shared/inference/providers/gpu/canonical-prompt.ts';
import { makeRequest } from '../../requests.ts';

const user = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
const assistant = (text: string): Message => ({ role: 'assistant', content: [{ type: 'text', text }] });
const canonicalize = (changes: Parameters<typeof makeRequest>[0]) =>
  [...canonicalizePrompt(makeRequest(changes))].join('');

const messages = fc.array(
  fc
    .record({ role: fc.constantFrom(user, assistant), text: fc.string({ maxLength: 600 }) })
    .map(({ role, text }) => role(text)),
  { maxLength: 6 },
);

it('the text of a conversation is a prefix of the text of its next turn', () => {
  fc.assert(
    fc.property(messages, messages, (before, after) => {
      expect(canonicalize({ messages: [...before, ...after] }).startsWith(canonicalize({ messages: before }))).toBe(
        true,
      );
    }),
  );
});

it('prompts with different roles or texts differ, and other request fields do not matter', () => {
  const one = canonicalize({ messages: [user('a'), assistant('b')] });
  expect(canonicalize({ messages: [assistant('a'), user('b')] })).not.toBe(one);
  expect(canonicalize({ messages: [user('a'), assistant('c')] })).not.toBe(one);
  expect(canonicalize({ messages: [user('a'), assistant('b')], temperature: 1, conversationKey: 'other' })).toBe(one);
});

it('tools come first, so prompts with different tools share no prefix', () => {
  const tool = (name: string) => ({ name, parameters: {}, strict: false });
  const system: Message = { role: 'system', content: [{ type: 'text', text: 'x'.repeat(2_000) }] };
  const hashTools = (names: string[]) =>
    hashPrefixes(canonicalizePrompt(makeRequest({ tools: names.map(tool), messages: [system] })), {
      tenant: 'acme',
      model: 'm',
      salt: 's',
    }).prefixes;
  expect(hashTools(['a'])).toEqual(hashTools(['a']));
  const [one] = hashTools(['a']);
  const [other] = hashTools(['b']);
  expect(one?.hash).not.toBe(other?.hash);
});

it('an image is replaced by its digest, and reasoning is omitted', () => {
  const image = { type: 'image', mediaType: 'image/png', base64: 'A'.repeat(100_000), param: 'messages[0]' } as const;
  const withImage = canonicalize({ messages: [{ role: 'user', content: [image] }] });
  expect(withImage.length).toBeLessThan(200);
  expect(canonicalize({ messages: [{ role: 'user', content: [{ ...image, base64: 'B' }] }] })).not.toBe(withImage);
  const thought = { type: 'reasoning', text: 'hm' } as const;
  expect(canonicalize({ messages: [{ role: 'assistant', content: [thought, { type: 'text', text: 'yes' }] }] })).toBe(
    canonicalize({ messages: [assistant('yes')] }),
  );
});
