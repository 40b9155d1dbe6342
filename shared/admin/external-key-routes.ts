import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { object, oneOf, string, supportedIf, text } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodilessRoute,
  createBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { createExternalKeys, type ExternalKey } from './external-keys.ts';
import { createObjectId } from './object-table.ts';
import { createProjects, isErased } from './projects.ts';

const isEmpty = (value: string) => value === '';
const ROLES = 'must be empty: roles are not assumed. Allow the roles of the functions in the policy of the key.';

// OpenAI's types require the fields of the role, so they may be empty.
const createBody = object({
  type: v.pipe(
    oneOf(['aws', 'gcp', 'azure', 'oci']),
    supportedIf((type) => type === 'aws', 'is not supported: an external key is one of AWS KMS.'),
  ),
  name: text({ min: 1, max: 256 }),
  kms_arn: string,
  role_arn: v.nullish(v.pipe(string, supportedIf(isEmpty, ROLES))),
  external_id: v.nullish(v.pipe(string, supportedIf(isEmpty, ROLES))),
  purpose: v.nullish(
    v.pipe(
      oneOf(['ekm', 'psp_decryption']),
      supportedIf((purpose) => purpose === 'ekm', "supports only 'ekm'."),
    ),
  ),
});

/** Creates the routes of external keys. */
export function createExternalKeyRoutes(api: AdminApi) {
  const keys = createExternalKeys(api);
  const projects = createProjects(api);

  const getKey = (request: HttpRequest) => keys.get(ORGANIZATION, getPathParameter(request, 'externalKey'));

  /** Returns the ids of projects by the external key that they have. Those of erased tenants have no keys any more. */
  async function readUsers(): Promise<Map<string, string[]>> {
    const users = new Map<string, string[]>();
    for await (const { id, externalKeyId } of projects.listAll(ORGANIZATION)) {
      if (externalKeyId === null || (await isErased(api, id))) continue;
      users.set(externalKeyId, [...(users.get(externalKeyId) ?? []), id]);
    }
    return users;
  }

  const encode = async (key: ExternalKey) => encodeKey(key, await readUsers());

  return {
    'GET /v1/organization/external_keys': createAdminRoute(async (request) => {
      const users = await readUsers();
      const matches = () => (request.query['purpose'] ?? 'ekm') === 'ekm';
      return listObjects(request, keys, ORGANIZATION, (key) => encodeKey(key, users), matches);
    }),

    'POST /v1/organization/external_keys': createBodyRoute(createBody, async (request, { name, kms_arn: kmsArn }) => {
      checkArn(kmsArn, api);
      await api.wrappingKeys.validate(kmsArn).catch((thrown: unknown) => {
        throw toInvalidKey(thrown);
      });
      const now = api.now();
      const key: ExternalKey = {
        id: createObjectId('extkey', now),
        createdAt: Math.floor(now / 1000),
        name,
        kmsArn,
      };
      await keys.create(ORGANIZATION, key);
      const data = { type: 'aws', name, kms_arn: kmsArn };
      logAct(request.telemetry, { type: 'external_key.registered', objectId: key.id, details: { data } });
      return encode(key);
    }),

    'GET /v1/organization/external_keys/{externalKey}': createAdminRoute(async (request) =>
      encode(await getKey(request)),
    ),

    'POST /v1/organization/external_keys/{externalKey}/validate': createBodilessRoute(async (request) => {
      const { kmsArn } = await getKey(request);
      try {
        await api.wrappingKeys.validate(kmsArn);
        return { status: 'valid' };
      } catch (thrown) {
        if (!isRefusal(thrown)) throw thrown;
        // OpenAI's API doesn't have the message.
        return { status: 'invalid', message: readReason(thrown) };
      }
    }),

    'DELETE /v1/organization/external_keys/{externalKey}': createAdminRoute(async (request) => {
      const key = await getKey(request);
      const { id } = key;
      const encoded = await encode(key);
      checkUnused(id, encoded.api_project_ids);
      await keys.delete(ORGANIZATION, id);
      const users = (await readUsers()).get(id) ?? [];
      // A project got the key meanwhile. One that gets it after this read restores the key itself.
      if (users.length > 0) await keys.create(ORGANIZATION, key);
      checkUnused(id, users);
      logAct(request.telemetry, { type: 'external_key.removed', objectId: id });
      return encoded;
    }),
  };
}

/** @throws LambentError `invalid_value` if projects have the external key */
function checkUnused(id: string, projects: readonly string[]): void {
  if (projects.length === 0) return;
  const some = projects.slice(0, 5).join(', ');
  throw invalidValueError('external_key_id', `Projects have the external key ${id}: ${some}. Change their key first.`);
}

function encodeKey({ id, createdAt, name, kmsArn }: ExternalKey, users: ReadonlyMap<string, readonly string[]>) {
  return {
    id,
    object: 'organization.external_key' as const,
    type: 'aws',
    purpose: 'ekm',
    name,
    created_at: createdAt,
    kms_arn: kmsArn,
    api_project_ids: users.get(id) ?? [],
    // There are no workspaces.
    workspace_id: '',
  };
}

/** @throws LambentError `invalid_value` unless the functions may use the key */
function checkArn(arn: string, { keyId, externalKeys }: Pick<AdminApi, 'keyId' | 'externalKeys'>): void {
  const refuse = (reason: string) => invalidValueError('kms_arn', `Invalid 'kms_arn': ${reason}`);
  const [, , service, region, , resource = ''] = arn.split(':');
  const [, , , ownRegion = ''] = keyId.split(':');
  if (service !== 'kms' || !resource.startsWith('key/')) throw refuse('it must be the ARN of a key of AWS KMS.');
  if (region !== ownRegion)
    throw refuse(`its region must be ${ownRegion}. Of a multi-Region key, name the replica in that region.`);
  if (!externalKeys.includes(arn))
    throw refuse('the functions may not use this key. The setting `externalKeys` of the deployment must list it.');
}

function isRefusal(thrown: unknown): thrown is LambentError {
  return thrown instanceof LambentError && thrown.code === 'external_key_unavailable';
}

/** Returns KMS's reason, which names the missing permission and its role. */
function readReason({ cause }: LambentError): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : 'unknown failure';
}

function toInvalidKey(thrown: unknown): unknown {
  return isRefusal(thrown)
    ? invalidValueError('kms_arn', `Invalid 'kms_arn': KMS refuses the key (${readReason(thrown)}).`)
    : thrown;
}
