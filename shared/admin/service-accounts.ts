import * as v from 'valibot';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { boolean, object, oneOf, supportedIf, text } from '../openai/schema.ts';
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
import { createFederationRules } from './federation-rules.ts';
import { computeExpiry, expiresInSeconds, parseScopes, scopeNames } from './key-fields.ts';
import {
  type Collection,
  createCollection,
  createObjectId,
  objectNotFoundError,
  toProjectOwner,
} from './object-table.ts';
import { createProjectKeys, type ProjectKey } from './project-keys.ts';
import { createProjects, getActiveProject, getProject, type Project } from './projects.ts';

const serviceAccountSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  role: v.picklist(['owner', 'member', 'none']),
  /** True if it is being deleted. It is not found then, and gets no more keys. */
  deleted: v.boolean(),
});
/** A program that calls models for a project. */
export type ServiceAccount = v.InferOutput<typeof serviceAccountSchema>;

const name = text({ min: 1, max: 256 });
const createBody = object({
  name,
  create_service_account_only: v.optional(v.nullable(boolean)),
  expires_in_seconds: expiresInSeconds,
  // Not in OpenAI's API.
  scopes: scopeNames,
});
const reason =
  "does not support 'owner': a service account administers nothing. What it may do, the scopes of its keys decide.";
const role = v.pipe(
  oneOf(['member', 'owner']),
  supportedIf<'member' | 'owner'>((value) => value === 'member', reason),
);
const updateBody = object({ name: v.optional(name), role: v.optional(role) });
const createKeyBody = object({ name: v.optional(name), expires_in_seconds: expiresInSeconds, scopes: scopeNames });

/** Creates the collection of service accounts. */
export function createServiceAccounts({ table }: Pick<AdminApi, 'table'>): Collection<ServiceAccount> {
  return createCollection(table, { type: 'service_account', schema: serviceAccountSchema });
}

/** Creates the routes of service accounts and of the keys that they get. */
export function createServiceAccountRoutes(api: AdminApi) {
  const projects = createProjects(api);
  const accounts = createServiceAccounts(api);
  const keys = createProjectKeys(api);
  const federationRules = createFederationRules(api);

  const getAccount = async (project: Project, request: HttpRequest): Promise<ServiceAccount> => {
    const id = getPathParameter(request, 'account');
    const account = await accounts.get(toProjectOwner(project.id), id);
    if (account.deleted) throw objectNotFoundError('service_account', id);
    return account;
  };

  const createKey = async (
    request: HttpRequest,
    project: Project,
    account: ServiceAccount,
    { name, expires_in_seconds, scopes }: v.InferOutput<typeof createKeyBody>,
  ) => {
    const { key, value } = await keys.create({
      project: project.id,
      name: name ?? account.name,
      owner: { type: 'service_account', id: account.id },
      scopes: parseScopes(scopes, listKeyScopes(project)),
      expiresAt: computeExpiry(expires_in_seconds, api.now()),
    });
    // If the account was deleted meanwhile, its keys may have been listed before this one was stored.
    const current = await accounts.find(toProjectOwner(project.id), account.id);
    if (current === undefined || current.deleted) {
      await keys.delete(project.id, key);
      throw objectNotFoundError('service_account', account.id);
    }
    const details = { data: { scopes: key.scopes }, service_account: account.id, expires_at: key.expiresAt };
    logAct(request.telemetry, { type: 'api_key.created', objectId: key.id, project: project.id, details });
    return encodeNewKey(key, value);
  };

  return {
    'GET /v1/organization/projects/{project}/service_accounts': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      return listObjects(request, accounts, toProjectOwner(id), encodeServiceAccount, ({ deleted }) => !deleted);
    }),

    'POST /v1/organization/projects/{project}/service_accounts': createBodyRoute(
      createBody,
      async (request, { create_service_account_only: isOnly, name, ...key }) => {
        const reason = "can't be used when 'create_service_account_only' is true.";
        if (isOnly && typeof key.expires_in_seconds === 'number')
          throw invalidValueError('expires_in_seconds', `Invalid 'expires_in_seconds': it ${reason}`);
        if (isOnly && key.scopes !== undefined) throw invalidValueError('scopes', `Invalid 'scopes': it ${reason}`);
        const project = await getActiveProject(api, request);
        // Refused scopes must leave no account behind.
        parseScopes(key.scopes, listKeyScopes(project));
        const now = api.now();
        const role = isOnly ? 'none' : 'member';
        const fields = { createdAt: Math.floor(now / 1000), name, deleted: false };
        const account: ServiceAccount = { id: createObjectId('svc_acct', now), ...fields, role };
        await accounts.create(toProjectOwner(project.id), account);
        const act = { type: 'service_account.created', objectId: account.id, project: project.id };
        logAct(request.telemetry, { ...act, details: { data: { role } } });
        const api_key = isOnly ? null : await createKey(request, project, account, key);
        return { ...encodeServiceAccount(account), api_key };
      },
    ),

    'GET /v1/organization/projects/{project}/service_accounts/{account}': createAdminRoute(async (request) =>
      encodeServiceAccount(await getAccount(await getProject(projects, request), request)),
    ),

    'POST /v1/organization/projects/{project}/service_accounts/{account}': createBodyRoute(
      updateBody,
      async (request, changes) => {
        const project = await getActiveProject(api, request);
        const { id, name, role } = await getAccount(project, request);
        const updated = await accounts.update(toProjectOwner(project.id), id, (each) => ({
          ...each,
          name: changes.name ?? each.name,
          role: changes.role === undefined ? each.role : 'member',
        }));
        const details = { changes_requested: changes, previous: { name, role } };
        logAct(request.telemetry, { type: 'service_account.updated', objectId: id, project: project.id, details });
        return encodeServiceAccount(updated);
      },
    ),

    'DELETE /v1/organization/projects/{project}/service_accounts/{account}': createAdminRoute(async (request) => {
      const project = await getActiveProject(api, request);
      const owner = toProjectOwner(project.id);
      // A repeated request finds an account whose deletion was interrupted.
      const { id } = await accounts.get(owner, getPathParameter(request, 'account'));
      await accounts.update(owner, id, (each) => ({ ...each, deleted: true }));
      for await (const key of keys.collection.listAll(owner)) {
        if (key.owner.id !== id) continue;
        await keys.delete(project.id, key);
        logAct(request.telemetry, { type: 'api_key.deleted', objectId: key.id, project: project.id });
      }
      await federationRules.removeAllOf(project.id, id);
      await api.policies.forgetServiceAccount(project.id, id);
      await accounts.delete(owner, id);
      logAct(request.telemetry, { type: 'service_account.deleted', objectId: id, project: project.id });
      return { id, object: 'organization.project.service_account.deleted' as const, deleted: true };
    }),

    'POST /v1/organization/projects/{project}/service_accounts/{account}/api_keys': createOptionalBodyRoute(
      createKeyBody,
      async (request, body) => {
        const project = await getActiveProject(api, request);
        return createKey(request, project, await getAccount(project, request), body);
      },
    ),
  };
}

/** Encodes a service account as the API shows it. */
export function encodeServiceAccount({ id, createdAt, name, role }: ServiceAccount) {
  return { id, object: 'organization.project.service_account' as const, name, role, created_at: createdAt };
}

function encodeNewKey({ id, createdAt, name, expiresAt }: ProjectKey, value: string) {
  return {
    id,
    object: 'organization.project.service_account.api_key' as const,
    name,
    value,
    created_at: createdAt,
    expires_at: expiresAt,
  };
}
