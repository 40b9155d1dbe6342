import type { CloudOptions } from '../local/cloud.ts';

/**
 * Returns which functions of a test's local cloud serve many invocations in one process: all of them when the tests run
 * with `LAMBDA_MODE=managed`, none otherwise.
 */
export function managedFunctions(): NonNullable<CloudOptions['managedFunctions']> {
  return process.env['LAMBDA_MODE'] === 'managed' ? 'all' : [];
}
