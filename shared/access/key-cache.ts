import { BoundedMap } from '../core/bounded-map.ts';
import type { Telemetry } from '../core/telemetry.ts';

/** More keys than a stage has in use at a time. */
const MAX_KEYS = 1_000;

/**
 * Returns `find` with a cache in memory of the callers that it finds. Values without one are looked up again, so that
 * a new key works at once. `find` logs to the telemetry of the request that needs it.
 * @param ttlMs milliseconds for which a caller is cached, so also the longest time until a revocation takes effect
 */
export function createKeyCache<Caller>(
  find: (value: string, telemetry: Telemetry) => Promise<Caller | undefined>,
  ttlMs: number,
  now: () => number = Date.now,
): (value: string, telemetry: Telemetry) => Promise<Caller | undefined> {
  const found = new BoundedMap<string, { readonly caller: Caller; readonly expiresAt: number }>(MAX_KEYS);
  return async (value, telemetry) => {
    const cached = found.get(value);
    if (cached !== undefined && cached.expiresAt > now()) return cached.caller;
    const expiresAt = now() + ttlMs;
    const caller = await find(value, telemetry);
    if (caller === undefined) found.delete(value);
    else found.set(value, { caller, expiresAt });
    return caller;
  };
}
