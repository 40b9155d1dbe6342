import type { Level } from './caps.ts';

/** Whose limit a level has, for error messages. */
export const OWNERS: Readonly<Record<Level, string>> = {
  account: 'this deployment',
  project: 'the project',
  model: 'the project for this model',
  key: 'this key',
};
