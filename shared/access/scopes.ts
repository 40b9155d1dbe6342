/** The permissions of a key of a tenant. Each route requires one. */
export const TENANT_SCOPES = [
  // Calls of models, also through the queue. They may store their answers and continue stored ones and conversations.
  'generate',
  'embeddings',
  'moderations',
  'models.read',
  // Stored responses and stored chat completions. To cancel, change or delete them is to write.
  'responses.read',
  'responses.write',
  'conversations.read',
  'conversations.write',
] as const;

/** The permissions of an admin key. */
export const ADMIN_SCOPES = [
  // The admin keys themselves.
  'admin.keys.read',
  'admin.keys.write',
  // Projects, their service accounts and API keys, the models that they may use, and senders to the queue.
  'admin.projects.read',
  'admin.projects.write',
  // Rate limits, spend limits and alerts, and the other sections of policies, except for models.
  'admin.limits.read',
  'admin.limits.write',
  // Users, groups, invites, roles and their assignments.
  'admin.people.read',
  'admin.people.write',
  // Workload identity providers and certificates.
  'admin.identity.read',
  'admin.identity.write',
  // Data retention and external keys.
  'admin.data.read',
  'admin.data.write',
  'admin.usage.read',
  'admin.audit.read',
] as const;

export type Scope = (typeof TENANT_SCOPES | typeof ADMIN_SCOPES)[number];

/**
 * Returns whether a principal with scopes of these names has `scope`. Earlier versions had two, which stored keys and
 * senders may still have: `models` for the list of models, and `inference` for all else.
 */
export function hasScope(names: readonly string[], scope: Scope): boolean {
  if (names.includes(scope)) return true;
  return !scope.startsWith('admin.') && names.includes(scope === 'models.read' ? 'models' : 'inference');
}
