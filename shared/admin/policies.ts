import type { KeyRecord } from '../access/keys.ts';
import type { Restrictions } from '../access/policy.ts';
import { encodeRestrictions, restrictionsBody } from '../access/policy-schema.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import { jsonObject } from '../openai/schema.ts';
import { invalidValueError, validate } from '../openai/validation.ts';
import { type AdminApi, createAdminRoute, getPathParameter, requireScope } from './admin-routes.ts';
import { checkGuardrailNames, checkNameFinder } from './guardrail-names.ts';
import { checkModelNames } from './model-names.ts';
import { toProjectOwner } from './object-table.ts';
import { type FindLevel, findOrganization, findProjectLevel, logRestriction } from './policy-parts.ts';
import { createProjectKeys } from './project-keys.ts';
import { createProjects, getActiveProject, getProject } from './projects.ts';

/**
 * Creates the routes of policies, which OpenAI's API doesn't have: all that restricts the organization, a project or a key. A
 * POST replaces the sections that its body names, and removes those that are null there.
 */
export function createPolicyRoutes(api: AdminApi) {
  const projects = createProjects(api);
  const keys = createProjectKeys(api);
  const readAccount = async () => [await api.policies.readAccount()];
  const organization = createRoutes(api, findOrganization(api), async () => []);
  const project = createRoutes(api, findProjectLevel(api, projects), readAccount);

  const findKey = async (request: HttpRequest, projectId: string) => {
    const key = await keys.collection.get(toProjectOwner(projectId), getPathParameter(request, 'key'));
    const record = await keys.enforced.read(key.partition);
    if (record !== undefined) return { ...key, record };
    throw new LambentError('invalid_value', `The key ${key.id} has expired or was revoked.`);
  };

  return {
    'GET /v1/organization/policy': organization.retrieve,
    'POST /v1/organization/policy': organization.update,
    'GET /v1/organization/projects/{project}/policy': project.retrieve,
    'POST /v1/organization/projects/{project}/policy': project.update,

    'GET /v1/organization/projects/{project}/api_keys/{key}/policy': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const { record } = await findKey(request, id);
      return encodePolicy('organization.project.api_key', parseRestrictions(record));
    }),

    'POST /v1/organization/projects/{project}/api_keys/{key}/policy': createPolicyUpdate(async (request) => {
      const sections = parseSections(request, api);
      const project = await getActiveProject(api, request);
      await checkNameFinder(sections, async () => {
        const { restrictions } = await api.policies.readProject(project.id);
        return [restrictions, ...(await readAccount())];
      });
      const { id, partition, record } = await findKey(request, project.id);
      const restrictions = replaceSections(parseRestrictions(record), sections, api);
      const { policy: _, ...others } = record;
      const policy = encodeRestrictions('key', restrictions);
      if (!(await keys.enforced.change(partition, record, policy === undefined ? others : { ...others, policy })))
        throw new LambentError('overloaded', `Another request has changed the key ${id}.`);
      const details = { changes_requested: { policy: sections }, previous: parseRestrictions(record) };
      logAct(request.telemetry, { type: 'api_key.updated', objectId: id, project: project.id, details });
      return encodePolicy('organization.project.api_key', restrictions);
    }),
  };
}

/** @param readAbove reads the restrictions of the levels above */
function createRoutes(api: AdminApi, findLevel: FindLevel, readAbove: () => Promise<readonly Restrictions[]>) {
  return {
    retrieve: createAdminRoute(async (request) => {
      const level = await findLevel(request, 'read');
      return encodePolicy(level.name, await level.read());
    }),

    update: createPolicyUpdate(async (request) => {
      const sections = parseSections(request, api);
      const level = await findLevel(request, 'change');
      await checkNameFinder(sections, readAbove);
      const previous = await level.read();
      const restrictions = await level.change((each) => replaceSections(each, sections, api));
      logRestriction(request, level, { policy: sections }, previous);
      return encodePolicy(level.name, restrictions);
    }),
  };
}

/** Creates a route whose body is described by a schema, but checked by `encodeRestrictions` together with what it changes. */
function createPolicyUpdate<T>(run: (request: HttpRequest) => Promise<T>) {
  return { ...createAdminRoute(run), bodySchema: restrictionsBody };
}

/** The scopes of the routes that set single sections. */
const SECTION_SCOPES = {
  models: 'admin.projects.write',
  retention: 'admin.data.write',
  certificates: 'admin.identity.write',
} as const;

type Sections = Readonly<Record<string, unknown>>;

/**
 * Returns the sections that a request's body names. Of these, only the names of guardrails are checked yet.
 * @throws LambentError `insufficient_permissions`, `invalid_value`
 */
function parseSections(request: HttpRequest, { guardrails }: AdminApi): Sections {
  // What a GET returned may be sent back.
  const { object: _, ...sections } = validate(jsonObject, request.body);
  for (const [section, scope] of Object.entries(SECTION_SCOPES)) if (section in sections) requireScope(request, scope);
  if ((sections['certificates'] ?? null) !== null)
    throw invalidValueError(
      'certificates',
      "Invalid 'certificates': Expected null. Other routes activate certificates.",
    );
  checkGuardrailNames(sections, guardrails);
  return sections;
}

/**
 * Returns restrictions with sections replaced. `encodeRestrictions` checks them before they are stored.
 * @throws LambentError as `checkModelNames`
 */
function replaceSections(restrictions: Restrictions, sections: Sections, api: AdminApi): Restrictions {
  checkModelNames(listModelNames(sections), api, restrictions);
  const replaced = Object.entries({ ...restrictions, ...sections }).filter(([, section]) => section !== null);
  return Object.fromEntries(replaced);
}

/** Returns the names of models in the sections that a request sets. Values of other types are refused by the schema. */
function listModelNames({ models, limits }: Sections): (readonly [name: string, param: string])[] {
  const permitted = isObject(models) && Array.isArray(models['models']) ? models['models'] : [];
  const limited = isObject(limits) && isObject(limits['models']) ? Object.keys(limits['models']) : [];
  return [
    ...permitted.flatMap((name: unknown, index) =>
      typeof name === 'string' ? [[name, `models.models[${index}]`] as const] : [],
    ),
    ...limited.map((name) => [name, 'limits.models'] as const),
  ];
}

function parseRestrictions({ policy }: KeyRecord): Restrictions {
  return policy === undefined ? {} : JSON.parse(policy);
}

type PolicyOwner = 'organization' | 'project' | 'organization.project.api_key';

/** The routes of certificates show which are active. */
function encodePolicy(name: PolicyOwner, { certificates: _, ...restrictions }: Restrictions) {
  return { object: `${name}.policy` as const, ...restrictions };
}
