import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import { logAct } from '../audit/act.ts';
import { object, text, unsupported } from '../openai/schema.ts';
import { invalidValueError } from '../openai/validation.ts';
import {
  type AdminApi,
  createAdminRoute,
  createBodyRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listObjects,
} from './admin-routes.ts';
import { createIdentityProviders, getProvider } from './identity-providers.ts';
import { createPeople, type User } from './people.ts';
import { readList } from './query.ts';
import { createRoles, resolveRole, showRole } from './roles.ts';

const role = v.optional(v.nullable(text({ min: 1, max: 256 })));
const persona = unsupported('is not supported.');
// Not in OpenAI's API, whose users come by invites.
const createBody = object({
  email: text({ min: 3, max: 254, pattern: /^[^@\s]+@[^@\s]+$/ }),
  identity_provider_id: text({ min: 1, max: 256 }),
  subject: v.optional(v.nullable(text({ min: 1, max: 512 }))),
  name: v.optional(v.nullable(text({ min: 1, max: 256 }))),
  role,
});
const updateBody = object({ role, role_id: role, developer_persona: persona, technical_level: persona });

/** Creates the routes of users. */
export function createUserRoutes(api: AdminApi) {
  const { users, claimIdentity, confirmRole, enforce } = createPeople(api);
  const providers = createIdentityProviders(api);
  const roles = createRoles(api);

  const remove = async (id: string): Promise<void> => {
    // A repeated request finds a user whose deletion was interrupted.
    const user = await users.collection.update(ORGANIZATION, id, (each) => ({ ...each, deleted: true }));
    await enforce(user);
    await users.collection.delete(ORGANIZATION, id);
  };

  return {
    'GET /v1/organization/users': createAdminRoute((request) => {
      const emails = readList(request.query, 'emails')?.map((email) => email.toLowerCase());
      const isWanted = ({ deleted, email }: User) => !deleted && (emails === undefined || emails.includes(email));
      return listObjects(request, users.collection, ORGANIZATION, encodeUser, isWanted);
    }),

    'POST /v1/organization/users': createBodyRoute(createBody, async (request, body) => {
      const provider = await getProvider(providers, body.identity_provider_id);
      const email = body.email.toLowerCase();
      const user: User = {
        id: createUserId(provider.id, email),
        createdAt: Math.floor(api.now() / 1000),
        roles: typeof body.role === 'string' ? [await resolveRole(roles, ORGANIZATION, body.role)] : [],
        projects: [],
        name: body.name ?? null,
        email,
        providerId: provider.id,
        subject: body.subject ?? null,
        groups: [],
        deleted: false,
        policy: null,
      };
      if ((await users.collection.find(ORGANIZATION, user.id)) !== undefined) throw emailTakenError();
      await claimIdentity(user);
      if (!(await users.collection.create(ORGANIZATION, user))) {
        // Another request has created it just now, and the claim may have withdrawn what it may do.
        await enforce(await users.get(user.id));
        throw emailTakenError();
      }
      try {
        for (const role of user.roles) await confirmRole(ORGANIZATION, role);
      } catch (thrown) {
        await remove(user.id);
        throw thrown;
      }
      logAct(request.telemetry, { type: 'user.added', objectId: user.id, details: { data: { role: body.role } } });
      return encodeUser(user);
    }),

    'GET /v1/organization/users/{user}': createAdminRoute(async (request) =>
      encodeUser(await users.get(getPathParameter(request, 'user'))),
    ),

    'POST /v1/organization/users/{user}': createOptionalBodyRoute(updateBody, async (request, body) => {
      const wanted = body.role_id ?? body.role;
      const ids = typeof wanted === 'string' ? [await resolveRole(roles, ORGANIZATION, wanted)] : undefined;
      const user = await users.change(getPathParameter(request, 'user'), (each) => ({ roles: ids ?? each.roles }));
      for (const id of ids ?? []) await confirmRole(ORGANIZATION, id);
      logAct(request.telemetry, { type: 'user.updated', objectId: user.id, details: { changes_requested: body } });
      return encodeUser(user);
    }),

    'DELETE /v1/organization/users/{user}': createAdminRoute(async (request) => {
      const id = getPathParameter(request, 'user');
      await remove(id);
      logAct(request.telemetry, { type: 'user.deleted', objectId: id });
      return { id, object: 'organization.user.deleted' as const, deleted: true };
    }),
  };
}

/**
 * Returns an id in the form that `getPrincipalKind` knows. It is the same for the same e-mail address of a provider, so that no two
 * users have that.
 */
function createUserId(providerId: string, email: string): string {
  const hash = createHash('sha256').update(JSON.stringify([providerId, email]));
  return `user_${hash.digest('hex').slice(0, 28)}`;
}

function emailTakenError() {
  return invalidValueError('email', "Invalid 'email': there is a user of the provider with it already.");
}

/** Encodes a user as the API shows it. */
export function encodeUser({ id, createdAt, name, email, roles, projects, providerId, subject }: User) {
  return {
    id,
    object: 'organization.user' as const,
    added_at: createdAt,
    created: createdAt,
    name,
    email,
    role: showRole(roles) ?? null,
    is_service_account: false,
    is_scim_managed: false,
    projects: {
      object: 'list' as const,
      data: projects.map((project) => ({ id: project.id, name: null, role: showRole(project.roles) ?? null })),
    },
    user: { id, object: 'user' as const, name, email, enabled: true },
    // Not in OpenAI's API.
    identity_provider_id: providerId,
    subject,
  };
}
