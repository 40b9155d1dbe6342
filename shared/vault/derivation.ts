import { createHmac, createSecretKey, hash, type KeyObject } from 'node:crypto';

/** What one salt yields: the key that seals one record, and the value that commits the record to it. */
export interface RecordSecrets {
  readonly key: KeyObject;
  /** 32 bytes, valid until the next derivation. */
  readonly commitment: Uint8Array;
}

export const SALT_BYTES = 32;
export const COMMITMENT_BYTES = 32;
const LABEL = Buffer.from('lambent sealed record 1', 'latin1');
/** SHA-256's block and digest. */
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

/** Where the parts of the two messages lie that HKDF-Expand hashes for 64 bytes: `info || 1` and `T(1) || info || 2`. */
const FIRST_SALT = BLOCK_BYTES + LABEL.length;
const FIRST_BYTES = FIRST_SALT + SALT_BYTES + 1;
const SECOND_SALT = BLOCK_BYTES + DIGEST_BYTES + LABEL.length;
const SECOND_BYTES = SECOND_SALT + SALT_BYTES + 1;

/**
 * A tenant key, ready to derive the secrets of records: HKDF-SHA256 (RFC 5869) with an empty salt, and
 * `"lambent sealed record 1" || the record's salt` as info, so that the extraction is done once per tenant key.
 *
 * The expansion is written out over SHA-256: Node's `hkdfSync` repeats the extraction and sets up two native objects, which
 * takes as long as sealing 4 KB; four hashes take a third of that. A test holds the two against each other.
 */
export class TenantSecret {
  /** HMAC's inner messages, and its outer one, each behind the padded key: only salts and digests change in them. */
  readonly #first = Buffer.alloc(FIRST_BYTES);
  readonly #second = Buffer.alloc(SECOND_BYTES);
  readonly #outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);
  readonly #commitment = Buffer.alloc(COMMITMENT_BYTES);
  #wiped = false;

  /** @param tenantKey 32 random bytes; they are copied nowhere and may be wiped afterwards */
  constructor(tenantKey: Uint8Array) {
    const extracted = createHmac('sha256', Buffer.alloc(DIGEST_BYTES)).update(tenantKey).digest();
    for (let index = 0; index < BLOCK_BYTES; index++) {
      const byte = extracted[index] ?? 0;
      this.#first[index] = byte ^ 0x36;
      this.#outer[index] = byte ^ 0x5c;
    }
    extracted.fill(0);
    this.#second.set(this.#first.subarray(0, BLOCK_BYTES));
    this.#first.set(LABEL, BLOCK_BYTES);
    this.#first[FIRST_BYTES - 1] = 1;
    this.#second.set(LABEL, BLOCK_BYTES + DIGEST_BYTES);
    this.#second[SECOND_BYTES - 1] = 2;
  }

  /** Whether `wipe` has been called. */
  get wiped(): boolean {
    return this.#wiped;
  }

  /**
   * The secrets of the record with this salt.
   * @throws Error after `wipe`
   */
  derive(salt: Uint8Array): RecordSecrets {
    if (this.#wiped) throw new Error('A tenant key was used after it had been wiped');
    this.#first.set(salt, FIRST_SALT);
    const key = this.#second.subarray(BLOCK_BYTES, BLOCK_BYTES + DIGEST_BYTES);
    this.#authenticate(this.#first, key);
    this.#second.set(salt, SECOND_SALT);
    this.#authenticate(this.#second, this.#commitment);
    const secrets = { key: createSecretKey(key), commitment: this.#commitment };
    key.fill(0);
    return secrets;
  }

  /** Overwrites the key. Deriving from it is an error afterwards; what was derived before goes on working. */
  wipe(): void {
    this.#wiped = true;
    for (const secret of [this.#first, this.#second, this.#outer, this.#commitment]) secret.fill(0);
  }

  /** HMAC-SHA256 (RFC 2104) of what `inner` holds behind its padded key, into `target`. */
  #authenticate(inner: Buffer, target: Buffer): void {
    // 'binary' is the one form in which a digest comes without a native buffer of its own, which would double the time.
    this.#outer.write(hash('sha256', inner, 'binary'), BLOCK_BYTES, 'latin1');
    target.write(hash('sha256', this.#outer, 'binary'), 0, 'latin1');
  }
}
