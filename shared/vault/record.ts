import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync, timingSafeEqual } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import { COMMITMENT_BYTES, SALT_BYTES, type TenantSecret } from './derivation.ts';
import type { RecordName } from './vault.ts';

/**
 * The format of sealed records, which docs/sealed-record.md specifies: a header, then segments of AES-256-GCM. All
 * functions here are pure except for the random salt.
 */

/** One version of a tenant's key. */
export interface TenantKey {
  /** 1 and up. */
  readonly version: number;
  readonly secret: TenantSecret;
}

/** Returns `size` random bytes for a salt. */
export type RandomSource = (size: number) => Uint8Array;

const FORMAT = 1;
const SALT = 5;
const COMMITMENT = SALT + SALT_BYTES;
/** Bytes of a header: format version, key version, salt, key commitment. */
export const HEADER_BYTES = COMMITMENT + COMMITMENT_BYTES;
/** Plaintext bytes in every segment except the last. */
export const SEGMENT_BYTES = 65_536;
/** Bytes that sealing adds to a segment. */
const TAG_BYTES = 16;
/** Sealed bytes of every segment except the last. */
export const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;

/** Returns the size in bytes of a record with `plaintextBytes` of plaintext. */
export function computeSealedBytes(plaintextBytes: number): number {
  return HEADER_BYTES + plaintextBytes + TAG_BYTES * Math.max(1, Math.ceil(plaintextBytes / SEGMENT_BYTES));
}

const ALGORITHM = 'aes-256-gcm';

/**
 * Seals `plaintext` so that it opens only under the same name and key.
 * @throws RangeError for a name without an unambiguous encoding: see `buildAssociatedData`
 */
export function sealRecord(plaintext: Uint8Array, name: RecordName, key: TenantKey, random?: RandomSource): Uint8Array {
  return prepareRecord(name, key, random)(plaintext);
}

/**
 * Derives a record's key, and returns a function that seals the record without the tenant's key. It throws at the second call,
 * because its nonces would repeat.
 * @throws as `sealRecord`
 */
export function prepareRecord(
  name: RecordName,
  key: TenantKey,
  random?: RandomSource,
): (plaintext: Uint8Array) => Uint8Array {
  const { header, cipher } = startSealing(name, key, random);
  let isUsed = false;
  return (plaintext) => {
    if (isUsed) throw new Error("A record's key was used for a second record");
    isUsed = true;
    return sealSegments(header, cipher, plaintext);
  };
}

function sealSegments(header: Uint8Array, cipher: RecordCipher, plaintext: Uint8Array): Uint8Array {
  const parts = [header];
  let start = 0;
  for (let index = 0; ; index++) {
    const end = start + SEGMENT_BYTES;
    const final = end >= plaintext.length;
    parts.push(...sealSegment(cipher, index, final, plaintext.subarray(start, end)));
    if (final) return Buffer.concat(parts);
    start = end;
  }
}

/**
 * Opens a record and returns its plaintext.
 * @param secret the tenant's key, of the version that `readKeyVersion` returns
 * @throws LambentError `record_unreadable` unless the record is complete, unchanged and sealed under this name and key
 */
export function openRecord(sealed: Uint8Array, name: RecordName, secret: TenantSecret): Uint8Array {
  const cipher = startOpening(sealed, name, secret);
  const parts: Uint8Array[] = [];
  let start = HEADER_BYTES;
  for (let index = 0; ; index++) {
    const end = start + SEALED_SEGMENT_BYTES;
    const final = end >= sealed.length;
    parts.push(openSegment(cipher, index, final, sealed.subarray(start, end)));
    if (final) return joinParts(parts);
    start = end;
  }
}

function joinParts(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}

/** The key and associated data that all segments of a record share. */
export interface RecordCipher {
  readonly key: KeyObject;
  readonly associatedData: Uint8Array;
}

/** Starts to seal a record. Returns its header and the cipher for its segments. */
export function startSealing(
  name: RecordName,
  { version, secret }: TenantKey,
  random: RandomSource = drawPooledRandom,
): { header: Uint8Array; cipher: RecordCipher } {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt8(FORMAT, 0);
  header.writeUInt32BE(version, 1);
  const salt = random(SALT_BYTES);
  header.set(salt, SALT);
  const { key, commitment } = secret.derive(salt);
  header.set(commitment, COMMITMENT);
  return { header, cipher: { key, associatedData: buildAssociatedData(header, name) } };
}

/**
 * Reads the version of the tenant's key from a record's header.
 * @param sealed the record, or its first `HEADER_BYTES` or more
 * @throws LambentError `record_unreadable` if it is not a record of this format
 */
export function readKeyVersion(sealed: Uint8Array): number {
  if (sealed.length < HEADER_BYTES) throw unreadableRecordError('it is too short');
  if (sealed[0] !== FORMAT) throw unreadableRecordError('its format is unknown');
  return Buffer.from(sealed.buffer, sealed.byteOffset, HEADER_BYTES).readUInt32BE(1);
}

/**
 * Starts to open a record. Returns the cipher for its segments, after verifying that it was sealed with this key.
 * @param sealed the record, or its beginning, of which `readKeyVersion` has checked the header
 * @throws LambentError `record_unreadable`
 */
export function startOpening(sealed: Uint8Array, name: RecordName, secret: TenantSecret): RecordCipher {
  const header = sealed.subarray(0, HEADER_BYTES);
  const { key, commitment } = secret.derive(header.subarray(SALT, COMMITMENT));
  if (!timingSafeEqual(commitment, header.subarray(COMMITMENT)))
    throw unreadableRecordError('it was sealed with another key');
  return { key, associatedData: buildAssociatedData(header, name) };
}

/**
 * Seals one segment.
 * @returns the ciphertext and its tag
 * @throws RangeError if `index` is 2^32 or above
 */
export function sealSegment(
  { key, associatedData }: RecordCipher,
  index: number,
  final: boolean,
  plaintext: Uint8Array,
): [ciphertext: Uint8Array, tag: Uint8Array] {
  const cipher = createCipheriv(ALGORITHM, key, buildNonce(index, final));
  cipher.setAAD(associatedData);
  const ciphertext = cipher.update(plaintext);
  // Yields no bytes in GCM, but computes the tag.
  cipher.final();
  return [ciphertext, cipher.getAuthTag()];
}

/**
 * Opens one segment.
 * @param sealed ciphertext and tag
 * @param final true if the segment must be the record's last one, false if it must not
 * @throws LambentError `record_unreadable` unless `sealed` is this segment of this record
 */
export function openSegment(
  { key, associatedData }: RecordCipher,
  index: number,
  final: boolean,
  sealed: Uint8Array,
): Uint8Array {
  const tagStart = sealed.length - TAG_BYTES;
  // Every plaintext has exactly one well-formed encoding: only an empty record has an empty segment.
  if (tagStart < (index === 0 ? 0 : 1)) throw unreadableRecordError('it is truncated');
  const decipher = createDecipheriv(ALGORITHM, key, buildNonce(index, final), { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData);
  decipher.setAuthTag(sealed.subarray(tagStart));
  const plaintext = decipher.update(sealed.subarray(0, tagStart));
  try {
    decipher.final();
  } catch (cause) {
    plaintext.fill(0);
    throw unreadableRecordError('it was changed, truncated, or stored under another name', cause);
  }
  return plaintext;
}

/**
 * Builds a segment's nonce by the STREAM construction, from the segment's number and whether it is the last one. No
 * nonce repeats under a key, because each key seals only one record.
 * @see https://eprint.iacr.org/2015/189
 */
function buildNonce(index: number, final: boolean): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(index, 7);
  nonce.writeUInt8(final ? 1 : 0, 11);
  return nonce;
}

/**
 * Builds the associated data of a record, which every segment's tag authenticates: the header and the name. The length
 * of each text precedes it, so that no two names have the same encoding.
 * @throws RangeError for text with a lone surrogate, which UTF-8 can't encode, and for an epoch that is not a safe
 * integer of 0 or more
 */
function buildAssociatedData(header: Uint8Array, { tenant, kind, id, epoch, field }: RecordName): Uint8Array {
  if (!Number.isSafeInteger(epoch) || epoch < 0) {
    throw new RangeError(`The epoch of a sealed record must be a safe integer of 0 or more, not ${epoch}`);
  }
  const maxTextBytes = 3 * (tenant.length + kind.length + id.length + field.length);
  const data = Buffer.allocUnsafe(header.length + 4 * 4 + 8 + maxTextBytes);
  data.set(header);
  let end = header.length;
  for (const text of [tenant, kind, id]) end = writeText(data, end, text);
  data.writeUInt32BE(Math.floor(epoch / 2 ** 32), end);
  data.writeUInt32BE(epoch % 2 ** 32, end + 4);
  return data.subarray(0, writeText(data, end + 8, field));
}

const pool = Buffer.alloc(128 * SALT_BYTES);
let pooled = 0;

/** Returns random bytes from a pool. One system call per salt would take a tenth of the time of sealing 4 KB. */
function drawPooledRandom(size: number): Uint8Array {
  if (pooled < size) {
    randomFillSync(pool);
    pooled = pool.length;
  }
  pooled -= size;
  return pool.subarray(pooled, pooled + size);
}

/**
 * Writes a text's length, then the text.
 * @returns the offset after the text
 */
function writeText(data: Buffer, start: number, text: string): number {
  if (!text.isWellFormed()) throw new RangeError('The name of a sealed record must be well-formed text');
  const bytes = data.write(text, start + 4, 'utf8');
  data.writeUInt32BE(bytes, start);
  return start + 4 + bytes;
}

/** The error for a record that can't be opened. The log shows the reason; callers of the API see a generic text. */
export function unreadableRecordError(reason: string, cause?: unknown): LambentError {
  return new LambentError('record_unreadable', `A sealed record can't be opened: ${reason}`, { cause });
}
