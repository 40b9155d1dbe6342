import * as v from 'valibot';
import { createIssuerAdministration } from '../access/federation/issuer-administration.ts';
import type { FederationRule as EnforcedRule } from '../access/federation/issuers.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { mapInParallel } from '../core/map-in-parallel.ts';
import type { AdminApi } from './admin-routes.ts';
import { createIdentityProviders, toIssuerName } from './identity-providers.ts';
import { type Collection, createCollection } from './object-table.ts';

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
  /** The names of the scopes that were asked for. Null for those of the service account. */
  scopeNames: v.nullable(v.array(v.string())),
  /** The scopes that these are. */
  scopes: v.array(v.string()),
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
  /** Makes the authorizer apply a rule no more. */
  revoke(rule: FederationRule): Promise<void>;
  /** Revokes and deletes a rule. Idempotent. */
  remove(rule: FederationRule): Promise<void>;
  /** Removes the rules of a service account. Idempotent. */
  removeAllOf(projectId: string, accountId: string): Promise<void>;
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
    const stored = await mapInParallel(ids, CONCURRENCY, (id) => collection.find(ORGANIZATION, id));
    return stored.flatMap((rule) => (rule?.enabled ? [toEnforcedRule(rule)] : []));
  };

  const remove = async (rule: FederationRule): Promise<void> => {
    await revoke(rule);
    await collection.delete(ORGANIZATION, rule.id);
    // The issuer of its provider may have changed meanwhile, and the rule may have been copied to the new one.
    await revoke(rule);
  };

  return {
    collection,
    revoke,
    remove,

    async listOf(providerId) {
      const rules: FederationRule[] = [];
      for await (const rule of collection.listAll(ORGANIZATION)) if (rule.providerId === providerId) rules.push(rule);
      return rules;
    },

    async enforce(rules) {
      for (const [providerId, own] of Map.groupBy(rules, (rule) => rule.providerId)) {
        const ids = own.map(({ id }) => id);
        await replace(providerId, ids, () => compute(ids));
      }
    },

    async removeAllOf(projectId, accountId) {
      for await (const rule of collection.listAll(ORGANIZATION))
        if (rule.projectId === projectId && rule.serviceAccountId === accountId) await remove(rule);
    },
  };
}

function toEnforcedRule({ id, projectId, serviceAccountId, matchers, scopes }: FederationRule): EnforcedRule {
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
