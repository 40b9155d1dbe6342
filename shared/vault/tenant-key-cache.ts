import type { TenantSecret } from './derivation.ts';
import type { TenantKey } from './record.ts';

export interface TenantKeyCacheOptions {
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Number of uses after which a key is wiped. */
  readonly maxUses: number;
  /** Maximum number of tenants in the cache. */
  readonly maxTenants: number;
}

interface CachedKey {
  readonly secret: TenantSecret;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
  readonly timer: NodeJS.Timeout;
  uses: number;
}

interface TenantEntry {
  /** The version that seals, as of the last read of the keys table. */
  current: { readonly version: number; readonly expiresAt: number } | undefined;
  readonly keys: Map<number, CachedKey>;
}

/**
 * The unwrapped tenant keys of one function environment. A timer wipes each key when it expires, even if it is never
 * requested again; a frozen environment runs the timer as soon as it thaws.
 *
 * The cache holds at most `maxTenants` tenants. A new tenant evicts the tenant that entered first, even if that tenant
 * is still in use: when `maxTenants` + 1 tenants take turns, every request misses. The keys of one tenant are limited
 * by their expiry and by the number of versions in the tenant's item (about 1,500 at most).
 */
export class TenantKeyCache {
  readonly #now: () => number;
  readonly #maxUses: number;
  readonly #maxTenants: number;
  readonly #tenants = new Map<string, TenantEntry>();

  constructor({ now, maxUses, maxTenants }: TenantKeyCacheOptions) {
    this.#now = now;
    this.#maxUses = maxUses;
    this.#maxTenants = maxTenants;
  }

  /** Returns the version that seals for this tenant; undefined if it is unknown or was read too long ago. */
  getCurrentVersion(tenant: string): number | undefined {
    const current = this.#tenants.get(tenant)?.current;
    return current !== undefined && this.#now() < current.expiresAt ? current.version : undefined;
  }

  /** Stores the version that seals for this tenant until `expiresAt`, epoch milliseconds. */
  setCurrentVersion(tenant: string, version: number, expiresAt: number): void {
    this.#getOrCreate(tenant).current = { version, expiresAt };
  }

  /** Returns the key if it is cached and has not expired. */
  get(tenant: string, version: number): TenantKey | undefined {
    const cached = this.#tenants.get(tenant)?.keys.get(version);
    if (cached === undefined) return undefined;
    if (this.#now() < cached.expiresAt) return { version, secret: cached.secret };
    this.#removeKey(tenant, version);
    return undefined;
  }

  /** Counts one use of a key, and wipes the key after `maxUses` uses. */
  recordUse(tenant: string, version: number): void {
    const cached = this.#tenants.get(tenant)?.keys.get(version);
    if (cached === undefined) return;
    cached.uses++;
    if (cached.uses >= this.#maxUses) this.#removeKey(tenant, version);
  }

  /** Caches a key until `expiresAt`, epoch milliseconds. */
  add(tenant: string, { version, secret }: TenantKey, expiresAt: number): void {
    this.#removeKey(tenant, version);
    const timer = setTimeout(() => this.#removeKey(tenant, version), Math.max(0, expiresAt - this.#now())).unref();
    this.#getOrCreate(tenant).keys.set(version, { secret, expiresAt, timer, uses: 0 });
  }

  /** Wipes all keys of a tenant. */
  removeTenant(tenant: string): void {
    for (const version of this.#tenants.get(tenant)?.keys.keys() ?? []) this.#removeKey(tenant, version);
    this.#tenants.delete(tenant);
  }

  /** Wipes all keys. */
  wipe(): void {
    for (const tenant of this.#tenants.keys()) this.removeTenant(tenant);
  }

  #getOrCreate(tenant: string): TenantEntry {
    const existing = this.#tenants.get(tenant);
    if (existing !== undefined) return existing;
    const [first] = this.#tenants.keys();
    if (first !== undefined && this.#tenants.size >= this.#maxTenants) this.removeTenant(first);
    const entry: TenantEntry = { current: undefined, keys: new Map() };
    this.#tenants.set(tenant, entry);
    return entry;
  }

  #removeKey(tenant: string, version: number): void {
    const keys = this.#tenants.get(tenant)?.keys;
    const cached = keys?.get(version);
    if (cached === undefined) return;
    clearTimeout(cached.timer);
    cached.secret.wipe();
    keys?.delete(version);
  }
}
