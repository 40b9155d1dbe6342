import type { CloudOptions } from '../local/cloud.ts';

/** True if the tests run with `LAMBDA_MODE=managed`: one process of a function serves many invocations. */
export const IS_MANAGED = process.env['LAMBDA_MODE'] === 'managed';

/** Returns which functions of a test's local cloud serve many invocations in one process: all of them, or none. */
export function managedFunctions(): NonNullable<CloudOptions['managedFunctions']> {
  return IS_MANAGED ? 'all' : [];
}
