import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { object, text } from '../openai/schema.ts';
import { validate } from '../openai/validation.ts';
import { type AdminApi, adminRoute, getPathParameter, listObjects } from './admin-routes.ts';
import { type Collection, createCollection, createObjectId } from './object-table.ts';

/** A project. Its id is the name of its tenant. */
const projectSchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  archivedAt: v.nullable(v.number()),
});
export type Project = v.InferOutput<typeof projectSchema>;

const name = text({ min: 1, max: 256 });
const createBody = object({ name });
const updateBody = object({ name: v.optional(v.nullable(name)) });

/** Creates the collection of projects. */
export function createProjects({ table }: AdminApi): Collection<Project> {
  return createCollection(table, { type: 'project', schema: projectSchema });
}

/** Returns the project of the path parameter `project`. @throws LambentError `not_found` */
export function getProject(projects: Collection<Project>, request: HttpRequest): Promise<Project> {
  return projects.get(ORGANIZATION, getPathParameter(request, 'project'));
}

/** Like `getProject`, for requests that change something. @throws LambentError `invalid_value` if it is archived */
export async function getActiveProject(projects: Collection<Project>, request: HttpRequest): Promise<Project> {
  const project = await getProject(projects, request);
  if (project.archivedAt === null) return project;
  throw new LambentError('invalid_value', `The project ${project.id} is archived. It can't be used or changed.`);
}

/** Creates the routes of projects. */
export function createProjectRoutes(api: AdminApi) {
  const projects = createProjects(api);
  return {
    'GET /v1/organization/projects': adminRoute((request) => {
      const isAll = request.query['include_archived'] === 'true';
      return listObjects(request, projects, ORGANIZATION, encodeProject, (each) => isAll || each.archivedAt === null);
    }),

    'POST /v1/organization/projects': adminRoute(async (request) => {
      const body = validate(createBody, request.body);
      const now = api.now();
      const project = {
        id: createObjectId('proj', now),
        createdAt: Math.floor(now / 1000),
        name: body.name,
        archivedAt: null,
      };
      await projects.create(ORGANIZATION, project);
      const { id } = project;
      logAct(request.telemetry, { type: 'project.created', objectId: id, project: id, details: { data: { name } } });
      return encodeProject(project);
    }),

    'GET /v1/organization/projects/{project}': adminRoute(async (request) =>
      encodeProject(await getProject(projects, request)),
    ),

    'POST /v1/organization/projects/{project}': adminRoute(async (request) => {
      const body = validate(updateBody, request.body);
      const before = await getActiveProject(projects, request);
      const { id } = before;
      const after = await projects.update(ORGANIZATION, id, (each) => ({ ...each, name: body.name ?? each.name }));
      const details = { changes_requested: { title: after.name }, previous: { title: before.name } };
      logAct(request.telemetry, { type: 'project.updated', objectId: id, project: id, details });
      return encodeProject(after);
    }),
  };
}

function encodeProject({ id, createdAt, archivedAt, name }: Project) {
  return {
    id,
    object: 'organization.project',
    name,
    created_at: createdAt,
    archived_at: archivedAt,
    status: archivedAt === null ? 'active' : 'archived',
    external_key_id: null,
  };
}
