import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { parseSettings } from '../../infra/settings.ts';
import type { Settings } from '../../infra/settings-schema.ts';

const DEFINITION = join(import.meta.dirname, '../../serverless.yml');

/** The settings in `serverless.yml` by stage; `default` has all of them. */
export const PARAMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = parse(
  readFileSync(DEFINITION, 'utf8'),
  { logLevel: 'error' },
).params;

/**
 * Returns the defaults with some settings overridden, as values or texts of the command line.
 * @throws LambentError `configuration` if they are not valid
 */
export function makeSettings(overrides: Readonly<Record<string, unknown>> = {}): Settings {
  return parseSettings({ ...PARAMS['default'], ...overrides });
}
