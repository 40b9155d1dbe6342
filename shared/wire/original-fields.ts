import { classifyUnknownField } from './unknown-fields.ts';

/** Fields of a request's original: those that its target gets, and the names of the others. */
export interface OriginalFields {
  readonly passed: Readonly<Record<string, unknown>>;
  readonly ignored: readonly string[];
}

/**
 * Selects the fields of the caller's body that go to a target which speaks the endpoint's protocol.
 * @param decide returns whether a field of the endpoint is passed on, and undefined for a field that it doesn't have
 */
export function selectOriginalFields(
  body: Readonly<Record<string, unknown>>,
  decide: (name: string) => boolean | undefined,
): OriginalFields {
  const isPassed = ([name, value]: readonly [string, unknown]): boolean =>
    decide(name) ?? classifyUnknownField(name, value, { passUnknown: true }) === 'pass';
  const { passed = [], others = [] } = Object.groupBy(Object.entries(body), (field) =>
    isPassed(field) ? 'passed' : 'others',
  );
  return { passed: Object.fromEntries(passed), ignored: others.map(([name]) => name) };
}
