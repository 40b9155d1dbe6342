import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { isPrincipalId } from '../access/keys.ts';
import type { Restrictions } from '../access/policy.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { object, oneOf, string, supportedIf, text, unsupported } from '../openai/schema.ts';
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
import { applyPreset, applyStricterPreset, ENVIRONMENTS, type Environment } from './environments.ts';
import { changeExternalKey, createExternalKeys } from './external-keys.ts';
import { type Collection, createCollection, createObjectId } from './object-table.ts';

const projectSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  archivedAt: v.nullable(v.number()),
  environment: v.optional(v.nullable(v.picklist(ENVIRONMENTS)), null),
  externalKeyId: v.optional(v.nullable(v.string()), null),
});
/** A project. Its id is the name of its tenant. */
export type Project = v.InferOutput<typeof projectSchema>;

const name = text({ min: 1, max: 256 });
const elsewhere = 'is not supported: a deployment keeps its data in its own region.';
const geography = unsupported(`${elsewhere} Omit it.`);
const isGlobal = supportedIf<string>((value) => value === 'GLOBAL', `${elsewhere} Omit it, or use 'GLOBAL'.`);
const external_key_id = v.optional(v.nullable(string));
const environment = v.optional(oneOf(ENVIRONMENTS));
const createBody = object({
  name,
  geography,
  external_key_id,
  residency: v.nullish(v.pipe(string, isGlobal)),
  // Not in OpenAI's API: the name of a tenant, which may have keys or senders already, and a preset of its limits.
  id: v.optional(string),
  environment,
});
const updateBody = object({ name: v.optional(v.nullable(name)), geography, external_key_id, environment });
type UpdateBody = v.InferOutput<typeof updateBody>;

/** Creates the collection of projects. */
export function createProjects({ table }: Pick<AdminApi, 'table'>): Collection<Project> {
  return createCollection(table, { type: 'project', schema: projectSchema });
}

/** Returns the project of the path parameter `project`. @throws LambentError `not_found` */
export function getProject(projects: Collection<Project>, request: HttpRequest): Promise<Project> {
  return projects.get(ORGANIZATION, getPathParameter(request, 'project'));
}

/** Returns the project of the path parameter `project`. Throws as `getProject`, and for a change as `getActiveProject`. */
export function getProjectFor(
  use: 'read' | 'change',
  api: Pick<AdminApi, 'table' | 'tenantKeys'>,
  request: HttpRequest,
): Promise<Project> {
  return use === 'read' ? getProject(createProjects(api), request) : getActiveProject(api, request);
}

/**
 * Like `getProject`, for requests that change something.
 * @throws LambentError `not_found`, `project_archived`, `tenant_deleted`, `vault_unavailable`
 */
export function getActiveProject(api: Pick<AdminApi, 'table' | 'tenantKeys'>, request: HttpRequest): Promise<Project> {
  return findActiveProject(api, getPathParameter(request, 'project'));
}

/** Returns the project with an id. Throws as `getActiveProject`. */
export async function findActiveProject(api: Pick<AdminApi, 'table' | 'tenantKeys'>, id: string): Promise<Project> {
  const project = await createProjects(api).get(ORGANIZATION, id);
  if (project.archivedAt !== null)
    throw new LambentError('project_archived', `The project ${id} is archived. It can't be used or changed.`);
  await requireKept(api, id);
  return project;
}

async function requireKept(api: Pick<AdminApi, 'tenantKeys'>, id: string): Promise<void> {
  if (await isErased(api, id))
    throw new LambentError('tenant_deleted', `The tenant ${id} was erased. Its project can't be used or changed.`);
}

/** Whether a tenant was erased. */
export async function isErased({ tenantKeys }: Pick<AdminApi, 'tenantKeys'>, id: string): Promise<boolean> {
  return (await tenantKeys.read(id))?.state === 'deleted';
}

/**
 * Creates the routes of projects.
 * @param enforceRoles makes the authorizer know what roles permit now in a project, and whether it is archived
 */
export function createProjectRoutes(api: AdminApi, enforceRoles: (projectId: string) => Promise<void>) {
  const projects = createProjects(api);
  const ports = { ...api, externalKeys: createExternalKeys(api) };

  const checkNewId = async (id: string): Promise<void> => {
    if (!isPrincipalId(id))
      throw invalidValueError(
        'id',
        "Invalid 'id': it must begin with a letter or digit and have at most 64 letters, digits, `.`, `_` or `-`.",
      );
    if (await isErased(api, id))
      throw new LambentError('tenant_deleted', `The tenant ${id} was erased. Its name can't be used again.`, {
        param: 'id',
      });
    await requireFree(id);
  };

  const requireFree = async (id: string): Promise<void> => {
    if ((await projects.find(ORGANIZATION, id)) !== undefined) throw takenError(id);
  };

  /** Changes a project's restrictions, which `change` returns. */
  const restrict = (id: string, change: (restrictions: Restrictions) => Restrictions | Promise<Restrictions>) =>
    api.policies.changeProject(id, async ({ status, restrictions }) => ({
      status,
      restrictions: await change(restrictions),
    }));

  /**
   * Restricts a project by the preset of its environment as it is stored then, so that of concurrent changes the last one that was
   * stored is enforced.
   */
  const enforceEnvironment = (id: string) =>
    restrict(id, async (each) => {
      const { environment } = await projects.get(ORGANIZATION, id);
      return environment === null ? each : applyPreset(each, environment);
    });

  /**
   * Creates a project that its environment restricts before it exists, so that there are no keys that it wouldn't restrict.
   * @returns a function that must be called if the project is deleted again. It restricts the tenant as before
   */
  const createRestricted = async (project: Project, environment: Environment): Promise<() => Promise<void>> => {
    const { id } = project;
    let before: Restrictions | undefined;
    const { restrictions } = await restrict(id, async (each) => {
      await requireFree(id);
      before = each;
      return applyPreset(each, environment);
    });
    /** Restricts the tenant as before, or by the preset of another project with its id. */
    const restore = async (): Promise<void> => {
      await restrict(id, async (each) => {
        // It is gone if its creation failed.
        const other = (await projects.find(ORGANIZATION, id))?.environment ?? null;
        if (other !== null) return applyPreset(each, other);
        return before !== undefined && isDeepStrictEqual(each, restrictions) ? before : each;
      });
    };
    if (await projects.create(ORGANIZATION, project)) {
      // A concurrent creation with this id may have applied its own preset.
      await enforceEnvironment(id);
      return restore;
    }
    await restore();
    throw takenError(id);
  };

  /** Creates a project without an environment. @returns as `createRestricted` */
  const createUnrestricted = async (project: Project): Promise<() => Promise<void>> => {
    if (!(await projects.create(ORGANIZATION, project))) throw takenError(project.id);
    return async () => {};
  };

  /**
   * Returns the project that a request updates. One that is archived must not need its external key for ever, so the key can be removed.
   * @throws as `getActiveProject`
   */
  const getUpdated = async (request: HttpRequest, body: UpdateBody): Promise<Project> => {
    const { external_key_id: externalKeyId, ...others } = body;
    const removesOnlyKey = externalKeyId === null && Object.values(others).every((value) => value === undefined);
    if (!removesOnlyKey) return getActiveProject(api, request);
    const project = await getProject(projects, request);
    await requireKept(api, project.id);
    return project;
  };

  /**
   * Checks that KMS accepts an external key, before a project is created that gets it.
   * @throws LambentError `not_found`; as `WrappingKeys.validate`
   */
  const checkExternalKey = async (id: string): Promise<void> => {
    const { kmsArn } = await ports.externalKeys.get(ORGANIZATION, id);
    await api.wrappingKeys.validate(kmsArn);
  };

  /**
   * Gives a new project its external key, or deletes the project and calls `restore`. Only the request that created a project may do
   * this: two requests with one id could leave the key of one wrapping the project of the other.
   */
  const setFirstKey = async (id: string, externalKeyId: string, restore: () => Promise<void>): Promise<Project> => {
    try {
      const record = () => projects.update(ORGANIZATION, id, (each) => ({ ...each, externalKeyId }));
      return await changeExternalKey(id, externalKeyId, ports, record);
    } catch (thrown) {
      if ((await projects.find(ORGANIZATION, id))?.externalKeyId === null) {
        await projects.delete(ORGANIZATION, id);
        await restore();
      }
      throw thrown;
    }
  };

  return {
    'GET /v1/organization/projects': createAdminRoute((request) => {
      const isAll = request.query['include_archived'] === 'true';
      return listObjects(request, projects, ORGANIZATION, encodeProject, (each) => isAll || each.archivedAt === null);
    }),

    'POST /v1/organization/projects': createBodyRoute(
      createBody,
      async (request, { id: wanted, name, environment, external_key_id: externalKeyId }) => {
        // A tenant may have other limits already, which the preset would replace.
        if (wanted !== undefined && environment !== undefined) requireScope(request, 'admin.limits.write');
        if (typeof externalKeyId === 'string') requireScope(request, 'admin.data.write');
        if (wanted !== undefined) await checkNewId(wanted);
        const now = api.now();
        const project: Project = {
          id: wanted ?? createObjectId('proj', now),
          createdAt: Math.floor(now / 1000),
          name,
          archivedAt: null,
          environment: environment ?? null,
          externalKeyId: null,
        };
        const { id } = project;
        if (typeof externalKeyId === 'string') await checkExternalKey(externalKeyId);
        const restore = await (environment === undefined
          ? createUnrestricted(project)
          : createRestricted(project, environment));
        const created = typeof externalKeyId === 'string' ? await setFirstKey(id, externalKeyId, restore) : project;
        const data = { name, title: name, environment: created.environment, external_key_id: created.externalKeyId };
        const details = { data };
        logAct(request.telemetry, { type: 'project.created', objectId: id, project: id, details });
        return encodeProject(created);
      },
    ),

    'GET /v1/organization/projects/{project}': createAdminRoute(async (request) =>
      encodeProject(await getProject(projects, request)),
    ),

    'POST /v1/organization/projects/{project}': createBodyRoute(updateBody, async (request, body) => {
      if (body.environment !== undefined) requireScope(request, 'admin.limits.write');
      if (body.external_key_id !== undefined) requireScope(request, 'admin.data.write');
      const before = await getUpdated(request, body);
      const { id } = before;
      const { environment, external_key_id: externalKeyId } = body;
      // First, because the key may be refused, and the request then changes nothing.
      if (externalKeyId !== undefined) {
        const record = () => projects.update(ORGANIZATION, id, (each) => ({ ...each, externalKeyId }));
        await changeExternalKey(id, externalKeyId, ports, record);
      }
      if (environment !== undefined) await restrict(id, (each) => applyStricterPreset(each, environment));
      const after = await projects.update(ORGANIZATION, id, (each) => ({
        ...each,
        name: body.name ?? each.name,
        environment: environment ?? each.environment,
      }));
      if (environment !== undefined) {
        await enforceEnvironment(id);
        await enforceRoles(id);
      }
      const details = {
        changes_requested: {
          title: after.name,
          environment: after.environment,
          external_key_id: after.externalKeyId,
        },
        previous: { title: before.name, environment: before.environment, external_key_id: before.externalKeyId },
      };
      logAct(request.telemetry, { type: 'project.updated', objectId: id, project: id, details });
      return encodeProject(after);
    }),

    'POST /v1/organization/projects/{project}/archive': createOptionalBodyRoute(object({}), async (request) => {
      const { id } = await getProject(projects, request);
      await api.policies.changeProject(id, (each) => ({ ...each, status: 'archived' }));
      const archivedAt = Math.floor(api.now() / 1000);
      const project = await projects.update(ORGANIZATION, id, (each) => ({
        ...each,
        archivedAt: each.archivedAt ?? archivedAt,
      }));
      await enforceRoles(id);
      logAct(request.telemetry, { type: 'project.archived', objectId: id, project: id });
      return encodeProject(project);
    }),
  };
}

function takenError(id: string): LambentError {
  return invalidValueError('id', `Invalid 'id': there is a project with the id ${id} already.`);
}

function encodeProject({ id, createdAt, archivedAt, name, environment, externalKeyId }: Project) {
  return {
    id,
    object: 'organization.project' as const,
    name,
    created_at: createdAt,
    archived_at: archivedAt,
    status: archivedAt === null ? 'active' : 'archived',
    external_key_id: externalKeyId,
    // Not in OpenAI's API.
    environment,
  };
}
