import { LambentError } from '../core/errors.ts';
import { TenantSecret } from './derivation.ts';
import type { KeyHistory } from './key-item.ts';
import type { TenantKeyTable } from './key-table.ts';
import type { GenerateKey, UnwrapKey } from './kms-keys.ts';
import type { TenantKey } from './record.ts';
import { TenantKeyCache } from './tenant-key-cache.ts';

export interface TenantKeysOptions {
  readonly table: TenantKeyTable;
  readonly unwrap: UnwrapKey;
  /** Absent in a function that may not create keys. Such a function opens records, and seals for tenants with a key. */
  readonly generate?: GenerateKey | undefined;
  /** Epoch milliseconds. */
  readonly now?: (() => number) | undefined;
  /** Age in milliseconds at which a key is replaced by a new version. */
  readonly rotateAfterMs?: number | undefined;
  /** Milliseconds that a key stays cached after the read that found its tenant not deleted; at most 300,000. */
  readonly cacheMs?: number | undefined;
  /** Number of uses after which a cached key is wiped. */
  readonly maxUses?: number | undefined;
  /** Maximum number of tenants whose keys are cached. */
  readonly maxTenants?: number | undefined;
}

/** The keys table has no key of a record's tenant and version: it is the wrong table, or the record isn't the tenant's. */
export class MissingKeyError extends LambentError {
  constructor() {
    super('vault_unavailable', "The keys table has no key of the record's key version");
  }
}

const ROTATE_AFTER_MS = 90 * 86_400_000;
/** Upper bound for the time that a deleted tenant's key stays in memory: see docs/sealed-record.md. */
const CACHE_MS = 300_000;
/** Far above the number of records that an environment handles in five minutes. It limits a runaway process only. */
const MAX_USES = 1_000_000;
/** A few hundred kilobytes of keys. */
const MAX_TENANTS = 1_000;

/**
 * The keys of all tenants in one function environment. Caches them for minutes, fetches them from the keys table and
 * KMS, and creates and rotates them if its function may.
 */
export class TenantKeys {
  readonly #table: TenantKeyTable;
  readonly #unwrap: UnwrapKey;
  readonly #generate: GenerateKey | undefined;
  readonly #now: () => number;
  readonly #rotateAfterMs: number;
  readonly #cacheMs: number;
  readonly #cache: TenantKeyCache;
  readonly #reading = new SingleFlight<KeyHistoryRead>();
  readonly #unwrapping = new SingleFlight<TenantKey>();
  readonly #choosing = new SingleFlight<TenantKey>();

  constructor(options: TenantKeysOptions) {
    const { now = Date.now, maxUses = MAX_USES, maxTenants = MAX_TENANTS } = options;
    this.#table = options.table;
    this.#unwrap = options.unwrap;
    this.#generate = options.generate;
    this.#now = now;
    this.#rotateAfterMs = options.rotateAfterMs ?? ROTATE_AFTER_MS;
    this.#cacheMs = Math.min(options.cacheMs ?? CACHE_MS, CACHE_MS);
    this.#cache = new TenantKeyCache({ now, maxUses, maxTenants });
  }

  /**
   * Calls `use` with the key that seals for the tenant. Creates the key if the tenant has none.
   * @param use must be synchronous: the key may be wiped as soon as it has returned
   * @throws LambentError `tenant_deleted`; `vault_unavailable`, also if the tenant has no key and this function may not create
   * one; `record_unreadable` if the wrapped key is damaged or its KMS key was deleted; `external_key_unavailable` if the tenant's
   * own KMS key can't be used
   */
  async withCurrentKey<Result>(tenant: string, use: (key: TenantKey) => Result): Promise<Result> {
    const version = this.#cache.getCurrentVersion(tenant);
    const cached = version === undefined ? undefined : this.#cache.get(tenant, version);
    const key = cached ?? (await this.#choosing.run(tenant, () => this.#chooseCurrent(tenant)));
    return key.secret.wiped ? this.withCurrentKey(tenant, use) : this.#use(tenant, key, use);
  }

  /**
   * Calls `use` with this version of the tenant's key.
   * @throws MissingKeyError if the version doesn't exist; otherwise as `withCurrentKey`
   */
  async withKeyVersion<Result>(tenant: string, version: number, use: (key: TenantKey) => Result): Promise<Result> {
    const key = this.#cache.get(tenant, version) ?? (await this.#fetchVersion(tenant, version));
    return key.secret.wiped ? this.withKeyVersion(tenant, version, use) : this.#use(tenant, key, use);
  }

  /** Wipes all cached keys. */
  wipe(): void {
    this.#cache.wipe();
  }

  #use<Result>(tenant: string, key: TenantKey, use: (key: TenantKey) => Result): Result {
    try {
      return use(key);
    } finally {
      this.#cache.recordUse(tenant, key.version);
    }
  }

  /** Returns the key to seal with: a new one if the tenant has none or rotation is due, else the current one. */
  async #chooseCurrent(tenant: string): Promise<TenantKey> {
    const read = await this.#readShared(tenant);
    const key = (await this.#createIfDue(tenant, read)) ?? (await this.#fetchCurrent(tenant, read));
    this.#cache.setCurrentVersion(tenant, key.version, read.expiresAt);
    return key;
  }

  /** Creates a key if the tenant has none or rotation is due. Returns undefined if the current key should be used. */
  async #createIfDue(tenant: string, { history, expiresAt }: KeyHistoryRead): Promise<TenantKey | undefined> {
    if (history === undefined) {
      if (this.#generate !== undefined) return this.#create(this.#generate, tenant, { version: 1, expiresAt });
      throw new LambentError('vault_unavailable', 'The tenant has no key, and this function may not create one');
    }
    const createdAt = history.versions.get(history.current)?.createdAt ?? 0;
    if (this.#generate === undefined || this.#now() < createdAt + this.#rotateAfterMs) return undefined;
    try {
      const { externalKey } = history;
      return await this.#create(this.#generate, tenant, { version: history.current + 1, expiresAt, externalKey });
    } catch (error) {
      // Rotation can wait, requests can't: the current key still seals, and the next read retries the rotation.
      if (error instanceof LambentError && PASSING.has(error.code)) return undefined;
      throw error;
    }
  }

  /** Creates a key version. If another environment created one first, fetches that one. */
  async #create(
    generate: GenerateKey,
    tenant: string,
    { version, expiresAt, externalKey }: NewVersion,
  ): Promise<TenantKey> {
    const { key, ...wrapped } = await generate(tenant, externalKey);
    const secret = toTenantSecret(key);
    if (await this.#table.addVersion(tenant, version, { ...wrapped, createdAt: this.#now() }, externalKey)) {
      return this.#addToCache(tenant, { version, secret }, expiresAt);
    }
    secret.wipe();
    // A shared read may have started before the other environment's write.
    return this.#fetchCurrent(tenant, await this.#read(tenant));
  }

  async #fetchCurrent(tenant: string, read: KeyHistoryRead): Promise<TenantKey> {
    if (read.history !== undefined) return this.#fetch(tenant, read.history.current, read);
    throw new LambentError('vault_unavailable', 'The keys table refused a new key, but holds no key of the tenant');
  }

  async #fetchVersion(tenant: string, version: number): Promise<TenantKey> {
    const shared = await this.#readShared(tenant);
    // A shared read may have started before the version that the record names was created.
    const isKnown = shared.history?.versions.has(version) === true;
    return this.#fetch(tenant, version, isKnown ? shared : await this.#read(tenant));
  }

  /** Unwraps a version. Concurrent calls for the same version share one call to KMS. */
  async #fetch(tenant: string, version: number, { history, expiresAt }: KeyHistoryRead): Promise<TenantKey> {
    const wrapped = history?.versions.get(version);
    // A table that lacks a tenant's keys is the wrong one, or an old copy: only a tombstone says that they are gone.
    if (wrapped === undefined) {
      throw new MissingKeyError();
    }
    return this.#unwrapping.run(`${version} ${tenant}`, async () => {
      const cached = this.#cache.get(tenant, version);
      if (cached !== undefined) return cached;
      const secret = toTenantSecret(await this.#unwrap(tenant, wrapped, history?.externalKey));
      return this.#addToCache(tenant, { version, secret }, expiresAt);
    });
  }

  #addToCache(tenant: string, key: TenantKey, expiresAt: number): TenantKey {
    this.#cache.add(tenant, key, expiresAt);
    return key;
  }

  #readShared(tenant: string): Promise<KeyHistoryRead> {
    return this.#reading.run(tenant, () => this.#read(tenant));
  }

  async #read(tenant: string): Promise<KeyHistoryRead> {
    const expiresAt = this.#now() + this.#cacheMs;
    const history = await this.#table.read(tenant);
    if (history?.state !== 'deleted') return { history, expiresAt };
    this.#cache.removeTenant(tenant);
    throw new LambentError('tenant_deleted', 'This tenant has been deleted');
  }
}

/** The key history of a tenant that was not deleted when the keys table was read. */
interface KeyHistoryRead {
  readonly history: Extract<KeyHistory, { state: 'active' }> | undefined;
  /** Epoch milliseconds until which keys of this read may stay cached. */
  readonly expiresAt: number;
}

interface NewVersion {
  readonly version: number;
  readonly expiresAt: number;
  readonly externalKey?: string | undefined;
}

/** Errors after which KMS may generate a key later. */
const PASSING: ReadonlySet<string> = new Set(['vault_unavailable', 'external_key_unavailable']);

/** Derives the secret that seals records, and wipes the key itself. */
function toTenantSecret(key: Uint8Array): TenantSecret {
  const secret = new TenantSecret(key);
  key.fill(0);
  return secret;
}

/** Runs one call per key at a time; concurrent callers share its result. Holds only calls that are running. */
class SingleFlight<Result> {
  readonly #running = new Map<string, Promise<Result>>();

  run(key: string, work: () => Promise<Result>): Promise<Result> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const call = work().finally(() => this.#running.delete(key));
    this.#running.set(key, call);
    return call;
  }
}
