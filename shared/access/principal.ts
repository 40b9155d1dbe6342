/** Who calls. One shape for every way in: HTTP keys now, queue senders and tokens later. */
export interface Principal {
  readonly tenant: string;
  /** Public id of the key that was used, for logs and revocation; never the key. */
  readonly keyId: string;
  readonly scopes: readonly Scope[];
}

/** What a key may do. A route names the one it needs. */
export const SCOPES = ['inference', 'models'] as const;
export type Scope = (typeof SCOPES)[number];
