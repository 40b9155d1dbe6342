import { LambentError } from '../core/errors.ts';
import { omitUndefined } from '../core/objects.ts';
import { type ActiveKeys, findExternalKey, type WrappedKey } from './key-item.ts';
import type { TenantKeyTable } from './key-table.ts';
import type { GenerateKey, RewrapKey, UnwrapKey } from './kms-keys.ts';

/** Chooses the KMS keys that wrap tenants' keys. */
export interface WrappingKeys {
  /**
   * Makes an external key wrap all of a tenant's keys, and those that are created later; the deployment's key if
   * `externalKey` is undefined. Idempotent. A tenant without keys gets its first one. One write changes all versions, so that a
   * crash leaves either all or none of them changed.
   * @param externalKey ARN of the key
   * @throws LambentError `tenant_deleted`; `external_key_unavailable` if the new or the former external key can't be used;
   * `vault_unavailable`; `record_unreadable`; `overloaded` if other writers kept changing the tenant's keys
   */
  change(tenant: string, externalKey: string | undefined): Promise<void>;
  /**
   * Checks that `change` could give the tenant's keys back to the deployment's key. Changes nothing.
   * @throws LambentError as `change`
   */
  checkRemoval(tenant: string): Promise<void>;
  /**
   * Checks that KMS lets this function generate and decrypt a key with an external key.
   * @throws LambentError `external_key_unavailable`, `vault_unavailable`
   */
  validate(externalKey: string): Promise<void>;
}

export interface WrappingKeysOptions {
  readonly table: TenantKeyTable;
  readonly generate: GenerateKey;
  readonly unwrap: UnwrapKey;
  readonly rewrap: RewrapKey;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/** The tenant in the encryption context of a check. No tenant has this name, so the check's key opens nothing. */
export const CHECK_TENANT = '-check-';
const ATTEMPTS = 8;

/** Creates the operations of the function that administers external keys. */
export function createWrappingKeys({ table, generate, unwrap, rewrap, now }: WrappingKeysOptions): WrappingKeys {
  async function readActive(tenant: string): Promise<ActiveKeys | undefined> {
    const history = await table.read(tenant);
    if (history?.state !== 'deleted') return history;
    throw new LambentError('tenant_deleted', 'This tenant has been deleted');
  }

  async function createFirst(tenant: string, externalKey: string): Promise<boolean> {
    const { key, ...wrapped } = await generate(tenant, externalKey);
    key.fill(0);
    return table.addVersion(tenant, 1, { ...wrapped, createdAt: now() }, externalKey);
  }

  /** Returns the tenant's keys, all wrapped by the external key or by the deployment's. */
  async function wrapAll(tenant: string, before: ActiveKeys, externalKey: string | undefined): Promise<ActiveKeys> {
    const wrapOne = async (key: WrappedKey): Promise<WrappedKey> => {
      const from = findExternalKey(key, before.externalKey);
      return from === externalKey ? key : rewrap(tenant, key, from, externalKey);
    };
    const versions = await Promise.all(
      [...before.versions].map(async ([version, key]) => [version, await wrapOne(key)] as const),
    );
    return { current: before.current, versions: new Map(versions), ...omitUndefined({ externalKey }) };
  }

  /** Returns true if nothing is left to change; false if another writer was first. */
  async function tryChange(tenant: string, externalKey: string | undefined): Promise<boolean> {
    const before = await readActive(tenant);
    if (before === undefined) return externalKey === undefined || createFirst(tenant, externalKey);
    const after = await wrapAll(tenant, before, externalKey);
    const isSame =
      before.externalKey === externalKey && [...before.versions].every(([v, key]) => after.versions.get(v) === key);
    return isSame || table.replaceWrapping(tenant, before, after);
  }

  return {
    async change(tenant, externalKey) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) if (await tryChange(tenant, externalKey)) return;
      throw new LambentError('overloaded', "Other requests kept changing the tenant's keys.");
    },

    async checkRemoval(tenant) {
      const keys = await readActive(tenant);
      if (keys !== undefined) await wrapAll(tenant, keys, undefined);
    },

    async validate(externalKey) {
      const { key, ...wrapped } = await generate(CHECK_TENANT, externalKey);
      key.fill(0);
      (await unwrap(CHECK_TENANT, { ...wrapped, createdAt: now() }, externalKey)).fill(0);
    },
  };
}
