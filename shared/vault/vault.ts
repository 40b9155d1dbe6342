/** The identity of a sealed record. Every field is part of its associated data, so it opens only under this name. */
export interface RecordName {
  readonly tenant: string;
  /**
   * Type of record: `job-input`, `job-output`, `job-result`, `job-compaction`, `job-replay`, `job-event`, `job-labels`, `conversation`,
   * `conversation-item` or `idempotent-answer`.
   */
  readonly kind: string;
  /** Id of the job or conversation that the record belongs to. */
  readonly id: string;
  /** The attempt that wrote the record; 0 where there are no attempts. */
  readonly epoch: number;
  /** Distinguishes records of one kind: a chunk's first sequence number, an item's id; '' if there is only one. */
  readonly field: string;
}

/** Seals and opens records with keys that KMS protects. */
export interface Vault {
  /**
   * Seals `plaintext` under the tenant's current key.
   * @throws LambentError `tenant_deleted`; `vault_unavailable` if KMS or the keys table is not available or is the wrong one;
   * `record_unreadable` if the stored key is damaged or its KMS key was deleted; `external_key_unavailable` if the tenant's own
   * KMS key can't be used. RangeError for a name without an unambiguous
   * encoding
   */
  seal(name: RecordName, plaintext: Uint8Array): Promise<Uint8Array>;
  /**
   * Prepares to seal a record later, when the tenant's key may not be available.
   * @returns a function that seals the record. It throws at the second call, because a record's key seals only one plaintext
   * @throws as `seal`
   */
  prepareSeal(name: RecordName): Promise<(plaintext: Uint8Array) => Uint8Array>;
  /**
   * Opens a record that was sealed under the same name, with any version of the tenant's key.
   * @throws LambentError `record_unreadable` if the record is damaged or belongs to another name; otherwise as `seal`
   */
  open(name: RecordName, sealed: Uint8Array): Promise<Uint8Array>;
  /**
   * Opens a record that a caller keeps and has sent back.
   * @throws as `open`, and `record_unreadable` also if the tenant has no key of the record's version: the caller may have
   * another tenant's record
   */
  openReceived(name: RecordName, sealed: Uint8Array): Promise<Uint8Array>;
  /**
   * Seals a body of any length chunk by chunk, into the same format as `seal`.
   * @throws as `seal`, and any error of `plaintext`, during the iteration
   */
  sealStream(name: RecordName, plaintext: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /**
   * Opens a body chunk by chunk. Every chunk is authenticated before it is yielded, but only the end of the iteration
   * proves that nothing is missing after it.
   * @throws as `open`, and any error of `sealed`, during the iteration
   */
  openStream(name: RecordName, sealed: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
}
