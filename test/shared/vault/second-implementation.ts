/**
 * A second implementation of sealed records, for comparison. It was written only from `docs/sealed-record.md`, uses
 * WebCrypto, and shares no code with `shared/vault/`.
 */

import type { webcrypto } from 'node:crypto';

type Bytes = Uint8Array<ArrayBuffer>;

/** The name of a record. */
export interface RecordName {
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
  readonly epoch: number;
  readonly field: string;
}

const SEGMENT = 65_536;
const TAG = 16;
const HEADER = 69;

/** Seals `plaintext` with a tenant key of 32 bytes. */
export async function seal(
  plaintext: Uint8Array,
  name: RecordName,
  tenantKey: Uint8Array,
  keyVersion: number,
  salt: Uint8Array = crypto.getRandomValues(new Uint8Array(32)),
): Promise<Bytes> {
  const { key, commitment } = await secrets(tenantKey, salt);
  const header = join(Uint8Array.of(1), integer(keyVersion, 4), salt, commitment);
  const additionalData = join(header, encode(name));
  const count = Math.max(1, Math.ceil(plaintext.length / SEGMENT));
  const segments: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const piece = join(plaintext.subarray(i * SEGMENT, (i + 1) * SEGMENT));
    const iv = nonce(i, i === count - 1);
    segments.push(new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, key, piece)));
  }
  return join(header, ...segments);
}

/**
 * Opens a record.
 * @param tenantKeys the tenant's keys by version
 * @throws Error if the record must not open
 */
export async function open(
  record: Uint8Array,
  name: RecordName,
  tenantKeys: ReadonlyMap<number, Uint8Array>,
): Promise<Bytes> {
  if (record.length < HEADER || record[0] !== 1) throw new Error('not a record of format 1');
  const header = join(record.subarray(0, HEADER));
  const tenantKey = tenantKeys.get(new DataView(header.buffer).getUint32(1));
  if (tenantKey === undefined) throw new Error('no key of this version');
  const { key, commitment } = await secrets(tenantKey, header.subarray(5, 37));
  if (!equal(commitment, header.subarray(37))) throw new Error('another key');

  const additionalData = join(header, encode(name));
  const body = record.subarray(HEADER);
  const count = Math.max(1, Math.ceil(body.length / (SEGMENT + TAG)));
  const pieces: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const segment = join(body.subarray(i * (SEGMENT + TAG), (i + 1) * (SEGMENT + TAG)));
    if (segment.length < (count === 1 ? TAG : TAG + 1)) throw new Error('cut');
    const iv = nonce(i, i === count - 1);
    pieces.push(new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, key, segment)));
  }
  return join(...pieces);
}

/** Derives the record key and the commitment by HKDF. */
async function secrets(
  tenantKey: Uint8Array,
  salt: Uint8Array,
): Promise<{ key: webcrypto.CryptoKey; commitment: Bytes }> {
  const input = await crypto.subtle.importKey('raw', join(tenantKey), 'HKDF', false, ['deriveBits']);
  const info = join(new TextEncoder().encode('lambent sealed record 1'), salt);
  const bits = await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: join(), info }, input, 512);
  const key = await crypto.subtle.importKey('raw', bits.slice(0, 32), 'AES-GCM', false, ['encrypt', 'decrypt']);
  return { key, commitment: new Uint8Array(bits.slice(32)) };
}

function nonce(i: number, last: boolean): Bytes {
  return join(new Uint8Array(7), integer(i, 4), Uint8Array.of(last ? 1 : 0));
}

function encode({ tenant, kind, id, epoch, field }: RecordName): Bytes {
  const text = (t: string) => {
    const bytes = new TextEncoder().encode(t);
    return join(integer(bytes.length, 4), bytes);
  };
  return join(text(tenant), text(kind), text(id), integer(epoch, 8), text(field));
}

function integer(value: number, bytes: 4 | 8): Bytes {
  const data = new DataView(new ArrayBuffer(8));
  data.setBigUint64(0, BigInt(value));
  return new Uint8Array(data.buffer.slice(8 - bytes));
}

function join(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  a.forEach((byte, i) => {
    difference |= byte ^ (b[i] ?? 0);
  });
  return difference === 0;
}
