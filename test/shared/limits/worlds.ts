import fc from 'fast-check';
import type { Limits } from '../../../shared/access/limit-policy.ts';

/** Returns the arbitraries that all tests of parallel callers need: the limits of each level, and how many environments there are. */
export function makeWorldFields<L extends fc.Arbitrary<Limits>>(limits: L) {
  return {
    seed: fc.integer(),
    account: limits,
    project: limits,
    model: limits,
    key: limits,
    environments: fc.integer({ min: 1, max: 20 }),
  };
}
