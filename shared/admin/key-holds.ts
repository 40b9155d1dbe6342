import * as v from 'valibot';
import { wasUsed } from '../abuse/activity-table.ts';
import { createHoldTable, MAX_HOLDS } from '../access/hold-table.ts';
import type { Hold } from '../access/holds.ts';
import { isPrincipalId } from '../access/keys.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { getPrincipalKind } from '../access/principal-kind.ts';
import type { HttpRequest } from '../access/route.ts';
import { getSenderId, type SenderRecord } from '../access/senders.ts';
import { logAct } from '../audit/act.ts';
import { LambentError } from '../core/errors.ts';
import { integer, object } from '../openai/schema.ts';
import {
  type AdminApi,
  createAdminRoute,
  createOptionalBodyRoute,
  getPathParameter,
  listArray,
} from './admin-routes.ts';
import { objectNotFoundError, toProjectOwner } from './object-table.ts';
import { createPeople } from './people.ts';
import { createProjectKeys } from './project-keys.ts';
import { createProjects, getActiveProject, getProject } from './projects.ts';
import { createSenderItems } from './sender-items.ts';
import { createServiceAccounts } from './service-accounts.ts';
import type { UsageApi } from './usage.ts';

const LONGEST_HOLD_SECONDS = 366 * 86_400;
const holdBody = object({ hold_seconds: v.optional(integer(1, LONGEST_HOLD_SECONDS), 86_400) });

/** Creates the routes of held keys, which OpenAI's API doesn't have. The path parameter `key` is the `keyId` of the log. */
export function createKeyHoldRoutes(api: AdminApi & Pick<UsageApi, 'usage'>) {
  const projects = createProjects(api);
  const holds = createHoldTable(api.access, api.now);
  const keys = createProjectKeys(api);
  const accounts = createServiceAccounts(api);
  const people = createPeople(api);
  const senders = createSenderItems(api.access);

  const findSender = async (project: string, id: string): Promise<SenderRecord | undefined> => {
    // Without a session's name, by which intake would not find the hold.
    const record = id === getSenderId(id) ? (await senders.read(id))?.record : undefined;
    return record?.tenants.includes(project) ? record : undefined;
  };

  /** Returns whether an id is that of a key that only the access table has, which is not found there by its id. */
  const isKnownKey = async (project: string, id: string): Promise<boolean> => {
    if (getPrincipalKind(id) !== 'api_key' || !isPrincipalId(id)) return false;
    // A held key isn't used, so it would be unknown to a request that prolongs the hold.
    return (await wasUsed(api.usage, project, id)) || Object.hasOwn(await holds.list(project), id);
  };

  /** @throws LambentError `not_found` for an unknown id, so that a misspelt one is noticed */
  const requireCaller = async (project: string, id: string): Promise<void> => {
    const found =
      (await keys.collection.find(toProjectOwner(project), id)) ??
      (await accounts.find(toProjectOwner(project), id)) ??
      (await people.users.collection.find(ORGANIZATION, id)) ??
      (await findSender(project, id));
    if (found === undefined && !(await isKnownKey(project, id))) throw objectNotFoundError(getPrincipalKind(id), id);
  };

  return {
    'GET /v1/organization/projects/{project}/key_holds': createAdminRoute(async (request) => {
      const { id } = await getProject(projects, request);
      const all = Object.entries(await holds.list(id));
      return listArray(
        request,
        all.map(([key, hold]) => encodeHold(key, hold)),
      );
    }),

    'POST /v1/organization/projects/{project}/key_holds/{key}': createOptionalBodyRoute(
      holdBody,
      async (request, { hold_seconds: seconds }) => {
        const project = await getActiveProject(api, request);
        const key = getPathParameter(request, 'key');
        await requireCaller(project.id, key);
        const since = Math.floor(api.now() / 1000);
        const hold = { since, until: since + seconds, reason: 'manual' };
        if (!(await holds.place(project.id, key, hold)))
          throw new LambentError(
            'invalid_value',
            `The project has ${MAX_HOLDS} held keys, the maximum. Release some of them.`,
          );
        const details = { data: { reason: hold.reason, held_until: hold.until } };
        logHold(request, 'held', details);
        return encodeHold(key, hold);
      },
    ),

    'DELETE /v1/organization/projects/{project}/key_holds/{key}': createAdminRoute(async (request) => {
      const project = await getProject(projects, request);
      const key = getPathParameter(request, 'key');
      const released = await holds.release(project.id, key);
      if (released === undefined) throw objectNotFoundError('key_hold', key);
      const details = { previous: { reason: released.reason, held_until: released.until } };
      logHold(request, 'released', details);
      return { id: key, object: 'organization.project.key_hold.deleted' as const, deleted: true };
    }),
  };
}

/** Logs the act of a request that holds or releases the caller of its path. */
function logHold(request: HttpRequest, change: 'held' | 'released', details: Readonly<Record<string, unknown>>): void {
  const [objectId, project] = [getPathParameter(request, 'key'), getPathParameter(request, 'project')];
  logAct(request.telemetry, { type: `${getPrincipalKind(objectId)}.${change}`, objectId, project, details });
}

function encodeHold(id: string, { since, until, reason }: Hold) {
  return { id, object: 'organization.project.key_hold' as const, created_at: since, held_until: until, reason };
}
