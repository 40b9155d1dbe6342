import type { PersonalDataAction, PersonalDataKind } from '../../access/personal-data.ts';
import type { FindValues } from './finding.ts';
import { foldText } from './fold.ts';
import { type AppliedRules, findStrictest, GUARDRAIL_KINDS } from './rules.ts';

/** A value in a text. */
export interface Finding {
  /** The kind as it appears in placeholders: `EMAIL`, or the name of a custom pattern. */
  readonly label: string;
  readonly action: PersonalDataAction;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/**
 * Returns the values in a text, in order and without overlaps. In an opaque one, such as a signature, only credentials are searched
 * for: they can have its form, and random base64 has some of other kinds, such as account numbers.
 */
export type Detect = (text: string, options?: { readonly isOpaque?: boolean | undefined }) => Finding[];

/** The kinds that a detector finds by itself. */
type OwnKind = Exclude<PersonalDataKind, 'name' | 'address'>;

/** Loads the code of a kind when a policy first asks for it. The first kinds win where values of two kinds overlap. */
const FINDERS: Readonly<Record<OwnKind, () => Promise<FindValues>>> = {
  credential: async () => (await import('./kinds/credential.ts')).findCredentials,
  email: async () => (await import('./kinds/email.ts')).findEmails,
  iban: async () => (await import('./kinds/iban.ts')).findIbans,
  passport: async () => (await import('./kinds/passport.ts')).findPassports,
  residentId: async () => (await import('./kinds/numbers.ts')).findResidentIds,
  card: async () => (await import('./kinds/numbers.ts')).findCards,
  ssn: async () => (await import('./kinds/numbers.ts')).findSsns,
  phone: async () => (await import('./kinds/phone.ts')).findPhones,
  ip: async () => (await import('./kinds/ip.ts')).findIps,
};

/** Returns how a kind appears in placeholders. */
export function toLabel(kind: PersonalDataKind): string {
  return kind.toUpperCase();
}

const CREDENTIAL = toLabel('credential');

/**
 * Creates the detector of some rules. Names and addresses are not found by it.
 * @throws LambentError `configuration` for an invalid custom pattern
 */
export async function createDetector({ kinds, patterns }: Pick<AppliedRules, 'kinds' | 'patterns'>): Promise<Detect> {
  const finders: { readonly label: string; readonly action: PersonalDataAction; readonly find: FindValues }[] = [];
  if (patterns.length > 0) {
    const { createPatternFinder } = await import('./kinds/custom.ts');
    for (const pattern of patterns)
      finders.push({ label: pattern.name, action: pattern.action, find: createPatternFinder(pattern) });
  }
  for (const [kind, load] of Object.entries(FINDERS) as [OwnKind, () => Promise<FindValues>][]) {
    const action = kinds.get(kind);
    if (action !== undefined && !GUARDRAIL_KINDS.has(kind))
      finders.push({ label: toLabel(kind), action, find: await load() });
  }
  const findersOfOpaque = finders.filter(({ label }) => label === CREDENTIAL);
  return (text, { isOpaque = false } = {}) => {
    const folded = foldText(text);
    const found: Finding[] = [];
    for (const { label, action, find } of isOpaque ? findersOfOpaque : finders) {
      for (const { start, end } of find(folded.text))
        found.push({ label, action, start: folded.toOriginal(start), end: folded.toOriginal(end) });
    }
    return mergeOverlaps(found);
  };
}

/** Joins findings that overlap: the first finder names the kind, and the strictest action counts. */
export function mergeOverlaps(found: readonly Finding[]): Finding[] {
  if (found.length < 2) return [...found];
  const rank = new Map(found.map((finding, index) => [finding, index]));
  const sorted = [...found].sort((a, b) => a.start - b.start || b.end - a.end);
  const merged: Finding[] = [];
  for (const finding of sorted) {
    const last = merged.at(-1);
    if (last === undefined || finding.start >= last.end) {
      merged.push(finding);
      continue;
    }
    const first = (rank.get(last) ?? 0) <= (rank.get(finding) ?? 0) ? last : finding;
    const joined = {
      label: first.label,
      action: findStrictest([last.action, finding.action]),
      start: last.start,
      end: Math.max(last.end, finding.end),
    };
    rank.set(joined, rank.get(first) ?? 0);
    merged[merged.length - 1] = joined;
  }
  return merged;
}
