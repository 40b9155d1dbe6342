import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContentRule, PatternRule } from '../../../../shared/access/content-policy-schema.ts';
import type { Policy } from '../../../../shared/access/policy.ts';
import type { GenerationRequest } from '../../../../shared/inference/generation.ts';
import { withRules } from '../../../../shared/safety/rules/rules-router.ts';
import { makeRequest } from '../../inference/requests.ts';
import { OPTIONS, stream } from '../answers.ts';

const FALCON: ContentRule = { id: 'falcon', terms: ['falcon'] };

/** Returns whether a request is sent. Throws anything but the refusal by a rule. */
async function isSent(request: Partial<GenerationRequest>, policy: Policy): Promise<boolean> {
  let sent = false;
  const send = async () => {
    sent = true;
    return { events: stream([]) };
  };
  await withRules(policy, { generate: send })
    .generate(makeRequest(request), OPTIONS)
    .catch((thrown: { code?: unknown }) => {
      if (thrown.code !== 'content_filter') throw thrown;
    });
  return sent;
}

const text = (content: string) => ({ type: 'text' as const, text: content });
const user = (...texts: string[]): Partial<GenerationRequest> => ({
  messages: [{ role: 'user', content: texts.map(text) }],
});

const toolResult = (content: string): Partial<GenerationRequest> => ({
  messages: [{ role: 'tool', toolCallId: 'a', content: [text(content)] }],
});

const callTool = (signature: string): Partial<GenerationRequest> => ({
  messages: [{ role: 'assistant', content: [{ type: 'toolCall', id: 'a', name: 'look', arguments: '{}', signature }] }],
});

it('a signature of an earlier call in base64 is not checked, because terms match it by chance', async () => {
  const policy: Policy = { project: { contentRules: [FALCON] } };
  expect(await isSent(callTool(`${'A'.repeat(64)}/falcon/`), policy)).toBe(true);
});

describe('the input of a model', () => {
  it.each<[string, Partial<GenerationRequest>]>([
    ['a user message', user('the Falcon')],
    ['two parts of a message', user('the Fal', 'con')],
    ['an instruction', { messages: [{ role: 'system', content: [text('falcon')] }] }],
    ['an earlier answer', { messages: [{ role: 'assistant', content: [text('falcon')] }] }],
    ['earlier reasoning', { messages: [{ role: 'assistant', content: [{ type: 'reasoning', text: 'falcon' }] }] }],
    [
      'the arguments of an earlier call',
      {
        messages: [
          {
            role: 'assistant',
            content: [{ type: 'toolCall', id: 'a', name: 'look', arguments: '{"q":"f\\u0061lcon"}' }],
          },
        ],
      },
    ],
    ['a signature of an earlier call', callTool('Project Falcon')],
    ["a tool's result", toolResult('falcon')],
    ["a tool's result in escaped JSON", toolResult('{"a":"\\u0066\\u0061lcon"}')],
    ['JSON within JSON', toolResult(JSON.stringify({ a: '{"b":"\\u0066alcon"}' }))],
    ['several lines of JSON', toolResult('{"a":1}\n{"a":"\\u0066alcon"}')],
    ['a user message with escaped JSON', user('See {"a":"\\u0066alcon"}')],
    [
      'a document',
      {
        messages: [
          {
            role: 'user',
            content: [{ type: 'document', mediaType: 'text/plain', text: 'falcon', param: 'messages[0]' }],
          },
        ],
      },
    ],
    ["a tool's description", { tools: [{ name: 'look', description: 'falcon', parameters: {}, strict: false }] }],
    ["a tool's schema", { tools: [{ name: 'look', parameters: { properties: { falcon: {} } }, strict: false }] }],
    ['a hosted tool', { hostedTools: { tools: [{ type: 'web_search', user_location: { city: 'Falcon' } }] } }],
    ['a field that is passed on', { unknown: { extra: ['falcon'] } }],
    ['the name of a field that is passed on', { unknown: { falcon: 1 } }],
  ])('%s with a denied term is refused', async (_, request) => {
    expect(await isSent(request, { project: { contentRules: [FALCON] } })).toBe(false);
  });

  it.each<[string, Policy, boolean]>([
    ['of the account', { account: { contentRules: [FALCON] } }, false],
    ['of the key', { key: { contentRules: [FALCON] }, project: { contentRules: [] } }, false],
    ['for input', { project: { contentRules: [{ ...FALCON, on: 'input' }] } }, false],
    ['for output only', { project: { contentRules: [{ ...FALCON, on: 'output' }] } }, true],
    ['that only flags', { project: { contentRules: [{ ...FALCON, action: 'flag' }] } }, true],
    ['with a pattern', { project: { contentRules: [{ id: 'p', pattern: '(?i)\\bfal.on\\b' }] } }, false],
    ['with another pattern', { project: { contentRules: [{ id: 'p', pattern: 'falcon$' }] } }, true],
  ])('a rule %s applies to a request', async (_, policy, expected) => {
    expect(await isSent(user('the Falcon'), policy)).toBe(expected);
  });

  it.each([
    ['禁词', '{"a": "\\u7981\\u8bcd"}'],
    ['a "quoted" b', '{"x":"a \\"quoted\\" b"}'],
    ['two\nlines', '{"x":"two\\nlines"}'],
    ['C:\\new', 'C:\\new is no JSON'],
  ])('the term %j is found in the result of a tool: %s', async (term, content) => {
    expect(await isSent(toolResult(content), { key: { contentRules: [{ id: 'a', terms: [term] }] } })).toBe(false);
  });

  it('a term does not extend over two messages', async () => {
    const messages = ['fal', 'con'].map((each) => ({ role: 'user' as const, content: [text(each)] }));
    expect(await isSent({ messages }, { project: { contentRules: [FALCON] } })).toBe(true);
  });

  it('a stored pattern that is invalid lets nothing pass', async () => {
    const policy = { project: { contentRules: [{ id: 'p', pattern: '(' }] } };
    await expect(isSent(user('Hello'), policy)).rejects.toMatchObject({ code: 'configuration' });
  });
});

describe('a long text', () => {
  it('a text is sent if and only if all matches of a pattern are within allowed texts', async () => {
    const rule: ContentRule = { id: 'digits', pattern: '\\b\\d{6}\\b', allow: ['TCK-\\d{6}', 'é \\d{6} ok'] };
    // Long texts are searched in parts. The character with a mark is composed before.
    const allowed: fc.Arbitrary<string> = fc.constantFrom(
      'TCK-123456 ',
      '1234567 ',
      'e\u0301 123456 ok ',
      'TCK-1',
      'e\u0301 ',
      'x ',
      '\u{1F600}',
    );
    const long = fc.array(allowed, { minLength: 300, maxLength: 600 });
    const some = fc.array(fc.tuple(fc.nat(), fc.constantFrom('123456 ', 'e 123456 ok ')), { maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(long, some, async (parts, others) => {
        const whole = others
          .reduce((list, [at, other]) => list.toSpliced(at % (list.length + 1), 0, other), parts)
          .join('');
        const isAllowed = !/\b\d{6}\b/.test(whole.normalize('NFKC').replace(/TCK-\d{6}|é \d{6} ok/g, 'x'));
        expect(await isSent(user(whole), { key: { contentRules: [rule] } })).toBe(isAllowed);
      }),
      { numRuns: 30 },
    );
  });

  const TICKET = 'TCK-\\d+(.*approved)?';
  // In time that grows with the square of the text, each of these takes longer than the time limit of a test.
  it.each<[string, PatternRule, string, boolean]>([
    ['matches that may extend to the end', { id: 'a', pattern: TICKET }, 'TCK-1 '.repeat(100_000), false],
    [
      'allowed matches that may extend to the end',
      { id: 'a', pattern: TICKET, allow: ['TCK-1'] },
      `TCK-1 ${'other text '.repeat(9)}`.repeat(10_000),
      true,
    ],
    ['one character with many marks', { id: 'a', pattern: TICKET }, `e${'\u0301\u0323'.repeat(500_000)}`, true],
    [
      'one character with many marks, for a pattern with allowed texts',
      { id: 'a', pattern: TICKET, allow: ['TCK-1'] },
      `e${'\u0301\uff9e'.repeat(500_000)}`,
      true,
    ],
  ])('a text of %s is searched in linear time', async (_, rule, content, expected) => {
    expect(await isSent(user(content), { project: { contentRules: [rule] } })).toBe(expected);
  });

  it('a match after many marks is found', async () => {
    const rule = { id: 'a', pattern: 'é$|TCK-\\d+' };
    for (const content of [`e${'\u0323\u0301'.repeat(500)}TCK-1`, `${'e\u0301'.repeat(500)}`])
      expect(await isSent(user(content), { project: { contentRules: [rule] } })).toBe(false);
  });
});
