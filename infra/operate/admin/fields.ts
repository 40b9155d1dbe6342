/**
 * Options that become fields: the field's name, the placeholder in the help text, and the function that parses the option's
 * text, which returns undefined for an invalid one.
 */
export const FIELDS = {
  name: { field: 'name', usage: 'NAME', parse: (text: string) => text },
  id: { field: 'id', usage: 'ID', parse: (text: string) => text },
  role: { field: 'role', usage: 'ROLE', parse: (text: string) => text },
  scopes: { field: 'scopes', usage: 'SCOPES', parse: splitList },
  'ip-ranges': { field: 'ip_ranges', usage: 'RANGES', parse: splitList },
  'without-key': { field: 'create_service_account_only', usage: 'true|false', parse: parseBoolean },
  expires: { field: 'expires_in_seconds', usage: 'WHEN', parse: parseLifetime },
  for: { field: 'hold_seconds', usage: 'SECONDS', parse: parseNumber },
  overlap: { field: 'overlap_seconds', usage: 'SECONDS', parse: parseNumber },
  mode: { field: 'mode', usage: 'allow_list|deny_list', parse: (text: string) => text },
  models: { field: 'model_ids', usage: 'MODELS', parse: splitList },
  environment: { field: 'environment', usage: 'dev|production|sandbox', parse: (text: string) => text },
  'kms-arn': { field: 'kms_arn', usage: 'ARN', parse: (text: string) => text },
  certificate: { field: 'certificate', usage: 'PEM', parse: (text: string) => text },
  certificates: { field: 'certificate_ids', usage: 'IDS', parse: splitList },
  include: { field: 'include', usage: 'content', parse: (text: string) => text },
  'external-key': { field: 'external_key_id', usage: 'ID|none', parse: parseId },
  dollars: { field: 'threshold_amount', usage: 'DOLLARS', parse: parseCents },
  'requests-per-minute': { field: 'max_requests_per_1_minute', usage: 'NUMBER|none', parse: parseLimit },
  'tokens-per-minute': { field: 'max_tokens_per_1_minute', usage: 'NUMBER|none', parse: parseLimit },
  'requests-per-day': { field: 'max_requests_per_1_day', usage: 'NUMBER|none', parse: parseLimit },
  'tokens-per-day': { field: 'max_tokens_per_1_day', usage: 'NUMBER|none', parse: parseLimit },
  projects: { field: 'project_ids', usage: 'IDS', parse: splitList },
  'reply-queues': { field: 'reply_queues', usage: 'ALIASES', parse: splitList },
  'messages-per-minute': { field: 'messages_per_minute', usage: 'NUMBER|none', parse: parseLimit },
  'messages-per-day': { field: 'messages_per_day', usage: 'NUMBER|none', parse: parseLimit },
  email: { field: 'email', usage: 'EMAIL', parse: (text: string) => text },
  subject: { field: 'subject', usage: 'SUB', parse: (text: string) => text },
  description: { field: 'description', usage: 'TEXT', parse: (text: string) => text },
  permissions: { field: 'permissions', usage: 'SCOPES', parse: splitList },
  user: { field: 'user_id', usage: 'ID', parse: (text: string) => text },
  group: { field: 'group_id', usage: 'ID', parse: (text: string) => text },
  project: { field: 'project_id', usage: 'ID', parse: (text: string) => text },
  account: { field: 'service_account_id', usage: 'ID', parse: (text: string) => text },
  key: { field: 'api_key_ids', usage: 'ID', parse: (text: string) => text },
  provider: { field: 'identity_provider_id', usage: 'ID', parse: (text: string) => text },
  issuer: { field: 'issuer', usage: 'URL', parse: (text: string) => text },
  audience: { field: 'audience', usage: 'TEXT', parse: (text: string) => text },
  enabled: { field: 'enabled', usage: 'true|false', parse: parseBoolean },
  since: { field: 'start_time', usage: 'TIME', parse: parseTime },
  until: { field: 'end_time', usage: 'TIME', parse: parseTime },
  width: { field: 'bucket_width', usage: '1m|1h|1d', parse: (text: string) => text },
  by: { field: 'group_by', usage: 'FIELDS', parse: splitList },
  model: { field: 'models', usage: 'MODELS', parse: splitList },
  events: { field: 'event_types', usage: 'TYPES', parse: splitList },
  type: { field: 'retention_type', usage: 'TYPE', parse: (text: string) => text },
  archived: { field: 'include_archived', usage: 'true', parse: (text: string) => text },
} as const satisfies Readonly<Record<string, { field: string; usage: string; parse: (text: string) => unknown }>>;
export type FieldName = keyof typeof FIELDS;

/** What an error says of a value, by `usage`, where that alone doesn't say it. */
export const EXPLANATIONS: Readonly<Record<string, string>> = {
  WHEN: '90d, 2027-01-31, 2027-01-31T12:00:00Z or never',
  TIME: '7d for 7 days ago, 2027-01-31 or 2027-01-31T12:00:00Z',
  SECONDS: 'a whole number of seconds',
  DOLLARS: 'dollars, with cents if needed: 12.50',
  'NUMBER|none': 'a whole number, or none',
};

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

/** Returns null for `none`, which removes what the field names. */
function parseId(text: string): string | null {
  return text === 'none' ? null : text;
}

function parseCents(text: string): number | undefined {
  return /^\d{1,12}(\.\d{1,2})?$/.test(text) ? Math.round(Number(text) * 100) : undefined;
}

/** Returns the seconds of `90d`, or until a date or time; null for `never`. */
function parseLifetime(text: string): number | null | undefined {
  if (text === 'never') return null;
  const [, days] = /^(\d{1,4})d$/.exec(text) ?? [];
  if (days !== undefined) return Number(days) * 86_400;
  const end = parseDate(text);
  return end === undefined ? undefined : end - Math.floor(Date.now() / 1000);
}

function parseBoolean(text: string): boolean | undefined {
  return text === 'true' || text === 'false' ? text === 'true' : undefined;
}

/** Returns the epoch seconds of a date or time, or of `7d` ago. */
function parseTime(text: string): number | undefined {
  const [, days] = /^(\d{1,4})d$/.exec(text) ?? [];
  if (days !== undefined) return Math.floor(Date.now() / 1000) - Number(days) * 86_400;
  return parseDate(text);
}

/** Returns epoch seconds. */
function parseDate(text: string): number | undefined {
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  const time = isTime ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? undefined : Math.ceil(time / 1000);
}
