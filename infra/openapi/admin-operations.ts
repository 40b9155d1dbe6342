import { type PageSizes, QUERIES } from '../../shared/admin/queries.ts';
import type { ADMIN_ROUTES } from '../../shared/api/route-table.ts';
import { BUCKET_WIDTHS } from '../../shared/usage/usage-row.ts';
import type { Operation, QueryParameter } from './operations.ts';

/** What each route of the administration does. */
export const ADMIN_SUMMARIES: Readonly<Record<keyof typeof ADMIN_ROUTES, string>> = {
  'GET /v1/organization/admin_api_keys': 'List the admin keys',
  'POST /v1/organization/admin_api_keys': 'Create an admin key',
  'GET /v1/organization/admin_api_keys/{key}': 'Retrieve an admin key',
  'DELETE /v1/organization/admin_api_keys/{key}': 'Delete an admin key',
  'POST /v1/organization/admin_api_keys/{key}/rotate': 'Rotate an admin key',
  'GET /v1/organization/projects': 'List the projects',
  'POST /v1/organization/projects': 'Create a project',
  'GET /v1/organization/projects/{project}': 'Retrieve a project',
  'POST /v1/organization/projects/{project}': 'Update a project',
  'POST /v1/organization/projects/{project}/archive': 'Archive a project',
  'GET /v1/organization/projects/{project}/service_accounts': 'List the service accounts of a project',
  'POST /v1/organization/projects/{project}/service_accounts': 'Create a service account for a project',
  'GET /v1/organization/projects/{project}/service_accounts/{account}': 'Retrieve a service account of a project',
  'POST /v1/organization/projects/{project}/service_accounts/{account}': 'Update a service account of a project',
  'DELETE /v1/organization/projects/{project}/service_accounts/{account}': 'Delete a service account of a project',
  'POST /v1/organization/projects/{project}/service_accounts/{account}/api_keys':
    'Create an API key for a service account',
  'GET /v1/organization/projects/{project}/api_keys': 'List the API keys of a project',
  'GET /v1/organization/projects/{project}/api_keys/{key}': 'Retrieve an API key of a project',
  'POST /v1/organization/projects/{project}/api_keys/{key}': 'Update an API key of a project',
  'DELETE /v1/organization/projects/{project}/api_keys/{key}': 'Delete an API key of a project',
  'POST /v1/organization/projects/{project}/api_keys/{key}/rotate': 'Rotate an API key',
  'GET /v1/organization/projects/{project}/key_holds': 'List the held API keys and senders of a project',
  'POST /v1/organization/projects/{project}/key_holds/{key}': 'Hold an API key or a sender',
  'DELETE /v1/organization/projects/{project}/key_holds/{key}': 'Release a held API key or sender',
  'GET /v1/organization/senders': 'List the senders to the queue',
  'POST /v1/organization/senders': 'Create a sender to the queue',
  'GET /v1/organization/senders/{sender}': 'Retrieve a sender to the queue',
  'POST /v1/organization/senders/{sender}': 'Update a sender to the queue',
  'DELETE /v1/organization/senders/{sender}': 'Delete a sender to the queue',
  'GET /v1/organization/projects/{project}/model_permissions': 'Retrieve the model permissions of a project',
  'POST /v1/organization/projects/{project}/model_permissions': 'Set the model permissions of a project',
  'DELETE /v1/organization/projects/{project}/model_permissions': 'Remove the model permissions of a project',
  'GET /v1/organization/workload_identity_providers': 'List the identity providers',
  'POST /v1/organization/workload_identity_providers': 'Create an identity provider',
  'GET /v1/organization/workload_identity_providers/{provider}': 'Retrieve an identity provider',
  'POST /v1/organization/workload_identity_providers/{provider}': 'Update an identity provider',
  'DELETE /v1/organization/workload_identity_providers/{provider}': 'Delete an identity provider',
  'GET /v1/organization/workload_identity_providers/{provider}/federation_rules':
    'List the federation rules of an identity provider',
  'POST /v1/organization/workload_identity_providers/{provider}/federation_rules':
    'Create a federation rule for an identity provider',
  'GET /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}':
    'Retrieve a federation rule of an identity provider',
  'POST /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}':
    'Update a federation rule of an identity provider',
  'DELETE /v1/organization/workload_identity_providers/{provider}/federation_rules/{rule}':
    'Delete a federation rule of an identity provider',
  'GET /v1/organization/users': 'List the users',
  'POST /v1/organization/users': 'Create a user',
  'GET /v1/organization/users/{user}': 'Retrieve a user',
  'POST /v1/organization/users/{user}': 'Update a user',
  'DELETE /v1/organization/users/{user}': 'Delete a user',
  'GET /v1/organization/groups': 'List the groups',
  'POST /v1/organization/groups': 'Create a group',
  'GET /v1/organization/groups/{group}': 'Retrieve a group',
  'POST /v1/organization/groups/{group}': 'Update a group',
  'DELETE /v1/organization/groups/{group}': 'Delete a group',
  'GET /v1/organization/groups/{group}/users': 'List the users of a group',
  'POST /v1/organization/groups/{group}/users': 'Add a user to a group',
  'GET /v1/organization/groups/{group}/users/{user}': 'Retrieve a user of a group',
  'DELETE /v1/organization/groups/{group}/users/{user}': 'Remove a user from a group',
  'GET /v1/organization/projects/{project}/users': 'List the users of a project',
  'POST /v1/organization/projects/{project}/users': 'Add a user to a project',
  'GET /v1/organization/projects/{project}/users/{user}': 'Retrieve a user of a project',
  'POST /v1/organization/projects/{project}/users/{user}': 'Change the role of a user in a project',
  'DELETE /v1/organization/projects/{project}/users/{user}': 'Remove a user from a project',
  'GET /v1/organization/projects/{project}/groups': 'List the groups of a project',
  'POST /v1/organization/projects/{project}/groups': 'Add a group to a project',
  'GET /v1/organization/projects/{project}/groups/{group}': 'Retrieve a group of a project',
  'DELETE /v1/organization/projects/{project}/groups/{group}': 'Remove a group from a project',
  'GET /v1/organization/roles': 'List the roles of the organization',
  'POST /v1/organization/roles': 'Create a role for the organization',
  'GET /v1/organization/roles/{role}': 'Retrieve a role of the organization',
  'POST /v1/organization/roles/{role}': 'Update a role of the organization',
  'DELETE /v1/organization/roles/{role}': 'Delete a role of the organization',
  'GET /v1/projects/{project}/roles': 'List the roles of a project',
  'POST /v1/projects/{project}/roles': 'Create a role for a project',
  'GET /v1/projects/{project}/roles/{role}': 'Retrieve a role of a project',
  'POST /v1/projects/{project}/roles/{role}': 'Update a role of a project',
  'DELETE /v1/projects/{project}/roles/{role}': 'Delete a role of a project',
  'GET /v1/organization/users/{user}/roles': 'List the assigned roles of a user',
  'POST /v1/organization/users/{user}/roles': 'Assign a role to a user',
  'GET /v1/organization/users/{user}/roles/{role}': 'Retrieve an assigned role of a user',
  'DELETE /v1/organization/users/{user}/roles/{role}': 'Remove a role from a user',
  'GET /v1/organization/groups/{group}/roles': 'List the assigned roles of a group',
  'POST /v1/organization/groups/{group}/roles': 'Assign a role to a group',
  'GET /v1/organization/groups/{group}/roles/{role}': 'Retrieve an assigned role of a group',
  'DELETE /v1/organization/groups/{group}/roles/{role}': 'Remove a role from a group',
  'GET /v1/projects/{project}/users/{user}/roles': 'List the assigned roles of a user in a project',
  'POST /v1/projects/{project}/users/{user}/roles': 'Assign a role to a user in a project',
  'GET /v1/projects/{project}/users/{user}/roles/{role}': 'Retrieve an assigned role of a user in a project',
  'DELETE /v1/projects/{project}/users/{user}/roles/{role}': 'Remove a role from a user in a project',
  'GET /v1/projects/{project}/groups/{group}/roles': 'List the assigned roles of a group in a project',
  'POST /v1/projects/{project}/groups/{group}/roles': 'Assign a role to a group in a project',
  'GET /v1/projects/{project}/groups/{group}/roles/{role}': 'Retrieve an assigned role of a group in a project',
  'DELETE /v1/projects/{project}/groups/{group}/roles/{role}': 'Remove a role from a group in a project',
  'GET /v1/organization/external_keys': 'List the external keys',
  'POST /v1/organization/external_keys': 'Create an external key',
  'GET /v1/organization/external_keys/{externalKey}': 'Retrieve an external key',
  'DELETE /v1/organization/external_keys/{externalKey}': 'Delete an external key',
  'POST /v1/organization/external_keys/{externalKey}/validate': 'Validate an external key',
  'GET /v1/organization/certificates': 'List the certificates',
  'POST /v1/organization/certificates': 'Create a certificate',
  'GET /v1/organization/certificates/{certificate}': 'Retrieve a certificate',
  'POST /v1/organization/certificates/{certificate}': 'Update a certificate',
  'DELETE /v1/organization/certificates/{certificate}': 'Delete a certificate',
  'POST /v1/organization/certificates/activate': 'Activate certificates',
  'POST /v1/organization/certificates/deactivate': 'Deactivate certificates',
  'GET /v1/organization/projects/{project}/certificates': 'List the certificates of a project',
  'POST /v1/organization/projects/{project}/certificates/activate': 'Activate certificates for a project',
  'POST /v1/organization/projects/{project}/certificates/deactivate': 'Deactivate certificates for a project',
  'GET /v1/organization/policy': 'Retrieve the policy of the organization',
  'POST /v1/organization/policy': 'Update the policy of the organization',
  'GET /v1/organization/projects/{project}/policy': 'Retrieve the policy of a project',
  'POST /v1/organization/projects/{project}/policy': 'Update the policy of a project',
  'GET /v1/organization/projects/{project}/api_keys/{key}/policy': 'Retrieve the policy of an API key',
  'POST /v1/organization/projects/{project}/api_keys/{key}/policy': 'Update the policy of an API key',
  'GET /v1/organization/projects/{project}/service_accounts/{account}/policy':
    'Retrieve the policy of a service account',
  'POST /v1/organization/projects/{project}/service_accounts/{account}/policy':
    'Update the policy of a service account',
  'GET /v1/organization/admin_api_keys/{key}/policy': 'Retrieve the policy of an admin key',
  'POST /v1/organization/admin_api_keys/{key}/policy': 'Update the policy of an admin key',
  'GET /v1/organization/users/{user}/policy': 'Retrieve the policy of a user',
  'POST /v1/organization/users/{user}/policy': 'Update the policy of a user',
  'GET /v1/organization/projects/{project}/rate_limits': 'List the rate limits of a project',
  'POST /v1/organization/projects/{project}/rate_limits/{rateLimit}': 'Update a rate limit of a project',
  'GET /v1/organization/spend_limit': 'Retrieve the spend limit of the organization',
  'POST /v1/organization/spend_limit': 'Set the spend limit of the organization',
  'DELETE /v1/organization/spend_limit': 'Remove the spend limit of the organization',
  'GET /v1/organization/projects/{project}/spend_limit': 'Retrieve the spend limit of a project',
  'POST /v1/organization/projects/{project}/spend_limit': 'Set the spend limit of a project',
  'DELETE /v1/organization/projects/{project}/spend_limit': 'Remove the spend limit of a project',
  'GET /v1/organization/spend_alerts': 'List the spend alerts of the organization',
  'POST /v1/organization/spend_alerts': 'Create a spend alert for the organization',
  'GET /v1/organization/spend_alerts/{alert}': 'Retrieve a spend alert of the organization',
  'POST /v1/organization/spend_alerts/{alert}': 'Update a spend alert of the organization',
  'DELETE /v1/organization/spend_alerts/{alert}': 'Delete a spend alert of the organization',
  'GET /v1/organization/projects/{project}/spend_alerts': 'List the spend alerts of a project',
  'POST /v1/organization/projects/{project}/spend_alerts': 'Create a spend alert for a project',
  'GET /v1/organization/projects/{project}/spend_alerts/{alert}': 'Retrieve a spend alert of a project',
  'POST /v1/organization/projects/{project}/spend_alerts/{alert}': 'Update a spend alert of a project',
  'DELETE /v1/organization/projects/{project}/spend_alerts/{alert}': 'Delete a spend alert of a project',
  'GET /v1/organization/data_retention': 'Retrieve the data retention of the organization',
  'POST /v1/organization/data_retention': 'Set the data retention of the organization',
  'GET /v1/organization/projects/{project}/data_retention': 'Retrieve the data retention of a project',
  'POST /v1/organization/projects/{project}/data_retention': 'Set the data retention of a project',
  'GET /v1/organization/usage/completions': 'Report the usage of chat completions, responses and messages',
  'GET /v1/organization/usage/embeddings': 'Report the usage of embeddings',
  'GET /v1/organization/usage/moderations': 'Report the usage of moderations',
  'GET /v1/organization/usage/audio_speeches': 'Report the usage of speech generation (always empty)',
  'GET /v1/organization/usage/audio_transcriptions': 'Report the usage of transcriptions (always empty)',
  'GET /v1/organization/usage/code_interpreter_sessions':
    'Report the usage of code interpreter sessions (always empty)',
  'GET /v1/organization/usage/decisions': 'Report the usage of decisions (always empty)',
  'GET /v1/organization/usage/file_search_calls': 'Report the usage of file search calls (always empty)',
  'GET /v1/organization/usage/images': 'Report the usage of images (always empty)',
  'GET /v1/organization/usage/vector_stores': 'Report the usage of vector stores (always empty)',
  'GET /v1/organization/usage/web_search_calls': 'Report the usage of web search calls (always empty)',
  'GET /v1/organization/costs': 'Report the costs',
  'GET /v1/organization/audit_logs': 'List administrative acts',
  'GET /v1/organization/invites': 'Refuse to list invites',
  'POST /v1/organization/invites': 'Refuse to create an invite',
  'GET /v1/organization/invites/{invite}': 'Refuse to retrieve an invite',
  'DELETE /v1/organization/invites/{invite}': 'Refuse to delete an invite',
  'GET /v1/organization/external_storage': 'Refuse to list external storage',
  'POST /v1/organization/external_storage': 'Refuse to create external storage',
  'GET /v1/organization/external_storage/{storage}': 'Refuse to retrieve external storage',
  'DELETE /v1/organization/external_storage/{storage}': 'Refuse to delete external storage',
  'POST /v1/organization/external_storage/{storage}/validate': 'Refuse to validate external storage',
  'GET /v1/organization/projects/{project}/hosted_tool_permissions':
    'Refuse to retrieve the hosted tool permissions of a project',
  'POST /v1/organization/projects/{project}/hosted_tool_permissions':
    'Refuse to set the hosted tool permissions of a project',
  'GET /v1/organization/projects/{project}/service_tier_settings':
    'Refuse to retrieve the service tier settings of a project',
  'POST /v1/organization/projects/{project}/service_tier_settings':
    'Refuse to set the service tier settings of a project',
};

const TEXT = { type: 'string' };
const TEXTS = { type: 'array', items: TEXT };
const TIME = { type: 'integer', minimum: 0 };

/** The query parameters of the routes, by name, without the names of objects. */
const PARAMETERS: Readonly<Record<string, Omit<QueryParameter, 'name'>>> = {
  after: { description: 'The id of the object that precedes the page.', schema: TEXT },
  before: { description: 'The id of the object that follows the page, or with `after` the last page.', schema: TEXT },
  order: { description: 'By id.', schema: { type: 'string', enum: ['asc', 'desc'] } },
  include_archived: { description: 'Also archived projects.', schema: { type: 'boolean' } },
  owner_project_access: {
    description: 'Whether the project is active.',
    schema: { type: 'string', enum: ['active', 'inactive', 'any'] },
  },
  service_account_id: { description: 'Only rules of this service account.', schema: TEXT },
  purpose: { description: 'Only keys for this purpose.', schema: TEXT },
  include: { description: 'Optional fields: `content`.', schema: TEXTS },
  group_type: { description: 'The type of the group.', schema: { type: 'string', enum: ['group', 'tenant_group'] } },
  tenant_only: { description: 'Without effect.', schema: { type: 'boolean' } },
  start_time: { description: 'The start of the first bucket, in epoch seconds. Required.', schema: TIME },
  end_time: { description: 'The end of the last bucket, in epoch seconds.', schema: TIME },
  bucket_width: { description: 'The width of a bucket.', schema: { type: 'string', enum: BUCKET_WIDTHS } },
  page: { description: 'The `next_page` of the page before.', schema: TEXT },
  group_by: { description: 'Fields with a result for each of their values.', schema: TEXTS },
  format: { description: 'As a header `Accept: text/csv`.', schema: { type: 'string', enum: ['csv'] } },
  batch: { description: 'Only batches, or none of them.', schema: { type: 'boolean' } },
};

function describeParameter(name: string, sizes: PageSizes | undefined): QueryParameter {
  if (name === 'limit' && sizes === undefined)
    return { name, description: 'The number of buckets.', schema: { type: 'integer', minimum: 1 } };
  if (name === 'limit' && sizes !== undefined) {
    const { least, most, usual } = sizes;
    const schema = { type: 'integer', minimum: least, maximum: most, default: usual };
    return { name, description: 'The number of objects.', schema };
  }
  if (name.startsWith('effective_at')) return { name, description: 'Epoch seconds.', schema: TIME };
  return { name, ...(PARAMETERS[name] ?? { description: 'Only these.', schema: TEXTS }) };
}

/** The descriptions of the routes of the administration. */
export const ADMIN_OPERATIONS: Readonly<Record<string, Operation>> = Object.fromEntries(
  Object.entries(ADMIN_SUMMARIES).map(([route, summary]) => [route, describeRoute(route, summary)]),
);

function describeRoute(route: string, summary: string): Operation {
  const query = QUERIES[route];
  return {
    id: toIdentifier(summary),
    summary,
    tag: 'Admin',
    ...(query === undefined ? {} : { query: query.names.map((name) => describeParameter(name, query.sizes)) }),
  };
}

/** `Create an API key for a service account` becomes `createApiKeyForServiceAccount`. */
export function toIdentifier(summary: string): string {
  const words = (summary.toLowerCase().match(/[a-z]+/g) ?? []).filter((word) => !['a', 'an', 'the'].includes(word));
  return words.map((word, index) => (index === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join('');
}
