import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { arrayOf, boolean, object, recordOf, string, text, variant } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { listKeyScopes } from './environments.ts';
import { createFederationRules, encodeRule, type FederationRule } from './federation-rules.ts';
import {
  createIdentityProviders,
  getIdentityProvider,
  getProvider,
  type IdentityProvider,
} from './identity-providers.ts';
import { createObjectId, objectNotFoundError, toProjectOwner } from './object-table.ts';
import { findActiveProject } from './projects.ts';
import { createRoleReader } from './roles.ts';
import { parseRulePermissions, type RulePermissions } from './rule-permissions.ts';
import { createServiceAccounts } from './service-accounts.ts';
import { attributeName } from './verification.ts';

const MAX_VALUE_LENGTH = 512;

const matchers = recordOf<string | number | boolean>(16, (name, value) => {
  if (!v.is(attributeName, name)) return 'it is not the name of a claim.';
  if (typeof value === 'string' && value.length <= MAX_VALUE_LENGTH) return undefined;
  if (typeof value === 'boolean' || Number.isFinite(value)) return undefined;
  return `expected a boolean, a number, or a string of at most ${MAX_VALUE_LENGTH} characters.`;
});
const permissions = variant('type', {
  service_account_default: object({ type: v.literal('service_account_default') }),
  restricted: object({ type: v.literal('restricted'), scopes: arrayOf(string, 'strings', { min: 1, max: 100 }) }),
});
const name = v.optional(v.nullable(text({ max: 256 })));
const description = v.optional(v.nullable(text({ max: 1_024 })));
const createBody = object({
  attribute_matchers: matchers,
  project_id: text({ min: 1 }),
  service_account_id: text({ min: 1 }),
  name,
  description,
  enabled: v.optional(boolean),
  permissions: v.optional(permissions),
});
const updateBody = object({
  attribute_matchers: v.optional(matchers),
  name,
  description,
  enabled: v.optional(boolean),
  permissions: v.optional(permissions),
});

/** Creates the routes of federation rules. */
export function createFederationRuleRoutes(api: AdminApi) {
  const providers = createIdentityProviders(api);
  const accounts = createServiceAccounts(api);
  const rules = createFederationRules(api);

  /** Returns the rule of the request's path. @throws LambentError `not_found` */
  const getRule = async (provider: IdentityProvider, request: HttpRequest): Promise<FederationRule> => {
    const id = getPathParameter(request, 'rule');
    const rule = await rules.collection.get(ORGANIZATION, id);
    if (rule.providerId !== provider.id) throw objectNotFoundError('workload_identity_federation_rule', id);
    return rule;
  };

  /**
   * Returns the service account of a rule, and its project.
   * @throws LambentError `not_found`, `project_archived`, `tenant_deleted`
   */
  const getAccount = async (projectId: string, accountId: string) => {
    const project = await findActiveProject(api, projectId);
    const account = await accounts.get(toProjectOwner(projectId), accountId);
    if (account.deleted) throw objectNotFoundError('service_account', accountId);
    return { account, project };
  };

  /** Returns what a rule of an account permits. @throws LambentError `invalid_value` */
  const parsePermissions = (
    permissions: v.InferOutput<typeof createBody>['permissions'],
    { account, project }: Awaited<ReturnType<typeof getAccount>>,
  ): Promise<RulePermissions> | RulePermissions => {
    if (permissions?.type === 'restricted') {
      const listRoles = () => createRoleReader(api)(project.id);
      return parseRulePermissions(permissions.scopes, listKeyScopes(project), listRoles);
    }
    if (account.role !== 'none') return { scopeNames: null, roles: [] };
    throw invalidValueError(
      'permissions',
      "Invalid 'permissions': the service account has no role. Give it one, or use permissions of the type 'restricted'.",
    );
  };

  return {
    'GET /v1/organization/workload_identity_providers/{provider}/federation_rules': createAdminRoute(
      async (request) => {
        const { id } = await getIdentityProvider(providers, request);
        const account = request.query['service_account_id'];
        return listObjects(request, rules.collection, ORGANIZATION, encodeRule, (rule) => {
          return rule.providerId === id && (account === undefined || rule.serviceAccountId === account);
        });
      },
    ),

    'POST /v1/organization/workload_identity_providers/{provider}/federation_rules': createBodyRoute(
      createBody,
      async (request, body) => {
        const provider = await getIdentityProvider(providers, request);
        const target = await getAccount(body.project_id, body.service_account_id);
        const now = api.now();
        const createdAt = Math.floor(now / 1000);
        const rule: FederationRule = {
          id: createObjectId('idpr', now),
          createdAt,
          updatedAt: createdAt,
          providerId: provider.id,
          projectId: body.project_id,
          serviceAccountId: target.account.id,
          name: body.name ?? null,
          description: body.description ?? null,
          enabled: body.enabled ?? true,
          matchers: checkMatchers(body.attribute_matchers),
          ...(await parsePermissions(body.permissions, target)),
        };
        await rules.collection.create(ORGANIZATION, rule);
        try {
          await rules.enforce([rule]);
          // If provider or account were deleted meanwhile, their rules may have been listed before this one was stored.
          await getProvider(providers, provider.id);
          await getAccount(rule.projectId, rule.serviceAccountId);
        } catch (thrown) {
          await rules.remove(rule);
          throw thrown;
        }
        const details = { identity_provider_id: provider.id, data: encodeRule(rule) };
        const act = { type: 'workload_identity_provider_mapping.created', objectId: rule.id, project: rule.projectId };
        logAct(request.telemetry, { ...act, details });
        return encodeRule(rule);
      },
    ),

    'GET /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': createAdminRoute(
      async (request) => encodeRule(await getRule(await getIdentityProvider(providers, request), request)),
    ),

    'POST /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': createOptionalBodyRoute(
      updateBody,
      async (request, body) => {
        const provider = await getIdentityProvider(providers, request);
        const before = await getRule(provider, request);
        const target = await getAccount(before.projectId, before.serviceAccountId);
        const permitted = body.permissions && (await parsePermissions(body.permissions, target));
        const matched = body.attribute_matchers && checkMatchers(body.attribute_matchers);
        const after = await rules.collection.update(ORGANIZATION, before.id, async (rule) => {
          const changed = {
            ...rule,
            ...permitted,
            matchers: matched ?? rule.matchers,
            name: body.name === undefined ? rule.name : body.name,
            description: body.description === undefined ? rule.description : body.description,
            enabled: body.enabled ?? rule.enabled,
            updatedAt: Math.floor(api.now() / 1000),
          };
          // What the change takes away is taken away first. Other changes must not interrupt the rule: refusals are cached.
          if (await rules.isReduced(rule, changed)) await rules.revoke(rule);
          return changed;
        });
        await rules.enforce([after]);
        const act = {
          type: 'workload_identity_provider_mapping.updated',
          objectId: after.id,
          project: after.projectId,
        };
        const details = { identity_provider_id: provider.id, changes_requested: body, previous: encodeRule(before) };
        logAct(request.telemetry, { ...act, details });
        return encodeRule(after);
      },
    ),

    'DELETE /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': createAdminRoute(
      async (request) => {
        const provider = await getIdentityProvider(providers, request);
        const rule = await getRule(provider, request);
        await rules.remove(rule);
        const { id, projectId } = rule;
        const act = { type: 'workload_identity_provider_mapping.deleted', objectId: id, project: projectId };
        logAct(request.telemetry, { ...act, details: { identity_provider_id: provider.id } });
        return { id, object: 'organization.workload_identity_federation_rule.deleted' as const, deleted: true };
      },
    ),
  };
}

/** @throws LambentError `invalid_value` for matchers that any token of the provider meets */
function checkMatchers(matchers: v.InferOutput<typeof createBody>['attribute_matchers']): FederationRule['matchers'] {
  if (Object.keys(matchers).some((claim) => claim !== 'iss' && claim !== 'aud')) return { ...matchers };
  throw invalidValueError(
    'attribute_matchers',
    "Invalid 'attribute_matchers': it must match a claim besides 'iss' and 'aud', or every token of the provider would be admitted.",
  );
}
