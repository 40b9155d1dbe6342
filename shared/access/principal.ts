/** The caller of a request, whether it came by HTTP or through a queue. */
export interface Principal {
  readonly tenant: string;
  /** Public id of the key, for logs and revocation. Not the key itself. */
  readonly keyId: string;
  readonly scopes: readonly Scope[];
}

/** The permissions of a key. Each route requires one. */
export const SCOPES = ['inference', 'models'] as const;
export type Scope = (typeof SCOPES)[number];
