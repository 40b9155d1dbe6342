import type { Restrictions } from '../access/policy.ts';
import { isObject } from '../core/objects.ts';
import { invalidValueError } from '../openai/validation.ts';

/** Sections of a policy that a request sets, not yet checked. */
type Sections = Readonly<Record<string, unknown>>;

/**
 * Checks the names of guardrails in the sections that a request sets: calls under a policy with an unknown one would all fail.
 * @param known the names that `models.json` has
 * @throws LambentError `invalid_value`
 */
export function checkGuardrailNames({ guardrail, personalData }: Sections, known: readonly string[]): void {
  const names = {
    'guardrail.name': read(guardrail, 'name'),
    'personalData.guardrail': read(personalData, 'guardrail'),
  };
  for (const [param, name] of Object.entries(names)) {
    // A value of another type is refused by the schema.
    if (typeof name !== 'string' || known.includes(name)) continue;
    const has = known.length === 0 ? 'none' : `these: ${known.join(', ')}`;
    const message = `Invalid '${param}': models.json has no guardrail of this name. It has ${has}.`;
    throw invalidValueError(param, message);
  }
}

/**
 * Checks that a guardrail finds the names and addresses that a request sets an action for: its own, or that of a level above.
 * @param readAbove reads the restrictions of the levels above; called only if they matter
 * @throws LambentError `invalid_value`
 */
export async function checkNameFinder(
  { personalData }: Sections,
  readAbove: () => Promise<readonly Restrictions[]>,
): Promise<void> {
  const kinds = read(personalData, 'kinds');
  const kind = ['name', 'address'].find((each) => (read(kinds, each) ?? 'off') !== 'off');
  if (kind === undefined || read(personalData, 'guardrail') !== undefined) return;
  if ((await readAbove()).some((level) => level.personalData?.guardrail !== undefined)) return;
  const param = `personalData.kinds.${kind}`;
  throw invalidValueError(param, `Invalid '${param}': only a guardrail finds it. Set 'personalData.guardrail'.`);
}

function read(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}
