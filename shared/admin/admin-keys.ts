import * as v from 'valibot';
import { isIpRange, isRangeWithin } from '../access/ip-ranges.ts';
import type { Restrictions } from '../access/policy.ts';
import { decodeRestrictions } from '../access/policy-json.ts';
import { encodeRestrictions } from '../access/policy-schema.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { ADMIN_SCOPES, hasScope } from '../access/scopes.ts';
import { logAct } from '../audit/act.ts';
import type { Table } from '../aws/table.ts';
import { omitUndefined } from '../core/objects.ts';
import { arrayOf, object, string, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
  requireScope,
} from './admin-routes.ts';
import { keyFields, readRecord, rotateBody, rotateKey } from './key-changes.ts';
import { computeExpiry, expiresInSeconds, makeKey, parseScopes, scopeNames } from './key-fields.ts';
import { createKeyStore } from './key-store.ts';
import { type Collection, createCollection } from './object-table.ts';

const adminKeySchema = v.object(keyFields);
type AdminKey = v.InferOutput<typeof adminKeySchema>;

const createBody = object({
  name: text({ min: 1, max: 256 }),
  expires_in_seconds: expiresInSeconds,
  // Not in OpenAI's API, whose admin keys may do everything from everywhere.
  scopes: scopeNames,
  ip_ranges: v.optional(arrayOf(string, 'strings', { min: 1, max: 100 })),
});

interface NewAdminKey extends Pick<AdminKey, 'name' | 'expiresAt'> {
  readonly scopes: readonly string[];
  /** The key's addresses, as `encodeRestrictions` returns them. Default: it works from everywhere. */
  readonly policy?: string | undefined;
  /** As in `AdminKey`. */
  readonly replaces?: string;
}

/** Creates an admin key. Its value can't be read again. Throws DynamoDB's errors. */
export async function createAdminKey(
  api: Pick<AdminApi, 'table' | 'access' | 'now'>,
  { name, scopes, expiresAt, policy, replaces }: NewAdminKey,
): Promise<{ readonly key: AdminKey; readonly value: string }> {
  const { value, fields } = makeKey('admin', name, api.now());
  const key = { ...fields, expiresAt, ...(replaces !== undefined && { replaces }) };
  const optional = omitUndefined({ expiresAt: expiresAt ?? undefined, policy });
  const record = { tenant: ORGANIZATION, keyId: key.id, scopes, ...optional };
  await createKeyStore(api, ORGANIZATION, createAdminKeys(api.table)).create(key, value, record);
  return { key, value };
}

/** Creates the collection of admin keys. */
export function createAdminKeys(table: Table): Collection<AdminKey> {
  return createCollection(table, { type: 'admin_api_key', schema: adminKeySchema });
}

/** Creates the routes of admin keys. */
export function createAdminKeyRoutes(api: AdminApi) {
  const keys = createAdminKeys(api.table);
  const store = createKeyStore(api, ORGANIZATION, keys);
  return {
    'GET /v1/organization/admin_api_keys': createAdminRoute((request) =>
      listObjects(request, keys, ORGANIZATION, encodeKey),
    ),

    'POST /v1/organization/admin_api_keys': createBodyRoute(
      createBody,
      async (request, { name, expires_in_seconds, scopes: names, ip_ranges }) => {
        // A key can't create one that may do more.
        const own = ADMIN_SCOPES.filter((scope) => hasScope(request.principal.scopes, scope));
        const scopes = parseScopes(names, own);
        const expiresAt = limitExpiry(computeExpiry(expires_in_seconds, api.now()), expires_in_seconds, request);
        const policy = encodeAddresses(ip_ranges ?? request.principal.policy.key?.ipRanges, request, 'ip_ranges');
        const { key, value } = await createAdminKey(api, { name, scopes, expiresAt, policy });
        const details = { data: { scopes, ...(ip_ranges && { ip_ranges }) } };
        logAct(request.telemetry, { type: 'tenant.admin_api_key.created', objectId: key.id, details });
        return { ...encodeKey(key), value };
      },
    ),

    'GET /v1/organization/admin_api_keys/{key}': createAdminRoute(async (request) =>
      encodeKey(await keys.get(ORGANIZATION, getPathParameter(request, 'key'))),
    ),

    'DELETE /v1/organization/admin_api_keys/{key}': createAdminRoute(async (request) => {
      const key = await keys.get(ORGANIZATION, getPathParameter(request, 'key'));
      const { id } = key;
      await store.delete(key);
      logAct(request.telemetry, { type: 'tenant.admin_api_key.deleted', objectId: id });
      return { id, object: 'organization.admin_api_key.deleted' as const, deleted: true };
    }),

    // Not in OpenAI's API. Creates a key like this one, which works for `overlap_seconds` more.
    'POST /v1/organization/admin_api_keys/{key}/rotate': createOptionalBodyRoute(
      rotateBody,
      async (request, { overlap_seconds: overlapSeconds }) => {
        const key = await keys.get(ORGANIZATION, getPathParameter(request, 'key'));
        const record = await readRecord(store, key, api.now());
        const { scopes, policy } = record;
        // The response has the new key, which may do no more than the one of the request.
        for (const scope of ADMIN_SCOPES) if (scopes.includes(scope)) requireScope(request, scope);
        const restrictions = decodeRestrictions(policy);
        encodeAddresses(restrictions.ipRanges, request, 'key', restrictions);
        const { created, value, expiresAt } = await rotateKey(
          store,
          { key, record, overlapSeconds },
          (fields) =>
            createAdminKey(api, {
              ...fields,
              ...{ scopes, policy },
              expiresAt: limitExpiry(fields.expiresAt, undefined, request),
            }),
          api.now,
        );
        const details = { data: { scopes }, replaces: key.id, expires_at: created.expiresAt };
        logAct(request.telemetry, { type: 'tenant.admin_api_key.created', objectId: created.id, details });
        const ended = { changes_requested: { expires_at: expiresAt }, previous: { expires_at: key.expiresAt } };
        logAct(request.telemetry, { type: 'tenant.admin_api_key.updated', objectId: key.id, details: ended });
        return { ...encodeKey(created), value, replaces: { id: key.id, expires_at: expiresAt } };
      },
    ),
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

/**
 * Returns the addresses of an admin key as `encodeRestrictions` does. They are among those of the key that a request was sent with,
 * so that a key that leaked can't free itself from them.
 * @param ranges undefined for all addresses
 * @param param the field of the request that has them
 * @param before as for `encodeRestrictions`. Default: the restrictions of the key that the request was sent with
 * @throws LambentError `invalid_value`
 */
export function encodeAddresses(
  ranges: readonly string[] | undefined,
  { principal }: HttpRequest,
  param: string,
  before: Restrictions = principal.policy.key ?? {},
): string | undefined {
  const invalid = ranges?.find((range) => !isIpRange(range));
  if (invalid !== undefined)
    throw invalidValueError(
      param,
      `Invalid '${param}': '${invalid.slice(0, 64)}' is not an IPv4 or IPv6 address, nor a block such as 192.0.2.0/24.`,
    );
  const policy = encodeRestrictions('key', omitUndefined({ ipRanges: ranges }), before);
  const own = principal.policy.key?.ipRanges;
  if (own === undefined || ranges?.every((range) => isRangeWithin(range, own))) return policy;
  throw invalidValueError(
    param,
    `Invalid '${param}': an admin key can't work from more addresses than the key of the request, which are ${own.join(', ')}.`,
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
