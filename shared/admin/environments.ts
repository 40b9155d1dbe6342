import { LIMIT_PRESETS } from '../access/limit-policy.ts';
import type { Restrictions } from '../access/policy.ts';
import { BUILT_IN_ROLES } from '../access/roles.ts';
import { type Scope, TENANT_SCOPES } from '../access/scopes.ts';
import { omitUndefined } from '../core/objects.ts';

/** Kinds of projects, with limits and scopes that suit them. */
export const ENVIRONMENTS = ['dev', 'production', 'sandbox'] as const;
export type Environment = (typeof ENVIRONMENTS)[number];

/** Returns restrictions with the limits of an environment, instead of those of the same kinds. A sandbox only reads. */
export function applyPreset({ readOnly: _, ...others }: Restrictions, environment: Environment): Restrictions {
  const limits = { ...others.limits, ...LIMIT_PRESETS[environment] };
  return environment === 'sandbox' ? { ...others, limits, readOnly: true } : { ...others, limits };
}

/** Returns restrictions that are as strict as both the present ones and those of `applyPreset`. */
export function applyStricterPreset(before: Restrictions, environment: Environment): Restrictions {
  const preset = LIMIT_PRESETS[environment];
  const requestsPerMinute = Math.min(
    preset.requestsPerMinute,
    before.limits?.requestsPerMinute ?? Number.POSITIVE_INFINITY,
  );
  const { readOnly = before.readOnly, ...after } = applyPreset(before, environment);
  return omitUndefined({ ...after, readOnly, limits: { ...after.limits, ...preset, requestsPerMinute } });
}

/** Returns the scopes that new keys of a project may have. */
export function listKeyScopes({ environment }: { readonly environment: Environment | null }): readonly Scope[] {
  return environment === 'sandbox' ? BUILT_IN_ROLES.sandbox.scopes : TENANT_SCOPES;
}
