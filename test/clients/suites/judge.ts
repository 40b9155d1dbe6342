import type { Check } from '../drivers.ts';
import { EXCEPTIONS, type Exceptions } from './exceptions.ts';

/** The share of a suite's tests that must pass. */
export const MINIMUM_SHARE = 0.97;

/** The result of a suite. */
export interface SuiteResult {
  readonly suite: string;
  readonly tests: number;
  readonly passed: number;
  /** Tests that failed as they are expected to. */
  readonly exceptions: number;
  /** Why the run fails; empty if it passes. */
  readonly problems: readonly string[];
}

/** Compares the results of a suite's tests with its exceptions. */
export function judgeSuite(
  suite: string,
  checks: readonly Check[],
  all: readonly Exceptions[] = EXCEPTIONS,
): SuiteResult {
  const exceptions = all.filter((each) => each.suite === suite);
  const isException = ({ check }: Check): boolean => exceptions.some(({ tests }) => tests.test(check));
  const failed = checks.filter(({ error }) => error !== undefined);
  const unexpected = failed.filter((each) => !isException(each));
  const outdated = checks.filter((each) => each.error === undefined && isException(each));
  const unused = exceptions.filter(({ tests }) => !checks.some(({ check }) => tests.test(check)));
  const passed = checks.length - failed.length;
  const tooFew = passed < checks.length * MINIMUM_SHARE;
  return {
    suite,
    tests: checks.length,
    passed,
    exceptions: failed.length - unexpected.length,
    problems: [
      ...unexpected.map(({ check, error = '' }) => `${check}: ${error.trim().slice(0, MAX_ERROR)}`),
      ...outdated.map(({ check }) => `${check} passes now: remove it from exceptions.ts`),
      ...unused.map(({ tests }) => `no test has the name ${tests}: remove it from exceptions.ts`),
      ...(tooFew ? [`fewer than ${MINIMUM_SHARE * 100}% of the tests passed`] : []),
    ],
  };
}

const MAX_ERROR = 1_500;
