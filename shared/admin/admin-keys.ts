import * as v from 'valibot';
import { createExpiringKeys } from '../access/expiring-keys.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { ADMIN_SCOPES, hasScope, type Scope } from '../access/scopes.ts';
import { logAct } from '../audit/act.ts';
import { object, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import { type AdminApi, createAdminRoute, createBodyRoute, getPathParameter, listObjects } from './admin-routes.ts';
import { createEnforcedKeys } from './enforced-keys.ts';
import { computeExpiry, expiresInSeconds, makeKey, parseScopes, scopeNames } from './key-fields.ts';
import { createCollection } from './object-table.ts';

const adminKeySchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  redacted: v.string(),
  partition: v.string(),
  expiresAt: v.nullable(v.number()),
});
type AdminKey = v.InferOutput<typeof adminKeySchema>;

const createBody = object({
  name: text({ min: 1, max: 256 }),
  expires_in_seconds: expiresInSeconds,
  // Not in OpenAI's API, whose admin keys may do everything.
  scopes: scopeNames,
});

/** Creates an admin key. Its value can't be read again. Throws DynamoDB's errors. */
export async function createAdminKey(
  { table, access, now }: Pick<AdminApi, 'table' | 'access' | 'now'>,
  { name, scopes, expiresAt }: { name: string; scopes: readonly Scope[]; expiresAt: number | null },
): Promise<{ readonly key: AdminKey; readonly value: string }> {
  const { value, fields } = makeKey('admin', name, now());
  const key = { ...fields, expiresAt };
  await createCollection(table, { type: 'admin_api_key', schema: adminKeySchema }).create(ORGANIZATION, key);
  await createExpiringKeys(table).add(key);
  const expiry = expiresAt === null ? {} : { expiresAt };
  await createEnforcedKeys(access).grant(value, { tenant: ORGANIZATION, keyId: key.id, scopes, ...expiry });
  return { key, value };
}

/** Creates the routes of admin keys. */
export function createAdminKeyRoutes(api: AdminApi) {
  const keys = createCollection(api.table, { type: 'admin_api_key', schema: adminKeySchema });
  const enforced = createEnforcedKeys(api.access);
  const expiring = createExpiringKeys(api.table);
  return {
    'GET /v1/organization/admin_api_keys': createAdminRoute((request) =>
      listObjects(request, keys, ORGANIZATION, encodeKey),
    ),

    'POST /v1/organization/admin_api_keys': createBodyRoute(
      createBody,
      async (request, { name, expires_in_seconds, scopes: names }) => {
        // A key can't create one that may do more.
        const own = ADMIN_SCOPES.filter((scope) => hasScope(request.principal.scopes, scope));
        const scopes = parseScopes(names, own);
        const expiresAt = limitExpiry(computeExpiry(expires_in_seconds, api.now()), expires_in_seconds, request);
        const { key, value } = await createAdminKey(api, { name, scopes, expiresAt });
        const details = { data: { scopes } };
        logAct(request.telemetry, { type: 'tenant.admin_api_key.created', objectId: key.id, details });
        return { ...encodeKey(key), value };
      },
    ),

    'GET /v1/organization/admin_api_keys/{key}': createAdminRoute(async (request) =>
      encodeKey(await keys.get(ORGANIZATION, getPathParameter(request, 'key'))),
    ),

    'DELETE /v1/organization/admin_api_keys/{key}': createAdminRoute(async (request) => {
      const key = await keys.get(ORGANIZATION, getPathParameter(request, 'key'));
      const { id, partition } = key;
      await enforced.revoke(partition);
      await expiring.remove(key);
      await keys.delete(ORGANIZATION, id);
      logAct(request.telemetry, { type: 'tenant.admin_api_key.deleted', objectId: id });
      return { id, object: 'organization.admin_api_key.deleted' as const, deleted: true };
    }),
  };
}

/**
 * Returns when a new admin key expires: never after the key that creates it, so that a key that was lent for an hour, or that
 * leaked, can't prolong itself.
 * @throws LambentError `invalid_value` if the request asks for more
 */
function limitExpiry(
  expiresAt: number | null,
  requested: number | null | undefined,
  { principal }: HttpRequest,
): number | null {
  const latest = principal.expiresAt;
  if (latest === undefined || (expiresAt !== null && expiresAt <= latest)) return expiresAt;
  if (requested === undefined) return latest;
  throw invalidValueError(
    'expires_in_seconds',
    `Invalid 'expires_in_seconds': an admin key can't outlive the key that creates it, which expires at ${new Date(latest * 1000).toISOString()}.`,
  );
}

function encodeKey({ id, createdAt, name, redacted, expiresAt }: AdminKey) {
  return {
    id,
    object: 'organization.admin_api_key' as const,
    name,
    redacted_value: redacted,
    created_at: createdAt,
    expires_at: expiresAt,
    last_used_at: null,
    // Admin keys belong to the organization. OpenAI's belong to the owner who created them.
    owner: {
      type: 'user',
      object: 'organization.user' as const,
      id: 'organization',
      name: 'Organization',
      created_at: createdAt,
      role: 'owner',
    },
  };
}
