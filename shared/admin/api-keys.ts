import * as v from 'valibot';
import type { KeyRecord } from '../access/keys.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { integer, object } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { listKeyScopes } from './environments.ts';
import { computeExpiry, expiresInSeconds, parseScopes, scopeNames } from './key-fields.ts';
import { objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createProjectKeys, type ProjectKey, toRecord } from './project-keys.ts';
import { createProjects, getActiveProject, getProject, type Project } from './projects.ts';
import { createServiceAccounts, encodeServiceAccount } from './service-accounts.ts';

const updateBody = object({ expires_in_seconds: expiresInSeconds, scopes: scopeNames });
/** Seven days at most, so that a forgotten key doesn't stay for long. */
const rotateBody = object({ overlap_seconds: v.optional(integer(0, 7 * 86_400), 86_400) });

/** Creates the routes of projects' API keys. */
export function createApiKeyRoutes(api: AdminApi) {
  const projects = createProjects(api);
  const accounts = createServiceAccounts(api);
  const keys = createProjectKeys(api);

  const getKey = ({ id }: Project, request: HttpRequest): Promise<ProjectKey> =>
    keys.collection.get(toProjectOwner(id), getPathParameter(request, 'key'));

  const encode = async (project: Project, key: ProjectKey) => {
    const account = await accounts.find(toProjectOwner(project.id), key.owner.id);
    return encodeApiKey(key, account && encodeServiceAccount(account), project.archivedAt === null);
  };

  /** @throws LambentError `not_found` if the service account of a key was deleted */
  const requireOwner = async ({ id }: Project, { owner }: ProjectKey): Promise<void> => {
    if (owner.type !== 'service_account') return;
    const account = await accounts.find(toProjectOwner(id), owner.id);
    if (account === undefined || account.deleted) throw objectNotFoundError('service_account', owner.id);
  };

  /** Returns what the authorizer reads of a key. @throws LambentError `invalid_value` if it has expired or was revoked */
  const readRecord = async (key: ProjectKey): Promise<KeyRecord> => {
    const record = await keys.enforced.read(key.partition);
    if (record !== undefined && !hasExpired(key, api.now())) return record;
    throw new LambentError('invalid_value', `The key ${key.id} has expired or was revoked. It can't be changed.`);
  };

  /** Changes a key and what the authorizer reads of it. What takes something away is enforced first. */
  const change = async (project: Project, key: ProjectKey, record: KeyRecord, changed: ProjectKey): Promise<void> => {
    const enforce = async () => {
      const after = toRecord(project.id, changed, record.policy);
      if (await keys.enforced.change(key.partition, record, after)) return;
      throw changedError(key);
    };
    const isReduced =
      isSooner(changed.expiresAt, key.expiresAt) || key.scopes.some((each) => !changed.scopes.includes(each));
    // A key that was replaced ends as planned, so only its use is reported.
    await (changed.successor === undefined ? keys.expiring.add(changed) : keys.expiring.remove(key));
    if (isReduced) await enforce();
    await keys.collection.update(toProjectOwner(project.id), key.id, ({ name, successor }) => {
      if (successor !== key.successor) throw changedError(key);
      return { ...changed, name };
    });
    if (!isReduced) await enforce();
  };

  /**
   * Deletes the keys that interrupted rotations of a key have created: their values were never returned.
   * @throws LambentError `invalid_value` if a rotation was completed, so that there are never two successors
   */
  const discardSuccessors = async ({ id }: Project, key: ProjectKey): Promise<void> => {
    for await (const each of keys.collection.listAll(toProjectOwner(id))) {
      if (each.replaces !== key.id) continue;
      if (each.id !== key.successor) await keys.delete(id, each);
      else
        throw new LambentError(
          'invalid_value',
          `The key ${key.id} was replaced by ${each.id}. If that key's value was lost, delete it first.`,
        );
    }
  };

  return {
    'GET /v1/organization/projects/{project}/api_keys': createAdminRoute(async (request) => {
      const project = await getProject(projects, request);
      const access = request.query['owner_project_access'] ?? 'any';
      if (!['active', 'inactive', 'any'].includes(access))
        throw invalidValueError(
          'owner_project_access',
          "Invalid value for 'owner_project_access'. Supported values are: 'active', 'inactive', and 'any'.",
        );
      const isListed = access === 'any' || (access === 'active') === (project.archivedAt === null);
      return listObjects(
        request,
        keys.collection,
        toProjectOwner(project.id),
        (key) => encode(project, key),
        () => isListed,
      );
    }),

    'GET /v1/organization/projects/{project}/api_keys/{key}': createAdminRoute(async (request) => {
      const project = await getProject(projects, request);
      return encode(project, await getKey(project, request));
    }),

    'POST /v1/organization/projects/{project}/api_keys/{key}': createBodyRoute(updateBody, async (request, body) => {
      const project = await getActiveProject(api, request);
      const key = await getKey(project, request);
      const { expires_in_seconds: lifetime, scopes } = body;
      const changed = {
        ...key,
        scopes: scopes === undefined ? key.scopes : [...parseScopes(scopes, listKeyScopes(project))],
        expiresAt: lifetime === undefined ? key.expiresAt : computeExpiry(lifetime, api.now()),
      };
      await change(project, key, await readRecord(key), changed);
      const details = {
        changes_requested: { scopes: changed.scopes, expires_at: changed.expiresAt },
        previous: { scopes: key.scopes, expires_at: key.expiresAt },
      };
      logAct(request.telemetry, { type: 'api_key.updated', objectId: key.id, project: project.id, details });
      return encode(project, changed);
    }),

    'DELETE /v1/organization/projects/{project}/api_keys/{key}': createAdminRoute(async (request) => {
      const project = await getActiveProject(api, request);
      const key = await getKey(project, request);
      await keys.delete(project.id, key);
      logAct(request.telemetry, { type: 'api_key.deleted', objectId: key.id, project: project.id });
      return { id: key.id, object: 'organization.project.api_key.deleted' as const, deleted: true };
    }),

    // Not in OpenAI's API. Creates a key like this one, which works for `overlap_seconds` more.
    'POST /v1/organization/projects/{project}/api_keys/{key}/rotate': createOptionalBodyRoute(
      rotateBody,
      async (request, { overlap_seconds: overlap }) => {
        const project = await getActiveProject(api, request);
        const key = await getKey(project, request);
        const record = await readRecord(key);
        const scopes = listKeyScopes(project).filter((each) => key.scopes.includes(each));
        // Of a project that became a sandbox.
        if (scopes.length < key.scopes.length)
          throw new LambentError(
            'invalid_value',
            `The key ${key.id} has scopes that new keys of a sandbox can't have. Change its scopes first.`,
          );
        await discardSuccessors(project, key);
        const lifetime = key.expiresAt === null ? null : key.expiresAt - key.createdAt;
        const { key: created, value } = await keys.create({
          project: project.id,
          name: key.name,
          owner: key.owner,
          scopes,
          expiresAt: computeExpiry(lifetime, api.now()),
          policy: record.policy,
          replaces: key.id,
        });
        const end = Math.floor(api.now() / 1000) + overlap;
        const expiresAt = isSooner(key.expiresAt, end) ? key.expiresAt : end;
        try {
          await change(project, key, record, { ...key, expiresAt, successor: created.id });
          // Another rotation may have discarded it meanwhile.
          await keys.collection.get(toProjectOwner(project.id), created.id);
          // If its account was deleted meanwhile, the account's keys may have been listed before this one was stored.
          await requireOwner(project, created);
        } catch (thrown) {
          await keys.delete(project.id, created);
          throw thrown;
        }
        const details = { data: { scopes: created.scopes }, replaces: key.id, expires_at: created.expiresAt };
        logAct(request.telemetry, { type: 'api_key.created', objectId: created.id, project: project.id, details });
        const ended = { changes_requested: { expires_at: expiresAt }, previous: { expires_at: key.expiresAt } };
        logAct(request.telemetry, { type: 'api_key.updated', objectId: key.id, project: project.id, details: ended });
        return { ...(await encode(project, created)), value, replaces: { id: key.id, expires_at: expiresAt } };
      },
    ),
  };
}

function changedError({ id }: ProjectKey): LambentError {
  return new LambentError('overloaded', `Another request has changed the key ${id}.`);
}

/** True if a time is earlier than another. Null is never. */
function isSooner(one: number | null, other: number | null): boolean {
  return one !== null && (other === null || one < other);
}

function hasExpired({ expiresAt }: ProjectKey, now: number): boolean {
  return expiresAt !== null && expiresAt * 1000 <= now;
}

function encodeApiKey(
  { id, createdAt, name, redacted, scopes, expiresAt, owner }: ProjectKey,
  account: object | undefined,
  isActive: boolean,
) {
  return {
    id,
    object: 'organization.project.api_key' as const,
    name,
    redacted_value: redacted,
    created_at: createdAt,
    expires_at: expiresAt,
    last_used_at: null,
    owner: { type: owner.type, ...(account === undefined ? {} : { [owner.type]: account }) },
    owner_project_access: isActive ? 'active' : 'inactive',
    // Not in OpenAI's API.
    scopes,
  };
}
