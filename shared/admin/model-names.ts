import type { Restrictions } from '../access/policy.ts';
import { abbreviate, invalidValueError } from '../openai/validation.ts';
import type { AdminApi } from './admin-routes.ts';

/** Names in an error message. A deployment may have more models than a message has room for. */
const MAX_NAMES = 50;

/**
 * Checks the models that a request restricts. Requests for a name that `models.json` lacks get the model of a pattern, or
 * `default`, so that a restriction of such a name, misspelt perhaps, would do nothing. Names that are stored already pass: a model
 * may have been removed, and what a GET returned may be sent back.
 * @param names the names, each with the parameter that has it
 * @throws LambentError `invalid_value`
 */
export function checkModelNames(
  names: readonly (readonly [name: string, param: string])[],
  { models, moderations }: Pick<AdminApi, 'models' | 'moderations'>,
  { models: permissions, limits }: Restrictions,
): void {
  const known = [...models, ...moderations];
  const accepted = new Set([...known, ...(permissions?.models ?? []), ...Object.keys(limits?.models ?? {})]);
  for (const [name, param] of names) {
    if (accepted.has(name)) continue;
    const has = known.slice(0, MAX_NAMES).join(', ') + (known.length > MAX_NAMES ? ', …' : '');
    throw invalidValueError(
      param,
      `Invalid '${param}': models.json has no model '${abbreviate(name)}', so that this would restrict nothing. It has these: ${has}.`,
    );
  }
}
