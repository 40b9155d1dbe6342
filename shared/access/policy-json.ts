import { LambentError } from '../core/errors.ts';
import { type Policy, type Restrictions, UNRESTRICTED } from './policy.ts';

/** The sections that this version enforces. A policy with another one is refused. */
const SECTIONS: Readonly<Partial<Record<keyof Restrictions, true>>> = {
  models: true,
  limits: true,
  ipRanges: true,
  certificates: true,
  personalData: true,
  contentRules: true,
  guardrail: true,
  retention: true,
  readOnly: true,
  // The function `record` enforces it, after the call.
  abuse: true,
};

/** The stored restrictions of each level, as JSON. */
export type EncodedPolicy = { readonly [Level in keyof Policy]?: string | undefined };

/** Joins stored restrictions to a policy, as JSON. Returns undefined if there are none. */
export function joinPolicy({ account, project, key }: EncodedPolicy): string | undefined {
  const levels = Object.entries({ account, project, key }).filter(([, restrictions]) => restrictions !== undefined);
  if (levels.length === 0) return undefined;
  return `{${levels.map(([level, restrictions]) => `"${level}":${restrictions}`).join()}}`;
}

/**
 * Parses the JSON of a policy, which was checked when it was written. Without JSON there are no restrictions.
 * @throws LambentError `overloaded` for a section that only a newer version enforces, because a request may reach that one
 * when it is repeated
 */
export function parsePolicy(json: string | undefined): Policy {
  if (json === undefined) return UNRESTRICTED;
  const policy: Policy = JSON.parse(json);
  for (const restrictions of Object.values(policy)) checkSections(restrictions);
  return policy;
}

/** Throws as `parsePolicy` does. */
export function checkSections(restrictions: Restrictions): void {
  const unknown = Object.keys(restrictions).find((section) => !Object.hasOwn(SECTIONS, section));
  if (unknown !== undefined)
    throw new LambentError('overloaded', `This version does not enforce the section ${unknown} of a policy`);
}

/** Parses the stored restrictions of a key, service account or user. Without JSON there are none. */
export function decodeRestrictions(json: string | null | undefined): Restrictions {
  return typeof json === 'string' ? JSON.parse(json) : {};
}
