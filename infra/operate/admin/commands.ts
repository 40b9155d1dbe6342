/** A command of `npm run admin`: one request to the administration API, or one for each page of a list. */
export interface Command {
  /** `service-accounts create` */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below `/v1/organization/`. Parameters are options; `{id}` is the operand. Parts in brackets need their option. */
  readonly path: string;
  /** The options that become fields of the body or, for GET, of the query. */
  readonly fields?: readonly FieldName[];
  /** True if `--data` gives the body as JSON, which some parts of the API have no options for. */
  readonly data?: boolean;
  /** Fields that are the same for each request. */
  readonly constants?: Readonly<Record<string, unknown>>;
}

/**
 * Options that become fields: the field's name, what the option looks like, and the value that its text stands for; undefined
 * if it is not valid.
 */
export const FIELDS = {
  name: { field: 'name', usage: 'NAME', parse: (text: string) => text },
  id: { field: 'id', usage: 'ID', parse: (text: string) => text },
  role: { field: 'role', usage: 'member|owner', parse: (text: string) => text },
  scopes: { field: 'scopes', usage: 'SCOPES', parse: splitList },
  expires: { field: 'expires_in_seconds', usage: 'WHEN', parse: parseLifetime },
  overlap: { field: 'overlap_seconds', usage: 'SECONDS', parse: parseNumber },
  mode: { field: 'mode', usage: 'allow_list|deny_list', parse: (text: string) => text },
  models: { field: 'model_ids', usage: 'MODELS', parse: splitList },
  environment: { field: 'environment', usage: 'dev|production|sandbox', parse: (text: string) => text },
  dollars: { field: 'threshold_amount', usage: 'DOLLARS', parse: parseCents },
  'requests-per-minute': { field: 'max_requests_per_1_minute', usage: 'NUMBER|none', parse: parseLimit },
  'tokens-per-minute': { field: 'max_tokens_per_1_minute', usage: 'NUMBER|none', parse: parseLimit },
  'requests-per-day': { field: 'max_requests_per_1_day', usage: 'NUMBER|none', parse: parseLimit },
  'tokens-per-day': { field: 'max_tokens_per_1_day', usage: 'NUMBER|none', parse: parseLimit },
  archived: { field: 'include_archived', usage: 'true', parse: (text: string) => text },
} as const satisfies Readonly<Record<string, { field: string; usage: string; parse: (text: string) => unknown }>>;
export type FieldName = keyof typeof FIELDS;

/** All commands but `bootstrap`. `[projects/{project}/]` is the organization itself without `--project`. */
export const COMMANDS: readonly Command[] = [
  { name: 'admin-keys list', method: 'GET', path: 'admin_api_keys' },
  { name: 'admin-keys get', method: 'GET', path: 'admin_api_keys/{id}' },
  { name: 'admin-keys create', method: 'POST', path: 'admin_api_keys', fields: ['name', 'scopes', 'expires'] },
  { name: 'admin-keys delete', method: 'DELETE', path: 'admin_api_keys/{id}' },

  { name: 'projects list', method: 'GET', path: 'projects', fields: ['archived'] },
  { name: 'projects get', method: 'GET', path: 'projects/{id}' },
  { name: 'projects create', method: 'POST', path: 'projects', fields: ['name', 'id', 'environment'] },
  { name: 'projects update', method: 'POST', path: 'projects/{id}', fields: ['name', 'environment'] },
  { name: 'projects archive', method: 'POST', path: 'projects/{id}/archive' },

  ...listCommands('service-accounts', 'projects/{project}/service_accounts'),
  {
    name: 'service-accounts create',
    method: 'POST',
    path: 'projects/{project}/service_accounts',
    fields: ['name', 'scopes', 'expires'],
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

  { name: 'model-permissions get', method: 'GET', path: 'projects/{project}/model_permissions' },
  {
    name: 'model-permissions set',
    method: 'POST',
    path: 'projects/{project}/model_permissions',
    fields: ['mode', 'models'],
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
    constants: { currency: 'USD', interval: 'month' },
  },
  { name: 'spend-limit delete', method: 'DELETE', path: '[projects/{project}/]spend_limit' },

  { name: 'policy get', method: 'GET', path: '[projects/{project}/][api_keys/{key}/]policy' },
  {
    name: 'policy set',
    method: 'POST',
    path: '[projects/{project}/][api_keys/{key}/]policy',
    data: true,
  },
];

/** Returns the commands that every resource with objects has. */
function listCommands(resource: string, path: string): Command[] {
  return [
    { name: `${resource} list`, method: 'GET', path },
    { name: `${resource} get`, method: 'GET', path: `${path}/{id}` },
    { name: `${resource} delete`, method: 'DELETE', path: `${path}/{id}` },
  ];
}

function splitList(text: string): string[] {
  return text.split(',').flatMap((each) => each.trim() || []);
}

function parseNumber(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Returns null for `none`, which removes a limit. */
function parseLimit(text: string): number | null | undefined {
  return text === 'none' ? null : parseNumber(text);
}

function parseCents(text: string): number | undefined {
  return /^\d{1,12}(\.\d{1,2})?$/.test(text) ? Math.round(Number(text) * 100) : undefined;
}

/** Returns the seconds of `90d`, or until a date or time; null for `never`. */
function parseLifetime(text: string): number | null | undefined {
  if (text === 'never') return null;
  const [, days] = /^(\d{1,4})d$/.exec(text) ?? [];
  if (days !== undefined) return Number(days) * 86_400;
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  return isTime ? Math.ceil((Date.parse(text) - Date.now()) / 1000) : undefined;
}
