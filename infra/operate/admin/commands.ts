import { type Command, listCommands } from './command.ts';
import { IDENTITY_COMMANDS } from './identity-commands.ts';
import { PEOPLE_COMMANDS } from './people-commands.ts';
import { USAGE_COMMANDS } from './usage-commands.ts';

const MONTHLY_DOLLARS = { currency: 'USD', interval: 'month' };
const SPEND_ALERT = { ...MONTHLY_DOLLARS, notification_channel: { type: 'email', recipients: [] } };
const SENDER_LIMITS = ['messages-per-minute', 'messages-per-day'] as const;
const SENDER_FIELDS = ['projects', 'name', 'scopes', 'reply-queues', ...SENDER_LIMITS, 'expires'] as const;

/** All commands but `bootstrap`. */
export const COMMANDS: readonly Command[] = [
  { name: 'admin-keys list', method: 'GET', path: 'admin_api_keys' },
  { name: 'admin-keys get', method: 'GET', path: 'admin_api_keys/{id}' },
  {
    name: 'admin-keys create',
    method: 'POST',
    path: 'admin_api_keys',
    fields: ['name', 'scopes', 'expires', 'ip-ranges'],
    required: ['name'],
  },
  { name: 'admin-keys rotate', method: 'POST', path: 'admin_api_keys/{id}/rotate', fields: ['overlap'] },
  { name: 'admin-keys delete', method: 'DELETE', path: 'admin_api_keys/{id}' },

  { name: 'projects list', method: 'GET', path: 'projects', fields: ['archived'] },
  { name: 'projects get', method: 'GET', path: 'projects/{id}' },
  {
    name: 'projects create',
    method: 'POST',
    path: 'projects',
    fields: ['name', 'id', 'environment', 'external-key'],
    required: ['name'],
  },
  { name: 'projects update', method: 'POST', path: 'projects/{id}', fields: ['name', 'environment', 'external-key'] },
  { name: 'projects archive', method: 'POST', path: 'projects/{id}/archive' },

  ...listCommands('external-keys', 'external_keys'),
  {
    name: 'external-keys create',
    method: 'POST',
    path: 'external_keys',
    fields: ['name', 'kms-arn'],
    required: ['name', 'kms-arn'],
    constants: { type: 'aws' },
  },
  { name: 'external-keys validate', method: 'POST', path: 'external_keys/{id}/validate' },

  ...listCommands('service-accounts', 'projects/{project}/service_accounts'),
  {
    name: 'service-accounts create',
    method: 'POST',
    path: 'projects/{project}/service_accounts',
    fields: ['name', 'scopes', 'expires', 'without-key'],
    required: ['name'],
  },
  {
    name: 'service-accounts update',
    method: 'POST',
    path: 'projects/{project}/service_accounts/{id}',
    fields: ['name', 'role'],
  },

  ...listCommands('keys', 'projects/{project}/api_keys'),
  {
    name: 'keys create',
    method: 'POST',
    path: 'projects/{project}/service_accounts/{account}/api_keys',
    fields: ['name', 'scopes', 'expires'],
  },
  { name: 'keys update', method: 'POST', path: 'projects/{project}/api_keys/{id}', fields: ['scopes', 'expires'] },
  { name: 'keys rotate', method: 'POST', path: 'projects/{project}/api_keys/{id}/rotate', fields: ['overlap'] },

  { name: 'holds list', method: 'GET', path: 'projects/{project}/key_holds' },
  { name: 'holds create', method: 'POST', path: 'projects/{project}/key_holds/{id}', fields: ['for'] },
  { name: 'holds delete', method: 'DELETE', path: 'projects/{project}/key_holds/{id}' },

  ...listCommands('senders', 'senders'),
  {
    name: 'senders create',
    method: 'POST',
    path: 'senders',
    fields: ['id', ...SENDER_FIELDS],
    required: ['id', 'projects'],
  },
  { name: 'senders update', method: 'POST', path: 'senders/{id}', fields: SENDER_FIELDS },

  { name: 'model-permissions get', method: 'GET', path: 'projects/{project}/model_permissions' },
  {
    name: 'model-permissions set',
    method: 'POST',
    path: 'projects/{project}/model_permissions',
    fields: ['mode', 'models'],
    required: ['mode', 'models'],
  },
  { name: 'model-permissions delete', method: 'DELETE', path: 'projects/{project}/model_permissions' },

  { name: 'rate-limits list', method: 'GET', path: 'projects/{project}/rate_limits' },
  {
    name: 'rate-limits set',
    method: 'POST',
    path: 'projects/{project}/rate_limits/{id}',
    fields: ['requests-per-minute', 'tokens-per-minute', 'requests-per-day', 'tokens-per-day'],
  },

  { name: 'spend-limit get', method: 'GET', path: '[projects/{project}/]spend_limit' },
  {
    name: 'spend-limit set',
    method: 'POST',
    path: '[projects/{project}/]spend_limit',
    fields: ['dollars'],
    required: ['dollars'],
    constants: MONTHLY_DOLLARS,
  },
  { name: 'spend-limit delete', method: 'DELETE', path: '[projects/{project}/]spend_limit' },

  ...listCommands('spend-alerts', '[projects/{project}/]spend_alerts'),
  {
    name: 'spend-alerts create',
    method: 'POST',
    path: '[projects/{project}/]spend_alerts',
    fields: ['dollars'],
    required: ['dollars'],
    constants: SPEND_ALERT,
  },
  {
    name: 'spend-alerts update',
    method: 'POST',
    path: '[projects/{project}/]spend_alerts/{id}',
    fields: ['dollars'],
    required: ['dollars'],
    constants: SPEND_ALERT,
  },

  { name: 'data-retention get', method: 'GET', path: '[projects/{project}/]data_retention' },
  {
    name: 'data-retention set',
    method: 'POST',
    path: '[projects/{project}/]data_retention',
    fields: ['type'],
    required: ['type'],
  },

  { name: 'policy get', method: 'GET', path: '[projects/{project}/][api_keys/{key}/]policy' },
  {
    name: 'policy set',
    method: 'POST',
    path: '[projects/{project}/][api_keys/{key}/]policy',
    data: true,
    required: ['data'],
  },
  ...listPolicyCommands('admin-key-policy', 'admin_api_keys/{id}/policy'),
  ...listPolicyCommands('service-account-policy', 'projects/{project}/service_accounts/{id}/policy'),
  ...listPolicyCommands('user-policy', 'users/{id}/policy'),

  ...PEOPLE_COMMANDS,
  ...IDENTITY_COMMANDS,
  ...USAGE_COMMANDS,
];

function listPolicyCommands(resource: string, path: string): Command[] {
  return [
    { name: `${resource} get`, method: 'GET', path },
    { name: `${resource} set`, method: 'POST', path, data: true, required: ['data'] },
  ];
}
