import { createHmac, createSecretKey, hash, type KeyObject } from 'node:crypto';

/** The values derived from one salt: the key that seals one record, and the commitment of the record to that key. */
export interface RecordSecrets {
  readonly key: KeyObject;
  /** 32 bytes, valid until the next derivation. */
  readonly commitment: Uint8Array;
}

export const SALT_BYTES = 32;
export const COMMITMENT_BYTES = 32;
const LABEL = Buffer.from('lambent sealed record 1', 'latin1');
const PURPOSE = 'lambent purpose: ';
/** Block and digest size of SHA-256. */
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

/** Offsets in the two messages that HKDF-Expand hashes for 64 bytes of output: `info || 1` and `T(1) || info || 2`. */
const FIRST_SALT = BLOCK_BYTES + LABEL.length;
const FIRST_BYTES = FIRST_SALT + SALT_BYTES + 1;
const SECOND_SALT = BLOCK_BYTES + DIGEST_BYTES + LABEL.length;
const SECOND_BYTES = SECOND_SALT + SALT_BYTES + 1;

/**
 * Derives the secrets of records from one tenant key: HKDF-SHA256 (RFC 5869) with an empty salt and
 * `"lambent sealed record 1" || the record's salt` as info. With the salt in the info, the extraction runs once per
 * tenant key.
 *
 * The expansion is written out with SHA-256, because Node's `hkdfSync` repeats the extraction and creates two native
 * objects. That takes as long as sealing 4 KB; four hashes take a third of it. A test compares the two.
 */
export class TenantSecret {
  /** Buffers for HMAC's messages: two inner ones and the outer one. Each begins with the padded key, which stays. */
  readonly #first = Buffer.alloc(FIRST_BYTES);
  readonly #second = Buffer.alloc(SECOND_BYTES);
  readonly #outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);
  readonly #commitment = Buffer.alloc(COMMITMENT_BYTES);
  #wiped = false;

  /** @param tenantKey 32 random bytes; they are not copied, and the caller may wipe them afterwards */
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

  /** True after `wipe` was called. */
  get wiped(): boolean {
    return this.#wiped;
  }

  /**
   * Derives the secrets of the record with this salt.
   * @throws Error after `wipe`
   */
  derive(salt: Uint8Array): RecordSecrets {
    if (this.#wiped) throw new Error('A tenant key was used after it was wiped');
    this.#first.set(salt, FIRST_SALT);
    const key = this.#second.subarray(BLOCK_BYTES, BLOCK_BYTES + DIGEST_BYTES);
    this.#authenticate(this.#first, key);
    this.#second.set(salt, SECOND_SALT);
    this.#authenticate(this.#second, this.#commitment);
    const secrets = { key: createSecretKey(key), commitment: this.#commitment };
    key.fill(0);
    return secrets;
  }

  /**
   * Derives a key for a purpose other than sealing records: HKDF-SHA256 as for records, with `"lambent purpose: "` and the
   * purpose as info.
   * @throws Error after `wipe`
   */
  deriveFor(purpose: string): KeyObject {
    if (this.#wiped) throw new Error('A tenant key was used after it was wiped');
    const info = Buffer.from(`${PURPOSE}${purpose}\x01`);
    const key = Buffer.alloc(DIGEST_BYTES);
    const message = Buffer.concat([this.#first.subarray(0, BLOCK_BYTES), info]);
    this.#authenticate(message, key);
    const derived = createSecretKey(key);
    for (const secret of [message, key]) secret.fill(0);
    return derived;
  }

  /** Overwrites the key. `derive` throws afterwards; secrets that were derived before stay valid. */
  wipe(): void {
    this.#wiped = true;
    for (const secret of [this.#first, this.#second, this.#outer, this.#commitment]) secret.fill(0);
  }

  /** Computes an HMAC-SHA256 (RFC 2104) into `target`. `inner` holds the padded key, followed by the message. */
  #authenticate(inner: Buffer, target: Buffer): void {
    // Only 'binary' returns a digest without allocating a native buffer, which would double the time.
    this.#outer.write(hash('sha256', inner, 'binary'), BLOCK_BYTES, 'latin1');
    target.write(hash('sha256', this.#outer, 'binary'), 0, 'latin1');
  }
}
