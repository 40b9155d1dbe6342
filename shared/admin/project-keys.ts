import * as v from 'valibot';
import type { KeyRecord } from '../access/keys.ts';
import type { Scope } from '../access/scopes.ts';
import type { AdminApi } from './admin-routes.ts';
import { type KeyStore, keyFields } from './key-changes.ts';
import { makeKey } from './key-fields.ts';
import { createKeyStore } from './key-store.ts';
import { type Collection, createCollection, toProjectOwner } from './object-table.ts';

const projectKeySchema = v.object({
  ...keyFields,
  scopes: v.array(v.string()),
  owner: v.object({ type: v.picklist(['service_account', 'user']), id: v.string() }),
});

/** An API key of a project. Its id is the `keyId` of its calls. */
export type ProjectKey = v.InferOutput<typeof projectKeySchema>;

export interface NewKey extends Pick<ProjectKey, 'name' | 'owner' | 'expiresAt'> {
  readonly project: string;
  readonly scopes: readonly Scope[];
  /** The key's restrictions, as `encodeRestrictions` returns them. */
  readonly policy?: string | undefined;
  /** As in `ProjectKey`. */
  readonly replaces?: string;
}

/** The API keys of projects. Methods throw DynamoDB's errors. */
export interface ProjectKeys {
  readonly collection: Collection<ProjectKey>;
  /** Creates a key. Its value can't be read again: only its hash is stored. */
  create(key: NewKey): Promise<{ readonly key: ProjectKey; readonly value: string }>;
  /** Makes the authorizer refuse a key, then deletes it. Idempotent. */
  delete(project: string, key: ProjectKey): Promise<void>;
  /** Returns the keys of a project. */
  storeOf(project: string): KeyStore<ProjectKey>;
}

/** Creates the API keys of projects. */
export function createProjectKeys(api: AdminApi): ProjectKeys {
  const collection = createCollection(api.table, { type: 'api_key', schema: projectKeySchema });
  const storeOf = (project: string) => createKeyStore(api, toProjectOwner(project), collection);
  return {
    collection,
    delete: (project, key) => storeOf(project).delete(key),
    storeOf,

    async create({ project, name, owner, scopes, expiresAt, policy, replaces }) {
      const kind = owner.type === 'service_account' ? 'serviceAccount' : 'project';
      const { value, fields } = makeKey(kind, name, api.now());
      const key = { ...fields, scopes: [...scopes], expiresAt, owner, ...(replaces !== undefined && { replaces }) };
      await storeOf(project).create(key, value, toRecord(project, key, policy));
      return { key, value };
    },
  };
}

/** Returns what the authorizer reads of a key. */
function toRecord(project: string, key: ProjectKey, policy: string | undefined): KeyRecord {
  const { id, scopes, expiresAt } = key;
  return {
    tenant: project,
    keyId: id,
    scopes,
    ...(expiresAt === null ? {} : { expiresAt }),
    ...(policy === undefined ? {} : { policy }),
  };
}
