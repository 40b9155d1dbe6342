import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { object } from '../openai/schema.ts';
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
import { changeKey, readRecord, rotateBody, rotateKey } from './key-changes.ts';
import { computeExpiry, expiresInSeconds, parseScopes, scopeNames } from './key-fields.ts';
import { objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createProjectKeys, type ProjectKey } from './project-keys.ts';
import { createProjects, getActiveProject, getProject, type Project } from './projects.ts';
import { createServiceAccounts, encodeServiceAccount } from './service-accounts.ts';

const updateBody = object({ expires_in_seconds: expiresInSeconds, scopes: scopeNames });

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
      const { expires_in_seconds: lifetime } = body;
      const scopes = body.scopes && [...parseScopes(body.scopes, listKeyScopes(project))];
      const expiresAt = lifetime === undefined ? undefined : computeExpiry(lifetime, api.now());
      const store = keys.storeOf(project.id);
      const record = await readRecord(store, key, api.now());
      const change = (current: ProjectKey): ProjectKey => ({
        ...current,
        ...(scopes !== undefined && { scopes }),
        ...(expiresAt !== undefined && { expiresAt, lifetimeSeconds: undefined }),
      });
      const changed = await changeKey(store, key, record, change, [
        ...(scopes === undefined ? [] : (['scopes'] as const)),
        ...(expiresAt === undefined ? [] : (['expiresAt'] as const)),
      ]);
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
        const store = keys.storeOf(project.id);
        const record = await readRecord(store, key, api.now());
        const scopes = listKeyScopes(project).filter((each) => key.scopes.includes(each));
        // Of a project that became a sandbox.
        if (scopes.length < key.scopes.length)
          throw new LambentError(
            'invalid_value',
            `The key ${key.id} has scopes that new keys of a sandbox can't have. Change its scopes first.`,
          );
        const { created, value, expiresAt } = await rotateKey(
          store,
          { key, record, overlapSeconds: overlap },
          (fields) => keys.create({ project: project.id, owner: key.owner, scopes, policy: record.policy, ...fields }),
          api.now,
          // If its account was deleted meanwhile, the account's keys may have been listed before this one was stored.
          (created) => requireOwner(project, created),
        );
        const details = { data: { scopes: created.scopes }, replaces: key.id, expires_at: created.expiresAt };
        logAct(request.telemetry, { type: 'api_key.created', objectId: created.id, project: project.id, details });
        const ended = { changes_requested: { expires_at: expiresAt }, previous: { expires_at: key.expiresAt } };
        logAct(request.telemetry, { type: 'api_key.updated', objectId: key.id, project: project.id, details: ended });
        return { ...(await encode(project, created)), value, replaces: { id: key.id, expires_at: expiresAt } };
      },
    ),
  };
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
