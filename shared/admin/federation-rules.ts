import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { createIssuerAdministration } from '../access/federation/issuer-administration.ts';
import type { FederationRule as EnforcedRule } from '../access/federation/issuers.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import type { AdminApi } from './admin-routes.ts';
import { createIdentityProviders, toIssuerName } from './identity-providers.ts';
import { type Collection, createCollection } from './object-table.ts';
import { removeId } from './people.ts';
import { createRuleScopeReader } from './rule-permissions.ts';

const ruleSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  updatedAt: v.number(),
  providerId: v.string(),
  projectId: v.string(),
  serviceAccountId: v.string(),
  name: v.nullable(v.string()),
  description: v.nullable(v.string()),
  enabled: v.boolean(),
  matchers: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
  /** What the rule permits: see `RulePermissions`. */
  scopeNames: v.nullable(v.array(v.string())),
  roles: v.optional(v.array(v.string()), []),
});
/** Lets the tokens of a provider that have certain attributes act for a service account. */
export type FederationRule = v.InferOutput<typeof ruleSchema>;

/** The rules of all providers. Methods throw as those of `Collection`. */
export interface FederationRules {
  readonly collection: Collection<FederationRule>;
  /** Returns the rules of a provider, in the order of their creation. */
  listOf(providerId: string): Promise<FederationRule[]>;
  /** Makes the authorizer apply rules as they are stored, but none that is switched off. Idempotent. */
  enforce(rules: readonly FederationRule[]): Promise<void>;
  /** Returns whether a change of a rule takes something away: other tokens meet it, or it permits them less. */
  isReduced(before: FederationRule, after: FederationRule): Promise<boolean>;
  /** Makes the authorizer apply a rule no more. */
  revoke(rule: FederationRule): Promise<void>;
  /** Revokes and deletes a rule. Idempotent. */
  remove(rule: FederationRule): Promise<void>;
  /** Removes the rules of a service account. Idempotent. */
  removeAllOf(projectId: string, accountId: string): Promise<void>;
  /** Returns whether rules name a custom role. */
  isRoleNamed(roleId: string): Promise<boolean>;
  /** Makes the authorizer apply what a role permits now to the rules that name it. Idempotent. */
  enforceRole(roleId: string): Promise<void>;
  /** Makes the authorizer apply what a project permits now to its rules. Idempotent. */
  enforceProject(projectId: string): Promise<void>;
  /** Removes a role, which permits nothing any more, from the rules that name it. Idempotent. */
  forgetRole(roleId: string): Promise<void>;
}

/** Rules that are read at the same time. */
const CONCURRENCY = 10;

/** Creates the collection of federation rules. */
export function createFederationRules(api: AdminApi): FederationRules {
  const collection = createCollection(api.table, { type: 'workload_identity_federation_rule', schema: ruleSchema });
  const providers = createIdentityProviders(api);
  const issuers = createIssuerAdministration(api.access);

  /** Makes the authorizer apply the rules that `compute` returns instead of those of a provider with certain ids. */
  const replace = async (
    providerId: string,
    ids: readonly string[],
    compute: () => Promise<readonly EnforcedRule[]>,
  ): Promise<void> => {
    const provider = await providers.find(ORGANIZATION, providerId);
    if (provider !== undefined) await issuers.replaceRules(toIssuerName(provider), ids, compute);
  };

  const revoke = ({ id, providerId }: FederationRule) => replace(providerId, [id], async () => []);

  /** Returns what the authorizer applies of stored rules with certain ids. */
  const compute = async (ids: readonly string[]): Promise<EnforcedRule[]> => {
    const listScopes = createRuleScopeReader(api);
    const computed = await mapInParallel(ids, CONCURRENCY, async (id) => {
      const rule = await collection.find(ORGANIZATION, id);
      return rule?.enabled ? [toEnforcedRule(rule, await listScopes(rule))] : [];
    });
    return computed.flat();
  };

  const enforce = async (rules: readonly FederationRule[]): Promise<void> => {
    for (const [providerId, own] of Map.groupBy(rules, (rule) => rule.providerId)) {
      const ids = own.map(({ id }) => id);
      await replace(providerId, ids, () => compute(ids));
    }
  };

  const listWhere = async (matches: (rule: FederationRule) => boolean): Promise<FederationRule[]> => {
    const rules: FederationRule[] = [];
    for await (const rule of collection.listAll(ORGANIZATION)) if (matches(rule)) rules.push(rule);
    return rules;
  };
  const listNaming = (roleId: string) => listWhere(({ roles }) => roles.includes(roleId));

  const remove = async (rule: FederationRule): Promise<void> => {
    await revoke(rule);
    await collection.delete(ORGANIZATION, rule.id);
    // The issuer of its provider may have changed meanwhile, and the rule may have been copied to the new one.
    await revoke(rule);
  };

  return {
    collection,

    async isReduced(before, after) {
      if (before.enabled && !after.enabled) return true;
      if (!isDeepStrictEqual(before.matchers, after.matchers)) return true;
      const listScopes = createRuleScopeReader(api);
      const [scopes, left] = await Promise.all([listScopes(before), listScopes(after)]);
      return scopes.some((scope) => !left.includes(scope));
    },

    revoke,
    remove,

    enforce,
    listOf: (providerId) => listWhere((rule) => rule.providerId === providerId),

    async removeAllOf(projectId, accountId) {
      for await (const rule of collection.listAll(ORGANIZATION))
        if (rule.projectId === projectId && rule.serviceAccountId === accountId) await remove(rule);
    },

    isRoleNamed: async (roleId) => (await listNaming(roleId)).length > 0,
    enforceRole: async (roleId) => enforce(await listNaming(roleId)),

    async enforceProject(projectId) {
      await enforce(await listWhere((rule) => rule.projectId === projectId));
    },

    async forgetRole(roleId) {
      const rules = await listNaming(roleId);
      // First, because a repeated request doesn't find rules from which the role was removed.
      await enforce(rules);
      const updatedAt = Math.floor(api.now() / 1000);
      const forget = (ids: readonly string[]) => removeId(ids, roleId);
      for (const { id } of rules)
        await collection.update(ORGANIZATION, id, ({ scopeNames, roles, ...rule }) => ({
          ...rule,
          scopeNames: scopeNames && forget(scopeNames),
          roles: forget(roles),
          updatedAt,
        }));
    },
  };
}

function toEnforcedRule(rule: FederationRule, scopes: string[]): EnforcedRule {
  const { id, projectId, serviceAccountId, matchers } = rule;
  return { id, tenant: projectId, serviceAccount: serviceAccountId, matchers, scopes };
}

/** Encodes a rule as the API shows it. */
export function encodeRule(rule: FederationRule) {
  const { scopeNames } = rule;
  return {
    id: rule.id,
    object: 'organization.workload_identity_federation_rule' as const,
    workload_identity_provider_id: rule.providerId,
    project_id: rule.projectId,
    service_account_id: rule.serviceAccountId,
    name: rule.name,
    description: rule.description,
    enabled: rule.enabled,
    attribute_matchers: rule.matchers,
    permissions: scopeNames === null ? { type: 'service_account_default' } : { type: 'restricted', scopes: scopeNames },
    created_at: rule.createdAt,
    updated_at: rule.updatedAt,
  };
}
