import { expect, it } from 'vitest';
import { UsageError } from '../../../infra/operate/command-line.ts';
import { checkStageName } from '../../../infra/operate/stage.ts';

it.each(['dev', 'Prod-2', 'a'.repeat(46)])('a stage can have the name %s', (name) => {
  expect(checkStageName(name)).toBe(name);
});

it.each(['', '../x', 'a b', 'dev\n', 'dévé', '1st', 'a'.repeat(47), '__proto__', 'constructor', 'toString'])(
  'a stage cannot have the name %j',
  (name) => {
    expect(() => checkStageName(name)).toThrow(UsageError);
  },
);
