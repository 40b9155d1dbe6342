import type { Level } from './caps.ts';

/** The owner of a level's limits, as error messages name it. */
export const OWNERS: Readonly<Record<Level, string>> = {
  account: 'this deployment',
  project: 'the project',
  model: 'the project for this model',
  key: 'this key',
};
