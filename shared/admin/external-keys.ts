import * as v from 'valibot';
import { ORGANIZATION } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import type { TenantKeyTable } from '../vault/key-table.ts';
import type { WrappingKeys } from '../vault/wrapping-key.ts';
import type { AdminApi } from './admin-routes.ts';
import { type Collection, createCollection } from './object-table.ts';

const externalKeySchema = v.object({
  id: v.string(),
  createdAt: v.number(),
  name: v.string(),
  kmsArn: v.string(),
});
/** A customer's own KMS key. It wraps the tenant keys of the projects that have it. */
export type ExternalKey = v.InferOutput<typeof externalKeySchema>;

/** Creates the collection of external keys. */
export function createExternalKeys({ table }: Pick<AdminApi, 'table'>): Collection<ExternalKey> {
  return createCollection(table, { type: 'external_key', schema: externalKeySchema });
}

/** What `changeExternalKey` uses. */
export interface ExternalKeyPorts {
  readonly tenantKeys: Pick<TenantKeyTable, 'read'>;
  readonly wrappingKeys: WrappingKeys;
  readonly externalKeys: Collection<ExternalKey>;
}

/**
 * Makes an external key wrap the keys of a project, or the deployment's key for null, and calls `record` to store which key the
 * project shows. Even after a crash, a project shows only an external key that wraps all of its keys: `record` is called after
 * an external key was set, but before one is removed. An external key that is deleted meanwhile is stored again.
 * @throws LambentError `not_found` if there is no such external key; as `WrappingKeys.change`
 */
export async function changeExternalKey<T>(
  project: string,
  id: string | null,
  { tenantKeys, wrappingKeys, externalKeys }: ExternalKeyPorts,
  record: () => Promise<T>,
): Promise<T> {
  const key = id === null ? undefined : await externalKeys.get(ORGANIZATION, id);
  const kmsArn = key?.kmsArn;
  if (kmsArn === undefined) await wrappingKeys.checkRemoval(project);
  else await wrappingKeys.change(project, kmsArn);
  const recorded = await record();
  // A deletion that saw no project with the key may have deleted it meanwhile. One that is still to come sees this project.
  if (key !== undefined) await externalKeys.create(ORGANIZATION, key);
  if (kmsArn === undefined) await wrappingKeys.change(project, undefined);
  const keys = await tenantKeys.read(project);
  if (keys?.state !== 'active' || keys.externalKey === kmsArn) return recorded;
  throw new LambentError('overloaded', `Another request changed the external key of ${project} at the same time.`);
}
