/** What a sealed record is, so that it opens nowhere else: every part is bound to it as associated data. */
export interface RecordName {
  readonly tenant: string;
  /** The concern's word for it: `job-input`, `job-output`, `job-replay`, `job-event`, `conversation`, `conversation-item`, `idempotent-answer`. */
  readonly kind: string;
  /** Id of what it belongs to: a job's, a conversation's. */
  readonly id: string;
  /** The attempt that wrote it; 0 where there are no attempts. */
  readonly epoch: number;
  /** Which of several of its kind: a chunk's first sequence number, an item's id; '' where there is one. */
  readonly field: string;
}

/** Seals and opens records: the port between what is stored and KMS. */
export interface Vault {
  /**
   * Seals `plaintext` under the tenant's current key.
   * @throws LambentError `tenant_deleted`; `vault_unavailable` when KMS or the keys table can't be asked now
   */
  seal(name: RecordName, plaintext: Uint8Array): Promise<Uint8Array>;
  /**
   * Opens what `seal` made under the same name, by whatever key version it was sealed.
   * @throws LambentError `record_unreadable` for anything that is not whole and in its place; as `seal` besides
   */
  open(name: RecordName, sealed: Uint8Array): Promise<Uint8Array>;
  /**
   * Seals a body of any length as it comes, into the same format: what `open` opens too.
   * @throws as `seal`, and what `plaintext` throws, while it is read
   */
  sealStream(name: RecordName, plaintext: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /**
   * Opens a body as it comes. Every piece that is handed on is genuine and in its place; but only the end of the iteration
   * says that nothing is missing after it.
   * @throws as `open`, and what `sealed` throws, while it is read
   */
  openStream(name: RecordName, sealed: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
}
