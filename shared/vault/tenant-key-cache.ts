import type { TenantSecret } from './derivation.ts';
import type { TenantKey } from './record.ts';

export interface TenantKeyCacheOptions {
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Number of uses after which a key is wiped. */
  readonly maxUses: number;
  /** Maximum number of tenants in the cache. */
  readonly maxTenants: number;
  /** Returns a number from 0 up to 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** So many tenants are compared to find one to evict. */
const SAMPLE = 8;

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
  /** Its place in the list of tenants. */
  index: number;
  /** Uses since a key was last added. */
  uses: number;
}

/**
 * The unwrapped tenant keys of one function environment. A timer wipes each key when it expires, even if it is never
 * requested again; a frozen environment runs the timer as soon as it thaws.
 *
 * The cache holds at most `maxTenants` tenants. A new tenant evicts the least used of a few that are chosen at random. Tenants
 * that take turns therefore hit the cache as often as there is room for them, busy tenants stay, and those that appear once
 * evict each other. The keys of one tenant are limited by their expiry and by the number of versions in the tenant's item
 * (about 1,500 at most).
 */
export class TenantKeyCache {
  readonly #now: () => number;
  readonly #maxUses: number;
  readonly #maxTenants: number;
  readonly #random: () => number;
  readonly #tenants = new Map<string, TenantEntry>();
  /** The same tenants, to choose from. */
  readonly #list: string[] = [];

  constructor({ now, maxUses, maxTenants, random = Math.random }: TenantKeyCacheOptions) {
    this.#now = now;
    this.#maxUses = maxUses;
    this.#maxTenants = maxTenants;
    this.#random = random;
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
    const entry = this.#tenants.get(tenant);
    const cached = entry?.keys.get(version);
    if (entry === undefined || cached === undefined) return;
    entry.uses++;
    cached.uses++;
    if (cached.uses >= this.#maxUses) this.#removeKey(tenant, version);
  }

  /** Caches a key until `expiresAt`, epoch milliseconds. */
  add(tenant: string, { version, secret }: TenantKey, expiresAt: number): void {
    this.#removeKey(tenant, version);
    const timer = setTimeout(() => this.#removeKey(tenant, version), Math.max(0, expiresAt - this.#now())).unref();
    const entry = this.#getOrCreate(tenant);
    entry.keys.set(version, { secret, expiresAt, timer, uses: 0 });
    entry.uses = 0;
  }

  /** Wipes all keys of a tenant. */
  removeTenant(tenant: string): void {
    const entry = this.#tenants.get(tenant);
    if (entry === undefined) return;
    for (const version of entry.keys.keys()) this.#removeKey(tenant, version);
    this.#tenants.delete(tenant);
    const last = this.#list.pop();
    if (last === undefined || last === tenant) return;
    this.#list[entry.index] = last;
    const moved = this.#tenants.get(last);
    if (moved !== undefined) moved.index = entry.index;
  }

  /** Wipes all keys. */
  wipe(): void {
    for (const tenant of this.#tenants.keys()) this.removeTenant(tenant);
  }

  #getOrCreate(tenant: string): TenantEntry {
    const existing = this.#tenants.get(tenant);
    if (existing !== undefined) return existing;
    if (this.#tenants.size >= this.#maxTenants) this.#evict();
    const entry: TenantEntry = { current: undefined, keys: new Map(), index: this.#list.length, uses: 0 };
    this.#tenants.set(tenant, entry);
    this.#list.push(tenant);
    return entry;
  }

  #evict(): void {
    let found: { readonly tenant: string; readonly value: number } | undefined;
    for (let count = 0; count < SAMPLE; count++) {
      const tenant = this.#list[Math.floor(this.#random() * this.#list.length)];
      if (tenant === undefined) continue;
      const value = this.#rate(tenant);
      if (found === undefined || value < found.value) found = { tenant, value };
    }
    if (found !== undefined) this.removeTenant(found.tenant);
  }

  /** Returns how much a tenant is worth being kept. A key that was never used is about to be. */
  #rate(tenant: string): number {
    const { keys, uses } = this.#tenants.get(tenant) ?? { keys: new Map(), uses: 0 };
    if (keys.size === 0) return -1;
    return uses === 0 ? Number.POSITIVE_INFINITY : uses;
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
