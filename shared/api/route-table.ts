import type { Scope } from '../access/scopes.ts';

/** The scope that each route requires, by method and resource: `GET /v1/models/{id+}`. */
type RouteTable = Readonly<Record<`${'GET' | 'POST' | 'DELETE'} /v1/${string}`, Scope>>;

export const CHAT_ROUTES = {
  'POST /v1/chat/completions': 'generate',
  'POST /v1/responses': 'generate',
  'POST /v1/responses/compact': 'generate',
  'POST /v1/responses/input_tokens': 'generate',
  'POST /v1/messages': 'generate',
  'POST /v1/messages/count_tokens': 'generate',
  'GET /v1/models': 'models.read',
  'GET /v1/models/{id+}': 'models.read',
} as const satisfies RouteTable;

export const EMBEDDINGS_ROUTES = {
  'POST /v1/embeddings': 'embeddings',
  'POST /v1/moderations': 'moderations',
} as const satisfies RouteTable;

export const SESSIONS_ROUTES = {
  'POST /v1/conversations': 'conversations.write',
  'GET /v1/conversations/{id}': 'conversations.read',
  'POST /v1/conversations/{id}': 'conversations.write',
  'DELETE /v1/conversations/{id}': 'conversations.write',
  'GET /v1/conversations/{id}/items': 'conversations.read',
  'POST /v1/conversations/{id}/items': 'conversations.write',
  'GET /v1/conversations/{id}/items/{item}': 'conversations.read',
  'DELETE /v1/conversations/{id}/items/{item}': 'conversations.write',
} as const satisfies RouteTable;

export const RESPONSES_ROUTES = {
  // A WebSocket, which would create responses.
  'GET /v1/responses': 'generate',
  'GET /v1/responses/{id}': 'responses.read',
  'DELETE /v1/responses/{id}': 'responses.write',
  'POST /v1/responses/{id}/cancel': 'responses.write',
  'GET /v1/responses/{id}/input_items': 'responses.read',
  'GET /v1/chat/completions': 'responses.read',
  'GET /v1/chat/completions/{id}': 'responses.read',
  'POST /v1/chat/completions/{id}': 'responses.write',
  'DELETE /v1/chat/completions/{id}': 'responses.write',
  'GET /v1/chat/completions/{id}/messages': 'responses.read',
} as const satisfies RouteTable;

/** The function itself finds the route of a path: API Gateway has only the resources `/v1/organization/{path+}` and `/v1/projects/{path+}`. */
export const ADMIN_ROUTES = {
  'GET /v1/organization/admin_api_keys': 'admin.keys.read',
  'POST /v1/organization/admin_api_keys': 'admin.keys.write',
  'GET /v1/organization/admin_api_keys/{key}': 'admin.keys.read',
  'DELETE /v1/organization/admin_api_keys/{key}': 'admin.keys.write',
  'GET /v1/organization/projects': 'admin.projects.read',
  'POST /v1/organization/projects': 'admin.projects.write',
  'GET /v1/organization/projects/{project}': 'admin.projects.read',
  'POST /v1/organization/projects/{project}': 'admin.projects.write',
  'POST /v1/organization/projects/{project}/archive': 'admin.projects.write',
  'GET /v1/organization/projects/{project}/service_accounts': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/service_accounts': 'admin.projects.write',
  'GET /v1/organization/projects/{project}/service_accounts/{account}': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/service_accounts/{account}': 'admin.projects.write',
  'DELETE /v1/organization/projects/{project}/service_accounts/{account}': 'admin.projects.write',
  'POST /v1/organization/projects/{project}/service_accounts/{account}/api_keys': 'admin.projects.write',
  'GET /v1/organization/projects/{project}/api_keys': 'admin.projects.read',
  'GET /v1/organization/projects/{project}/api_keys/{key}': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/api_keys/{key}': 'admin.projects.write',
  'DELETE /v1/organization/projects/{project}/api_keys/{key}': 'admin.projects.write',
  'POST /v1/organization/projects/{project}/api_keys/{key}/rotate': 'admin.projects.write',
  'GET /v1/organization/projects/{project}/model_permissions': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/model_permissions': 'admin.projects.write',
  'DELETE /v1/organization/projects/{project}/model_permissions': 'admin.projects.write',
  'GET /v1/organization/workload_identity_providers': 'admin.identity.read',
  'POST /v1/organization/workload_identity_providers': 'admin.identity.write',
  'GET /v1/organization/workload_identity_providers/{provider}': 'admin.identity.read',
  'POST /v1/organization/workload_identity_providers/{provider}': 'admin.identity.write',
  'DELETE /v1/organization/workload_identity_providers/{provider}': 'admin.identity.write',
  'GET /v1/organization/workload_identity_providers/{provider}/federation_rules': 'admin.identity.read',
  'POST /v1/organization/workload_identity_providers/{provider}/federation_rules': 'admin.identity.write',
  'GET /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': 'admin.identity.read',
  'POST /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': 'admin.identity.write',
  'DELETE /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}': 'admin.identity.write',
  // A policy has limits, and more.
  'GET /v1/organization/policy': 'admin.limits.read',
  'POST /v1/organization/policy': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/policy': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/policy': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/api_keys/{key}/policy': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/api_keys/{key}/policy': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/rate_limits': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/rate_limits/{rateLimit}': 'admin.limits.write',
  'GET /v1/organization/spend_limit': 'admin.limits.read',
  'POST /v1/organization/spend_limit': 'admin.limits.write',
  'DELETE /v1/organization/spend_limit': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/spend_limit': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/spend_limit': 'admin.limits.write',
  'DELETE /v1/organization/projects/{project}/spend_limit': 'admin.limits.write',
  'GET /v1/organization/usage/completions': 'admin.usage.read',
  'GET /v1/organization/usage/embeddings': 'admin.usage.read',
  'GET /v1/organization/usage/moderations': 'admin.usage.read',
  'GET /v1/organization/usage/audio_speeches': 'admin.usage.read',
  'GET /v1/organization/usage/audio_transcriptions': 'admin.usage.read',
  'GET /v1/organization/usage/code_interpreter_sessions': 'admin.usage.read',
  'GET /v1/organization/usage/decisions': 'admin.usage.read',
  'GET /v1/organization/usage/file_search_calls': 'admin.usage.read',
  'GET /v1/organization/usage/images': 'admin.usage.read',
  'GET /v1/organization/usage/vector_stores': 'admin.usage.read',
  'GET /v1/organization/usage/web_search_calls': 'admin.usage.read',
  'GET /v1/organization/costs': 'admin.usage.read',
  'GET /v1/organization/audit_logs': 'admin.audit.read',
  // Not supported: each responds with an error that says what to use.
  'GET /v1/organization/spend_alerts': 'admin.limits.read',
  'POST /v1/organization/spend_alerts': 'admin.limits.write',
  'GET /v1/organization/spend_alerts/{alert}': 'admin.limits.read',
  'POST /v1/organization/spend_alerts/{alert}': 'admin.limits.write',
  'DELETE /v1/organization/spend_alerts/{alert}': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/spend_alerts': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/spend_alerts': 'admin.limits.write',
  'GET /v1/organization/projects/{project}/spend_alerts/{alert}': 'admin.limits.read',
  'POST /v1/organization/projects/{project}/spend_alerts/{alert}': 'admin.limits.write',
  'DELETE /v1/organization/projects/{project}/spend_alerts/{alert}': 'admin.limits.write',
  'GET /v1/organization/invites': 'admin.people.read',
  'POST /v1/organization/invites': 'admin.people.write',
  'GET /v1/organization/invites/{invite}': 'admin.people.read',
  'DELETE /v1/organization/invites/{invite}': 'admin.people.write',
  'GET /v1/organization/external_storage': 'admin.data.read',
  'POST /v1/organization/external_storage': 'admin.data.write',
  'GET /v1/organization/external_storage/{storage}': 'admin.data.read',
  'DELETE /v1/organization/external_storage/{storage}': 'admin.data.write',
  'POST /v1/organization/external_storage/{storage}/validate': 'admin.data.write',
  'GET /v1/organization/projects/{project}/hosted_tool_permissions': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/hosted_tool_permissions': 'admin.projects.write',
  'GET /v1/organization/projects/{project}/service_tier_settings': 'admin.projects.read',
  'POST /v1/organization/projects/{project}/service_tier_settings': 'admin.projects.write',
} as const satisfies RouteTable;

/** Routes that anybody may call. What they take is the caller's credential. */
export const PUBLIC_ROUTES = ['POST /v1/oauth/token'] as const;

/**
 * All other routes of the service, by the function that serves them. A function takes only its own part, so that its bundle has
 * no other; a route that is missing here, or has no scope, does not compile.
 */
export const ROUTES = {
  chat: CHAT_ROUTES,
  embeddings: EMBEDDINGS_ROUTES,
  sessions: SESSIONS_ROUTES,
  responses: RESPONSES_ROUTES,
  admin: ADMIN_ROUTES,
} as const satisfies Readonly<Record<string, RouteTable>>;
