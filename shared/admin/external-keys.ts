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

/** What gives a project its external key. */
export interface ExternalKeyPorts {
  readonly tenantKeys: Pick<TenantKeyTable, 'read'>;
  readonly wrappingKeys: WrappingKeys;
  readonly externalKeys: Collection<ExternalKey>;
}

/**
 * Makes an external key wrap the keys of a project, or the deployment's key for null, and calls `record` to store what the
 * project shows. What it shows is true even after a crash: an external key is shown once it wraps all keys, and not from
 * before it no longer does.
 * @throws LambentError `not_found` if there is no such external key; as `WrappingKeys.change`
 */
export async function changeExternalKey<T>(
  project: string,
  id: string | null,
  { tenantKeys, wrappingKeys, externalKeys }: ExternalKeyPorts,
  record: () => Promise<T>,
): Promise<T> {
  const kmsArn = id === null ? undefined : (await externalKeys.get(ORGANIZATION, id)).kmsArn;
  if (kmsArn === undefined) await wrappingKeys.checkRemoval(project);
  else await wrappingKeys.change(project, kmsArn);
  const recorded = await record();
  if (kmsArn === undefined) await wrappingKeys.change(project, undefined);
  const keys = await tenantKeys.read(project);
  if (keys?.state !== 'active' || keys.externalKey === kmsArn) return recorded;
  throw new LambentError('overloaded', `Another request changed the external key of ${project} at the same time.`);
}
