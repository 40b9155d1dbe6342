import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { contentRulesSchema, guardrailSchema } from '../../../shared/access/content-policy-schema.ts';

const rule = { id: 'a', terms: ['falcon'] };

describe('the section contentRules', () => {
  it.each([
    [[rule]],
    [[{ id: 'a.b_c-1', terms: ['x'], allow: ['xy'], wholeWords: true, on: 'input', action: 'flag' }]],
    [
      [
        { id: 'p', pattern: '(?i)TCK-\\d{4}', allow: ['TCK-0000'], maxLength: 16, on: 'output', action: 'refuse' },
        rule,
      ],
    ],
    [[]],
  ])('rules are accepted as they are: %j', (rules) => {
    expect(v.parse(contentRulesSchema, rules)).toEqual(rules);
  });

  it.each<[string, unknown]>([
    ['without an id', [{ terms: ['x'] }]],
    ['with an id that has a space', [{ ...rule, id: 'a b' }]],
    ['without terms', [{ id: 'a', terms: [] }]],
    ['with an empty term', [{ id: 'a', terms: [''] }]],
    ['with an invisible term', [{ id: 'a', terms: ['\u200B '] }]],
    ['with a term that is too long', [{ id: 'a', terms: ['x'.repeat(201)] }]],
    ['with an unknown field', [{ ...rule, ignoreCase: true }]],
    ['with terms and a pattern', [{ ...rule, pattern: 'x' }]],
    ['with an unknown action', [{ ...rule, action: 'mask' }]],
    ['with an invalid pattern', [{ id: 'p', pattern: '(' }]],
    ['with a backreference, which needs more than linear time', [{ id: 'p', pattern: '(a)\\1' }]],
    ['with a pattern that matches an empty text', [{ id: 'p', pattern: 'a*' }]],
    ['with a pattern that matches an empty text between words', [{ id: 'p', pattern: '\\b' }]],
    ['with an allowed pattern that matches an empty text', [{ id: 'p', pattern: 'a', allow: ['\\b'] }]],
    ['with a pattern that is large', [{ id: 'p', pattern: '(abcde{1,100}){50}' }]],
    ['with a match that is too long', [{ id: 'p', pattern: 'a', maxLength: 1_001 }]],
    ['with an allowed pattern that is invalid', [{ id: 'p', pattern: 'a', allow: ['('] }]],
    ['with two rules of one id', [rule, rule]],
    ['with too many rules', Array.from({ length: 21 }, (_, index) => ({ ...rule, id: `${index}` }))],
    ['that are no list', rule],
  ])('rules %s are refused', (_, rules) => {
    expect(v.safeParse(contentRulesSchema, rules).success).toBe(false);
  });

  it('the message for an invalid pattern has the reason', () => {
    const result = v.safeParse(contentRulesSchema, [{ id: 'p', pattern: 'a(' }]);
    expect(result.issues?.[0]).toMatchObject({ message: expect.stringContaining('missing closing )') });
    expect(v.getDotPath(result.issues?.[0] as v.BaseIssue<unknown>)).toBe('0.pattern');
  });
});

describe('the section guardrail', () => {
  const all = { name: 'strict', on: 'output', onFailure: 'pass', timeoutMs: 1_000, windowCharacters: 500 };
  it.each([{ name: 'strict' }, { ...all, overlapCharacters: 0 }])('a guardrail is accepted: %j', (guardrail) => {
    expect(v.parse(guardrailSchema, guardrail)).toEqual(guardrail);
  });

  it.each([{}, { name: '' }, { ...all, on: 'never' }, { ...all, timeoutMs: 60_000 }, { ...all, id: 'abc' }])(
    'a guardrail is refused: %j',
    (guardrail) => {
      expect(v.safeParse(guardrailSchema, guardrail).success).toBe(false);
    },
  );
});
