import { BoundedMap } from '../core/bounded-map.ts';
import type { Principal } from './principal.ts';

/** More keys than a stage has in use at a time. */
const MAX_KEYS = 1_000;

/**
 * Returns `find` with a cache in memory of the principals that it finds. Values without one are looked up again, so that
 * a new key works at once.
 * @param ttlMs milliseconds for which a principal is cached, so also the longest time until a revocation takes effect
 */
export function createKeyCache(
  find: (value: string) => Promise<Principal | undefined>,
  ttlMs: number,
  now: () => number = Date.now,
): (value: string) => Promise<Principal | undefined> {
  const found = new BoundedMap<string, { readonly principal: Principal; readonly expiresAt: number }>(MAX_KEYS);
  return async (value) => {
    const cached = found.get(value);
    if (cached !== undefined && cached.expiresAt > now()) return cached.principal;
    const expiresAt = now() + ttlMs;
    const principal = await find(value);
    if (principal === undefined) found.delete(value);
    else found.set(value, { principal, expiresAt });
    return principal;
  };
}
