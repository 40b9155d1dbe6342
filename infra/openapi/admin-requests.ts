import type * as v from 'valibot';
import { createAdministrationRoutes } from '../../shared/admin/routes.ts';
import { ADMIN_SUMMARIES, toIdentifier } from './admin-operations.ts';

/** The body of a request of the administration. */
export interface AdminBody {
  /** The name of its component. Routes whose bodies have one schema have one name. */
  readonly name: string;
  readonly schema: v.GenericSchema;
  readonly isOptional: boolean;
}

/** Lists the bodies of the administration's requests, by route. A route without an entry takes none. */
export function listAdminBodies(): ReadonlyMap<string, AdminBody> {
  // Nothing is called: the routes only tell their schemas. With mutual TLS, those of certificates have some.
  const api = { hasMutualTls: true } as Parameters<typeof createAdministrationRoutes>[0];
  const names = new Map<v.GenericSchema, string>();
  return new Map(
    Object.entries(createAdministrationRoutes(api)).flatMap(([route, part]): [string, AdminBody][] => {
      if (!('bodySchema' in part)) return [];
      const schema = part.bodySchema as v.GenericSchema;
      const name = names.get(schema) ?? toName(ADMIN_SUMMARIES[route as keyof typeof ADMIN_SUMMARIES]);
      names.set(schema, name);
      return [[route, { name, schema, isOptional: 'bodyOptional' in part }]];
    }),
  );
}

/** `Create a project` becomes `CreateProjectRequest`. */
function toName(summary: string): string {
  const id = toIdentifier(summary);
  return `${id.charAt(0).toUpperCase()}${id.slice(1)}Request`;
}
