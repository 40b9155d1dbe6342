import type { TenantSecret } from './derivation.ts';
import type { TenantKey } from './record.ts';

export interface TenantKeyCacheOptions {
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Uses after which a key is wiped. */
  readonly maxUses: number;
  /** Tenants whose keys are held at once; the one that came first gives way. */
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
  /** The version that seals, as far as is known. */
  current: { readonly version: number; readonly expiresAt: number } | undefined;
  readonly keys: Map<number, CachedKey>;
}

/**
 * The plain tenant keys of one function environment. Each is wiped when its time is over, also if nobody asks again: by a
 * timer, which a frozen environment runs as soon as it thaws.
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

  /** The version that seals for this tenant, if that is known and not too long ago. */
  getCurrentVersion(tenant: string): number | undefined {
    const current = this.#tenants.get(tenant)?.current;
    return current !== undefined && this.#now() < current.expiresAt ? current.version : undefined;
  }

  /** Remembers which version seals. */
  setCurrentVersion(tenant: string, version: number, expiresAt: number): void {
    this.#tenant(tenant).current = { version, expiresAt };
  }

  /** The key, if it is held. */
  get(tenant: string, version: number): TenantKey | undefined {
    const held = this.#tenants.get(tenant)?.keys.get(version);
    if (held === undefined) return undefined;
    if (this.#now() < held.expiresAt) return { version, secret: held.secret };
    this.#drop(tenant, version);
    return undefined;
  }

  /** Counts a use of a key, the last of which wipes it. */
  recordUse(tenant: string, version: number): void {
    const held = this.#tenants.get(tenant)?.keys.get(version);
    if (held === undefined) return;
    held.uses++;
    if (held.uses >= this.#maxUses) this.#drop(tenant, version);
  }

  /** Holds a key until `expiresAt`, epoch milliseconds. */
  add(tenant: string, { version, secret }: TenantKey, expiresAt: number): void {
    this.#drop(tenant, version);
    const timer = setTimeout(() => this.#drop(tenant, version), Math.max(0, expiresAt - this.#now())).unref();
    this.#tenant(tenant).keys.set(version, { secret, expiresAt, timer, uses: 0 });
  }

  /** Wipes all keys of a tenant. */
  removeTenant(tenant: string): void {
    for (const version of this.#tenants.get(tenant)?.keys.keys() ?? []) this.#drop(tenant, version);
    this.#tenants.delete(tenant);
  }

  /** Wipes all keys. */
  wipe(): void {
    for (const tenant of this.#tenants.keys()) this.removeTenant(tenant);
  }

  #tenant(name: string): TenantEntry {
    const known = this.#tenants.get(name);
    if (known !== undefined) return known;
    const [first] = this.#tenants.keys();
    if (first !== undefined && this.#tenants.size >= this.#maxTenants) this.removeTenant(first);
    const tenant: TenantEntry = { current: undefined, keys: new Map() };
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #drop(tenant: string, version: number): void {
    const keys = this.#tenants.get(tenant)?.keys;
    const held = keys?.get(version);
    if (held === undefined) return;
    clearTimeout(held.timer);
    held.secret.wipe();
    keys?.delete(version);
  }
}
