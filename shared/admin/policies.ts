import type { Restrictions } from '../access/policy.ts';
import { decodeRestrictions } from '../access/policy-json.ts';
import { checkSectionNames, encodeRestrictions, restrictionsBody } from '../access/policy-schema.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { isObject, omitUndefined } from '../core/objects.ts';
import { jsonObject } from '../openai/schema.ts';
import { invalidValueError, validate } from '../openai/validation.ts';
import { createAdminKeys, encodeAddresses } from './admin-keys.ts';
import { type AdminApi, createAdminRoute, getPathParameter, requireScope } from './admin-routes.ts';
import { createEnforcedKeys, type EnforcedKeys } from './enforced-keys.ts';
import { checkGuardrailNames, checkNameFinder } from './guardrail-names.ts';
import { checkModelNames } from './model-names.ts';
import { objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createPeople } from './people.ts';
import { type FindLevel, findOrganization, findProjectLevel } from './policy-parts.ts';
import { createProjectKeys } from './project-keys.ts';
import { getProjectFor } from './projects.ts';
import { createServiceAccounts } from './service-accounts.ts';

/** The organization, a project, or a caller that a policy restricts. */
interface Restricted {
  /** OpenAI's name for its type. */
  readonly name:
    | 'organization'
    | 'project'
    | 'organization.project.api_key'
    | 'organization.project.service_account'
    | 'organization.admin_api_key'
    | 'organization.user';
  /** The act that a change is. */
  readonly act: { readonly type: string; readonly objectId: string; readonly project?: string };
  read(): Promise<Restrictions>;
  /** Reads the restrictions of the levels above. */
  readAbove(): Promise<readonly Restrictions[]>;
  /** Replaces the restrictions by `change` of them, which may be called again. Throws LambentError `invalid_value`. */
  change(change: (restrictions: Restrictions) => Restrictions): Promise<Restrictions>;
}

/** Finds what the policy in a request's path restricts. @throws LambentError `not_found`, or as `getActiveProject` for a change */
type FindRestricted = (request: HttpRequest, use: 'read' | 'change') => Promise<Restricted>;

/**
 * Creates the routes of policies, which OpenAI's API doesn't have: all that restricts the organization, a project, a key, or the
 * tokens of a service account or user. A POST replaces the sections that its body names, and removes those that are null there.
 */
export function createPolicyRoutes(api: AdminApi) {
  const organization = createRoutes(api, findLevel(api, findOrganization(api)));
  const project = createRoutes(api, findLevel(api, findProjectLevel(api)));
  const key = createRoutes(api, findKey(api));
  const adminKey = createRoutes(api, findAdminKey(api));
  const account = createRoutes(api, findServiceAccount(api));
  const user = createRoutes(api, findUser(api));
  return {
    'GET /v1/organization/policy': organization.retrieve,
    'POST /v1/organization/policy': organization.update,
    'GET /v1/organization/projects/{project}/policy': project.retrieve,
    'POST /v1/organization/projects/{project}/policy': project.update,
    'GET /v1/organization/projects/{project}/api_keys/{key}/policy': key.retrieve,
    'POST /v1/organization/projects/{project}/api_keys/{key}/policy': key.update,
    'GET /v1/organization/projects/{project}/service_accounts/{account}/policy': account.retrieve,
    'POST /v1/organization/projects/{project}/service_accounts/{account}/policy': account.update,
    'GET /v1/organization/admin_api_keys/{key}/policy': adminKey.retrieve,
    'POST /v1/organization/admin_api_keys/{key}/policy': adminKey.update,
    'GET /v1/organization/users/{user}/policy': user.retrieve,
    'POST /v1/organization/users/{user}/policy': user.update,
  };
}

function createRoutes(api: AdminApi, find: FindRestricted) {
  return {
    retrieve: createAdminRoute(async (request) => {
      const { name, read } = await find(request, 'read');
      return encodePolicy(name, await read());
    }),

    update: createPolicyUpdate(async (request) => {
      const sections = parseSections(request, api);
      const { name, act, read, readAbove, change } = await find(request, 'change');
      await checkNameFinder(sections, readAbove);
      const previous = await read();
      const restrictions = await change((each) => replaceSections(each, sections, api));
      logAct(request.telemetry, { ...act, details: { changes_requested: { policy: sections }, previous } });
      return encodePolicy(name, restrictions);
    }),
  };
}

/** Creates a route whose body is described by a schema, but checked by `encodeRestrictions` together with what it changes. */
function createPolicyUpdate<T>(run: (request: HttpRequest) => Promise<T>) {
  return { ...createAdminRoute(run), bodySchema: restrictionsBody };
}

function findLevel({ policies }: AdminApi, find: FindLevel): FindRestricted {
  return async (request, use) => {
    const { name, project, read, change } = await find(request, use);
    const type = `${name}.updated`;
    const act = project === undefined ? { type, objectId: ORGANIZATION } : { type, objectId: project, project };
    const readAbove = async () => (project === undefined ? [] : [await policies.readAccount()]);
    return { name, act, read, readAbove, change };
  };
}

function findKey(api: AdminApi): FindRestricted {
  const keys = createProjectKeys(api);
  return async (request, use) => {
    const project = await getProjectFor(use, api, request);
    const key = await keys.collection.get(toProjectOwner(project.id), getPathParameter(request, 'key'));
    return {
      name: 'organization.project.api_key',
      act: { type: 'api_key.updated', objectId: key.id, project: project.id },
      ...(await findKeyRestrictions(keys.storeOf(project.id).enforced, key)),
      readAbove: () => readProjectAndAccount(api, project.id),
    };
  };
}

function findAdminKey(api: AdminApi): FindRestricted {
  const keys = createAdminKeys(api.table);
  const enforced = createEnforcedKeys(api.access);
  return async (request) => {
    const key = await keys.get(ORGANIZATION, getPathParameter(request, 'key'));
    const { read, change } = await findKeyRestrictions(enforced, key);
    return {
      name: 'organization.admin_api_key',
      act: { type: 'tenant.admin_api_key.updated', objectId: key.id },
      read,
      readAbove: async () => [],

      change: (toNext) =>
        change((before) => {
          const next = toNext(before);
          encodeRestrictions('key', next, before);
          const { ipRanges, ...others } = next;
          const [section] = Object.keys(others);
          if (section !== undefined)
            throw invalidValueError(section, `Invalid '${section}': the policy of an admin key has only 'ipRanges'.`);
          if (key.id === request.principal.keyId)
            throw invalidValueError(
              'ipRanges',
              "Invalid 'ipRanges': an admin key can't change its own addresses, because it could lock itself out. Use another one.",
            );
          encodeAddresses(ipRanges, request, 'ipRanges', before);
          return omitUndefined({ ipRanges });
        }),
    };
  };
}

/** @throws LambentError `invalid_value` if a key has expired or was revoked */
async function findKeyRestrictions(
  enforced: EnforcedKeys,
  { id, partition }: { readonly id: string; readonly partition: string },
): Promise<Pick<Restricted, 'read' | 'change'>> {
  const record = await enforced.read(partition);
  const revokedError = new LambentError('invalid_value', `The key ${id} has expired or was revoked.`);
  if (record === undefined) throw revokedError;
  return {
    read: async () => decodeRestrictions(record.policy),

    async change(change) {
      const changed = await enforced.change(partition, ({ policy, ...others }) => {
        const before = decodeRestrictions(policy);
        return omitUndefined({ ...others, policy: encodeRestrictions('key', change(before), before) });
      });
      if (changed === undefined) throw revokedError;
      return decodeRestrictions(changed.policy);
    },
  };
}

function findServiceAccount(api: AdminApi): FindRestricted {
  const accounts = createServiceAccounts(api);
  return async (request, use) => {
    const project = await getProjectFor(use, api, request);
    const id = getPathParameter(request, 'account');
    const account = await accounts.get(toProjectOwner(project.id), id);
    if (account.deleted) throw objectNotFoundError('service_account', id);
    return {
      name: 'organization.project.service_account',
      act: { type: 'service_account.updated', objectId: id, project: project.id },
      read: () => api.policies.readServiceAccount(project.id, id),
      readAbove: () => readProjectAndAccount(api, project.id),
      change: (change) => api.policies.changeServiceAccount(project.id, id, change),
    };
  };
}

function findUser(api: AdminApi): FindRestricted {
  const { users } = createPeople(api);
  return async (request) => {
    const { id, policy } = await users.get(getPathParameter(request, 'user'));
    return {
      name: 'organization.user',
      act: { type: 'user.updated', objectId: id },
      read: async () => decodeRestrictions(policy),
      // Not those of its projects, which may become others.
      readAbove: async () => [await api.policies.readAccount()],

      async change(change) {
        const user = await users.change(id, (current) => {
          const before = decodeRestrictions(current.policy);
          return { policy: encodeRestrictions('key', change(before), before) ?? null };
        });
        return decodeRestrictions(user.policy);
      },
    };
  };
}

async function readProjectAndAccount({ policies }: AdminApi, project: string): Promise<readonly Restrictions[]> {
  const { restrictions } = await policies.readProject(project);
  return [restrictions, await policies.readAccount()];
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
 * @throws LambentError `unknown_parameter`, or as `checkModelNames`
 */
function replaceSections(restrictions: Restrictions, sections: Sections, api: AdminApi): Restrictions {
  // Those that are null aren't seen by `encodeRestrictions`, but are logged.
  checkSectionNames(sections, restrictions);
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

/** The routes of certificates show which are active. */
function encodePolicy(name: Restricted['name'], { certificates: _, ...restrictions }: Restrictions) {
  return { object: `${name}.policy` as const, ...restrictions };
}
