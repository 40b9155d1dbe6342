import {
  PERSONAL_DATA_ACTIONS,
  PERSONAL_DATA_KINDS,
  type PersonalDataAction,
  type PersonalDataKind,
  type PersonalDataPattern,
  type PersonalDataRules,
} from '../../access/personal-data.ts';
import type { Policy } from '../../access/policy.ts';

/** The rules that apply to one request, after those of all levels of its policy. */
export interface AppliedRules {
  /** The kinds that are not off, and the strictest action of all levels. */
  readonly kinds: ReadonlyMap<PersonalDataKind, PersonalDataAction>;
  readonly patterns: readonly PersonalDataPattern[];
  /** The guardrails that find names and addresses, by their names in the registry. */
  readonly guardrails: readonly string[];
  /** True if images and PDF documents are sent although they can't be searched. */
  readonly passesUnsearchable: boolean;
}

/** Kinds that only Bedrock Guardrails finds. `all` doesn't include them, because each request would need a call. */
export const GUARDRAIL_KINDS: ReadonlySet<PersonalDataKind> = new Set(['name', 'address']);

/**
 * Combines the rules of all levels of a policy: the strictest action counts. Returns undefined if they ask for nothing.
 */
export function combineRules({ account, project, key }: Policy): AppliedRules | undefined {
  const levels = [account, project, key].flatMap((level) => (level?.personalData ? [level.personalData] : []));
  const kinds = new Map<PersonalDataKind, PersonalDataAction>();
  for (const kind of PERSONAL_DATA_KINDS) {
    const strictest = findStrictest(levels.map((rules) => getAction(rules, kind)));
    if (strictest !== 'off') kinds.set(kind, strictest);
  }
  const patterns = levels.flatMap((rules) => rules.patterns ?? []).filter(({ action }) => action !== 'off');
  if (kinds.size === 0 && patterns.length === 0) return undefined;
  return {
    kinds,
    patterns,
    guardrails: [...new Set(levels.flatMap(({ guardrail }) => guardrail ?? []))],
    passesUnsearchable: levels.every(passesUnsearchable),
  };
}

function getAction({ all = 'off', kinds = {} }: PersonalDataRules, kind: PersonalDataKind): PersonalDataAction {
  return kinds[kind] ?? (GUARDRAIL_KINDS.has(kind) ? 'off' : all);
}

/** A level that asks for nothing says nothing about unsearchable content, unless it refuses it by name. */
function passesUnsearchable(rules: PersonalDataRules): boolean {
  return (rules.unsearchable ?? (asksForAnything(rules) ? 'refuse' : 'pass')) === 'pass';
}

function asksForAnything(rules: PersonalDataRules): boolean {
  const actions = [
    rules.all,
    ...Object.values(rules.kinds ?? {}),
    ...(rules.patterns ?? []).map(({ action }) => action),
  ];
  return actions.some((action) => action !== undefined && action !== 'off');
}

/** Returns the strictest of some actions. */
export function findStrictest(actions: readonly PersonalDataAction[]): PersonalDataAction {
  return PERSONAL_DATA_ACTIONS.findLast((action) => actions.includes(action)) ?? 'off';
}
