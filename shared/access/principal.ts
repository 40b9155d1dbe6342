import type { Policy } from './policy.ts';

/** The caller of a request, whether it came by HTTP or through a queue. */
export interface Principal extends Caller {
  /** Public id of the key, for logs and revocation. Not the key itself. */
  readonly keyId: string;
  /** Names of scopes, for `hasScope`. Another version may have written names that this one doesn't know. */
  readonly scopes: readonly string[];
  /** Epoch seconds at which the key or token expires. Absent for one that never does, and for jobs. */
  readonly expiresAt?: number | undefined;
}

/** For whom a model is called. */
export interface Caller {
  readonly tenant: string;
  /** Public id of the key that the request was sent with. Absent for jobs of earlier versions. */
  readonly keyId?: string;
  readonly policy: Policy;
}

/** The tenant of admin keys. No tenant can have this name. */
export const ORGANIZATION = '#organization';

/** True if a key, token or sender has expired at `now` (epoch milliseconds). */
export function hasExpired({ expiresAt }: Pick<Principal, 'expiresAt'>, now: number = Date.now()): boolean {
  return expiresAt !== undefined && expiresAt * 1000 <= now;
}
