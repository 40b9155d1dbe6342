import { LambentError } from '../core/errors.ts';
import { createBodilessRoute } from './admin-routes.ts';

/** Creates the routes of the resources that a deployment can't honour. Each responds with an error that says what to use. */
export function createUnsupportedRoutes() {
  const invites = refuse('Invites are not supported: there is no sign-up to invite people to. Add a user instead.');
  const storage = refuse('External storage is not supported: a deployment keeps its data in its own bucket.');
  const tools = refuse(
    "Hosted tool permissions are not supported: hosted tools follow the setting `hostedTools` of each model's alias.",
  );
  const tiers = refuse(
    "Service tier settings are not supported: a request's `service_tier` and the targets of its model decide.",
  );
  return {
    'GET /v1/organization/invites': invites,
    'POST /v1/organization/invites': invites,
    'GET /v1/organization/invites/{invite}': invites,
    'DELETE /v1/organization/invites/{invite}': invites,
    'GET /v1/organization/external_storage': storage,
    'POST /v1/organization/external_storage': storage,
    'GET /v1/organization/external_storage/{storage}': storage,
    'DELETE /v1/organization/external_storage/{storage}': storage,
    'POST /v1/organization/external_storage/{storage}/validate': storage,
    'GET /v1/organization/projects/{project}/hosted_tool_permissions': tools,
    'POST /v1/organization/projects/{project}/hosted_tool_permissions': tools,
    'GET /v1/organization/projects/{project}/service_tier_settings': tiers,
    'POST /v1/organization/projects/{project}/service_tier_settings': tiers,
  };
}

function refuse(message: string) {
  return createBodilessRoute(async (): Promise<never> => {
    throw new LambentError('unsupported_value', message);
  });
}
