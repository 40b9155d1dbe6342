import type { Policy } from './policy.ts';

/** The caller of a request, whether it came by HTTP or through a queue. */
export interface Principal extends Caller {
  /** Public id of the key, for logs and revocation. Not the key itself. */
  readonly keyId: string;
  readonly scopes: readonly Scope[];
}

/** For whom a model is called. */
export interface Caller {
  readonly tenant: string;
  /** Public id of the key that the request was sent with. Absent for jobs of earlier versions. */
  readonly keyId?: string;
  readonly policy: Policy;
}

/** The permissions of a key. Each route requires one. */
export const SCOPES = ['inference', 'models'] as const;
export type Scope = (typeof SCOPES)[number];
