import type { Limits } from '../access/limit-policy.ts';
import type { Restrictions } from '../access/policy.ts';
import { ORGANIZATION } from '../access/principal.ts';
import type { HttpRequest } from '../access/route.ts';
import { logAct } from '../audit/act.ts';
import { omitUndefined } from '../core/objects.ts';
import type { AdminApi } from './admin-routes.ts';
import { type Owner, toProjectOwner } from './object-table.ts';
import { getProjectFor } from './projects.ts';

/**
 * The restrictions of the organization or of a project. They are stored once, where they are enforced: the resources of the
 * administration API that show parts of them have no copies.
 */
export interface RestrictedLevel {
  readonly owner: Owner;
  /** OpenAI's name of the level, with which the types of its objects begin. */
  readonly name: 'organization' | 'project';
  /** The project's id. */
  readonly project?: string;
  read(): Promise<Restrictions>;
  /** Replaces the restrictions by `change` of them, which may be called again. Throws LambentError `invalid_value`. */
  change(change: (restrictions: Restrictions) => Restrictions): Promise<Restrictions>;
}

/** Finds the level that a request is about. @throws LambentError `not_found`, or as `getActiveProject` for a change */
export type FindLevel = (request: HttpRequest, use: 'read' | 'change') => Promise<RestrictedLevel>;

/** Returns the level of the organization. */
export function findOrganization({ policies }: AdminApi): FindLevel {
  return async () => ({
    owner: ORGANIZATION,
    name: 'organization',
    read: () => policies.readAccount(),
    change: (change) => policies.changeAccount(change),
  });
}

/** Returns the level of the project that a request's path names. */
export function findProjectLevel(api: AdminApi): FindLevel {
  const { policies } = api;
  return async (request, use) => {
    const { id } = await getProjectFor(use, api, request);
    return {
      owner: toProjectOwner(id),
      name: 'project',
      project: id,
      read: async () => (await policies.readProject(id)).restrictions,
      change: async (change) => {
        const changed = await policies.changeProject(id, ({ status, restrictions }) => ({
          status,
          restrictions: change(restrictions),
        }));
        return changed.restrictions;
      },
    };
  };
}

/** Limits to replace. One that is undefined is removed. */
type LimitChanges = { readonly [Name in keyof Limits]?: Limits[Name] | undefined };

/** Returns restrictions with some limits replaced, and without the section if no limit is left. */
export function withLimits({ limits: all, ...sections }: Restrictions, changes: LimitChanges): Restrictions {
  const limits: Limits = omitUndefined({ ...all, ...changes });
  return Object.keys(limits).length === 0 ? sections : { ...sections, limits };
}

/** Logs a change of a level's restrictions. `changes` has OpenAI's names for them. */
export function logRestriction(
  request: HttpRequest,
  { name, project }: RestrictedLevel,
  changes: Readonly<Record<string, unknown>>,
  previous?: unknown,
): void {
  const scope = project === undefined ? { objectId: ORGANIZATION } : { objectId: project, project };
  const details = { changes_requested: changes, ...(previous === undefined ? {} : { previous }) };
  logAct(request.telemetry, { type: `${name}.updated`, ...scope, details });
}
