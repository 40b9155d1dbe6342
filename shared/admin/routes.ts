import { createAdminKeyRoutes } from './admin-keys.ts';
import type { AdminApi } from './admin-routes.ts';
import { createApiKeyRoutes } from './api-keys.ts';
import { createAuditLogRoutes } from './audit-logs.ts';
import { createCertificateRoutes } from './certificate-routes.ts';
import { createDataRetentionRoutes } from './data-retention.ts';
import { createExternalKeyRoutes } from './external-key-routes.ts';
import { createFederationRuleRoutes } from './federation-rule-routes.ts';
import { createFederationRules } from './federation-rules.ts';
import { createGroupRoutes } from './groups.ts';
import { createIdentityProviderRoutes } from './identity-provider-routes.ts';
import { createKeyHoldRoutes } from './key-holds.ts';
import { createModelPermissionRoutes } from './model-permissions.ts';
import { createPeople } from './people.ts';
import { createPolicyRoutes } from './policies.ts';
import { createProjectMemberRoutes } from './project-members.ts';
import { createProjectRoutes } from './projects.ts';
import { checkQueries } from './queries.ts';
import { createRateLimitRoutes } from './rate-limits.ts';
import { createRoleAssignmentRoutes } from './role-assignments.ts';
import { createRoleRoutes } from './role-routes.ts';
import { createSenderRoutes } from './senders.ts';
import { createServiceAccountRoutes } from './service-accounts.ts';
import { createSpendAlertRoutes } from './spend-alerts.ts';
import { createSpendLimitRoutes } from './spend-limits.ts';
import { createUnsupportedRoutes } from './unsupported.ts';
import { createUsageRoutes, type UsageApi } from './usage.ts';
import { createUserRoutes } from './users.ts';

/** Creates all routes of the administration API. */
export function createAdministrationRoutes(api: AdminApi & UsageApi) {
  const routes = checkQueries({
    ...createAdminKeyRoutes(api),
    ...createProjectRoutes(api, (projectId) => enforceRoles(api, projectId)),
    ...createExternalKeyRoutes(api),
    ...createServiceAccountRoutes(api),
    ...createApiKeyRoutes(api),
    ...createKeyHoldRoutes(api),
    ...createSenderRoutes(api),
    ...createIdentityProviderRoutes(api),
    ...createFederationRuleRoutes(api),
    ...createCertificateRoutes(api),
    ...createUserRoutes(api),
    ...createGroupRoutes(api),
    ...createRoleRoutes(api),
    ...createRoleAssignmentRoutes(api),
    ...createProjectMemberRoutes(api),
    ...createModelPermissionRoutes(api),
    ...createRateLimitRoutes(api),
    ...createSpendLimitRoutes(api),
    ...createSpendAlertRoutes(api),
    ...createDataRetentionRoutes(api),
    ...createPolicyRoutes(api),
    ...createUsageRoutes(api),
    ...createAuditLogRoutes(api),
  });
  return { ...routes, ...createUnsupportedRoutes() };
}

/** Makes the authorizer know what roles permit now in a project: to its users and to its federation rules. */
async function enforceRoles(api: AdminApi, projectId: string): Promise<void> {
  await createPeople(api).enforceProject(projectId);
  await createFederationRules(api).enforceProject(projectId);
}
