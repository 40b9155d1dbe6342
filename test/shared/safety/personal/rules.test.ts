import { expect, it } from 'vitest';
import type { PersonalDataRules } from '../../../../shared/access/personal-data.ts';
import { combineRules } from '../../../../shared/safety/personal/rules.ts';

const combine = (project: PersonalDataRules, key?: PersonalDataRules) =>
  combineRules({ project: { personalData: project }, ...(key && { key: { personalData: key } }) });

it.each<PersonalDataRules>([{}, { all: 'off' }, { kinds: { email: 'off' } }, { unsearchable: 'refuse' }])(
  'rules that ask for nothing do not apply: %j',
  (rules) => {
    expect(combine(rules)).toBeUndefined();
  },
);

it('an action for all kinds includes those that need no guardrail', () => {
  const kinds = combine({ all: 'mask', kinds: { ip: 'off', email: 'redact' } })?.kinds;
  expect(kinds?.get('card')).toBe('mask');
  expect(kinds?.get('email')).toBe('redact');
  expect(kinds?.has('ip')).toBe(false);
  expect(kinds?.has('name')).toBe(false);
});

it('of the actions of several levels the strictest counts', () => {
  const kinds = combine({ all: 'refuse', kinds: { ip: 'off' } }, { all: 'mask' })?.kinds;
  expect(kinds?.get('email')).toBe('refuse');
  expect(kinds?.get('ip')).toBe('mask');
});

it('unsearchable content passes only if each level that asks for something lets it pass', () => {
  expect(combine({ all: 'mask' })?.passesUnsearchable).toBe(false);
  expect(combine({ all: 'mask', unsearchable: 'pass' }, {})?.passesUnsearchable).toBe(true);
  expect(combine({ all: 'mask', unsearchable: 'pass' }, { kinds: { ip: 'mask' } })?.passesUnsearchable).toBe(false);
});

it.each<PersonalDataRules>([{ unsearchable: 'refuse' }, { all: 'off', unsearchable: 'refuse' }])(
  'unsearchable content is refused if a level refuses it that asks for nothing else: %j',
  (rules) => {
    const passing: PersonalDataRules = { all: 'mask', unsearchable: 'pass' };
    expect(combine(rules, passing)?.passesUnsearchable).toBe(false);
    expect(combine(passing, rules)?.passesUnsearchable).toBe(false);
  },
);

it('the patterns of all levels apply, without those that are off', () => {
  const pattern = (name: string, action: 'mask' | 'off') => ({ name, pattern: 'x', action });
  const rules = combine(
    { patterns: [pattern('ONE', 'mask'), pattern('TWO', 'off')] },
    { patterns: [pattern('THREE', 'mask')] },
  );
  expect(rules?.patterns.map(({ name }) => name)).toEqual(['ONE', 'THREE']);
});
