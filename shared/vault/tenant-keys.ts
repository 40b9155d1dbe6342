import { LambentError } from '../core/errors.ts';
import { TenantSecret } from './derivation.ts';
import type { KeyHistory } from './key-item.ts';
import type { TenantKeyTable } from './key-table.ts';
import type { GenerateKey, UnwrapKey } from './kms-keys.ts';
import { type TenantKey, unreadableRecordError } from './record.ts';
import { TenantKeyCache } from './tenant-key-cache.ts';

export interface TenantKeysOptions {
  readonly table: TenantKeyTable;
  readonly unwrap: UnwrapKey;
  /** Absent in a function that may not create keys: it opens, and seals for tenants that have a key. */
  readonly generate?: GenerateKey | undefined;
  /** Epoch milliseconds. */
  readonly now?: (() => number) | undefined;
  /** Milliseconds after which a key gets a successor. */
  readonly rotateAfterMs?: number | undefined;
  /** Milliseconds for which a key is held, counted from the read that found its tenant not deleted; at most 300,000. */
  readonly cacheMs?: number | undefined;
  /** Uses for which a key is held. */
  readonly maxUses?: number | undefined;
  /** Tenants whose keys are held at once. */
  readonly maxTenants?: number | undefined;
}

const ROTATE_AFTER_MS = 90 * 86_400_000;
/** The design's bound, and so that of a deleted tenant's key in memory. */
const CACHE_MS = 300_000;
/** Far above what an environment seals and opens in five minutes, so that it costs no call; below it for a runaway. */
const MAX_USES = 1_000_000;
/** A few hundred kilobytes of keys. */
const MAX_TENANTS = 1_000;

/**
 * The keys of all tenants, as one function environment sees them: held for minutes, fetched from the keys table and KMS
 * otherwise, created and rotated if this function may.
 */
export class TenantKeys {
  readonly #table: TenantKeyTable;
  readonly #unwrap: UnwrapKey;
  readonly #generate: GenerateKey | undefined;
  readonly #now: () => number;
  readonly #rotateAfterMs: number;
  readonly #cacheMs: number;
  readonly #held: TenantKeyCache;
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
    this.#held = new TenantKeyCache({ now, maxUses, maxTenants });
  }

  /**
   * Runs `use` with the key that seals for the tenant, which is created when there is none.
   * @param use is synchronous: the key may be wiped as soon as it has returned
   * @throws LambentError `tenant_deleted`, `vault_unavailable`; `record_unreadable` for a wrapped key that is damaged;
   * `configuration` when the tenant has no key and this function may not create one
   */
  async withCurrentKey<Result>(tenant: string, use: (key: TenantKey) => Result): Promise<Result> {
    const version = this.#held.getCurrentVersion(tenant);
    const held = version === undefined ? undefined : this.#held.get(tenant, version);
    const key = held ?? (await this.#choosing.run(tenant, () => this.#chooseCurrent(tenant)));
    return key.secret.wiped ? this.withCurrentKey(tenant, use) : this.#use(tenant, key, use);
  }

  /**
   * Runs `use` with the tenant's key of this version.
   * @throws LambentError `record_unreadable` when there is none; as `withCurrent` besides
   */
  async withKeyVersion<Result>(tenant: string, version: number, use: (key: TenantKey) => Result): Promise<Result> {
    const key = this.#held.get(tenant, version) ?? (await this.#fetchVersion(tenant, version));
    return key.secret.wiped ? this.withKeyVersion(tenant, version, use) : this.#use(tenant, key, use);
  }

  /** Wipes every key that is held. */
  wipe(): void {
    this.#held.wipe();
  }

  #use<Result>(tenant: string, key: TenantKey, use: (key: TenantKey) => Result): Result {
    try {
      return use(key);
    } finally {
      this.#held.recordUse(tenant, key.version);
    }
  }

  /** The key to seal with: the current one, its successor when it is due, the first one when there is none. */
  async #chooseCurrent(tenant: string): Promise<TenantKey> {
    const reading = await this.#readShared(tenant);
    const key = (await this.#createIfDue(tenant, reading)) ?? (await this.#fetchCurrent(tenant, reading));
    this.#held.setCurrentVersion(tenant, key.version, reading.expiresAt);
    return key;
  }

  /** @returns the new key, or undefined when the one that is there is to be used */
  async #createIfDue(tenant: string, { history, expiresAt }: KeyHistoryRead): Promise<TenantKey | undefined> {
    if (history === undefined) {
      if (this.#generate !== undefined) return this.#create(this.#generate, tenant, 1, expiresAt);
      throw new LambentError('configuration', 'A tenant without a key came to a function that may not create one');
    }
    const createdAt = history.versions.get(history.current)?.createdAt ?? 0;
    if (this.#generate === undefined || this.#now() < createdAt + this.#rotateAfterMs) return undefined;
    try {
      return await this.#create(this.#generate, tenant, history.current + 1, expiresAt);
    } catch (error) {
      // A rotation can wait, work can't: the key that is there still seals, and the next look tries again.
      if (error instanceof LambentError && error.code === 'vault_unavailable') return undefined;
      throw error;
    }
  }

  /** Creates a version; when another was first, takes what is there now. */
  async #create(generate: GenerateKey, tenant: string, version: number, expiresAt: number): Promise<TenantKey> {
    const { key, wrapped } = await generate(tenant);
    const secret = toTenantSecret(key);
    if (await this.#table.addVersion(tenant, version, { wrapped, createdAt: this.#now() })) {
      return this.#hold(tenant, { version, secret }, expiresAt);
    }
    secret.wipe();
    // Not a shared reading, which may have begun before the other's write.
    return this.#fetchCurrent(tenant, await this.#read(tenant));
  }

  async #fetchCurrent(tenant: string, reading: KeyHistoryRead): Promise<TenantKey> {
    if (reading.history !== undefined) return this.#fetch(tenant, reading.history.current, reading);
    throw new LambentError('vault_unavailable', 'The keys table refused a key, and has none');
  }

  async #fetchVersion(tenant: string, version: number): Promise<TenantKey> {
    const shared = await this.#readShared(tenant);
    // A shared reading may have begun before the version that a newer record names was created.
    const knows = shared.history?.versions.has(version) === true;
    return this.#fetch(tenant, version, knows ? shared : await this.#read(tenant));
  }

  /** Unwraps a version; whoever wants the same one meanwhile waits for it. */
  async #fetch(tenant: string, version: number, { history, expiresAt }: KeyHistoryRead): Promise<TenantKey> {
    const wrapped = history?.versions.get(version)?.wrapped;
    if (wrapped === undefined) throw unreadableRecordError('its tenant has no key of its version');
    return this.#unwrapping.run(`${version} ${tenant}`, async () => {
      const held = this.#held.get(tenant, version);
      if (held !== undefined) return held;
      const secret = toTenantSecret(await this.#unwrap(tenant, wrapped));
      return this.#hold(tenant, { version, secret }, expiresAt);
    });
  }

  #hold(tenant: string, key: TenantKey, expiresAt: number): TenantKey {
    this.#held.add(tenant, key, expiresAt);
    return key;
  }

  #readShared(tenant: string): Promise<KeyHistoryRead> {
    return this.#reading.run(tenant, () => this.#read(tenant));
  }

  async #read(tenant: string): Promise<KeyHistoryRead> {
    const expiresAt = this.#now() + this.#cacheMs;
    const history = await this.#table.read(tenant);
    if (history?.state !== 'deleted') return { history, expiresAt };
    this.#held.removeTenant(tenant);
    throw new LambentError('tenant_deleted', 'This tenant has been deleted');
  }
}

/** What the keys table said of a tenant that is not deleted. */
interface KeyHistoryRead {
  readonly history: Extract<KeyHistory, { state: 'active' }> | undefined;
  /** Epoch milliseconds until which a key may be held by this reading. */
  readonly expiresAt: number;
}

/** Wipes the plain key: what seals is derived from it. */
function toTenantSecret(key: Uint8Array): TenantSecret {
  const secret = new TenantSecret(key);
  key.fill(0);
  return secret;
}

/** Lets those who want the same thing at the same time share one call. */
class SingleFlight<Result> {
  readonly #running = new Map<string, Promise<Result>>();

  run(key: string, work: () => Promise<Result>): Promise<Result> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const begun = work().finally(() => this.#running.delete(key));
    this.#running.set(key, begun);
    return begun;
  }
}
