/**
 * Makes the test vectors of the format, deterministically: `node test/shared/vault/make-vectors.ts` rewrites
 * `vectors.json`. If that file changes, the format has changed and old records don't open any more. The titles are part
 * of the salts.
 */
import { createHash, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import { HEADER_BYTES, SEALED_SEGMENT_BYTES, sealRecord } from '../../../shared/vault/record.ts';
import type { RecordName } from '../../../shared/vault/vault.ts';
import { forge, NAME } from './records.ts';

export const VECTORS_FILE = join(import.meta.dirname, 'vectors.json');

/** The content of `vectors.json`; all bytes in hexadecimal. */
export interface Vectors {
  readonly records: readonly RecordVector[];
  readonly refused: readonly RefusedVector[];
}

export interface RecordVector {
  readonly title: string;
  readonly tenantKey: string;
  readonly keyVersion: number;
  readonly name: RecordName;
  readonly salt: string;
  readonly recordKey: string;
  readonly commitment: string;
  /** The bytes, or their number if byte i is i mod 251. */
  readonly plaintext: string | number;
  /** Absent for large records. */
  readonly sealed?: string;
  readonly sealedBytes: number;
  readonly sealedSha256: string;
}

export interface RefusedVector {
  readonly title: string;
  readonly tenantKey: string;
  readonly keyVersion: number;
  readonly name: RecordName;
  readonly sealed: string;
}

/** Returns the plaintext of a vector. */
export function readPlaintext({ plaintext }: Pick<RecordVector, 'plaintext'>): Uint8Array {
  if (typeof plaintext === 'string') return Buffer.from(plaintext, 'hex');
  return Uint8Array.from({ length: plaintext }, (_, index) => index % 251);
}

const JOB: RecordName = { tenant: 'acme', kind: 'job-output', id: 'resp_0123', epoch: 1, field: '' };
const FOREIGN: RecordName = {
  tenant: 'Ünïted & Sons ☂',
  kind: 'conversation-item',
  id: 'conv_𝒳',
  epoch: Number.MAX_SAFE_INTEGER,
  field: 'msg_\u0000',
};
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (words: string) => hex(Buffer.from(words, 'utf8'));
/** Returns 32 bytes in place of random ones. */
const deriveBytes = (label: string) => createHash('sha256').update(label).digest();

/** Makes all vectors. */
export function makeVectors(): Vectors {
  const [hello, empty] = [
    makeRecord('a short text', JOB, 1, text('Hello, record.')),
    makeRecord('nothing', JOB, 1, ''),
  ];
  const records = [
    hello,
    empty,
    makeRecord('any text in a name, a large epoch and key version', FOREIGN, 4_294_967_295, text('{"role":"user"}')),
    makeRecord('one byte less than a segment', JOB, 2, 65_535),
    makeRecord('exactly one segment', JOB, 2, 65_536),
    makeRecord('one byte more than a segment', JOB, 2, 65_537),
    makeRecord('exactly two segments', JOB, 2, 131_072),
    makeRecord('four segments', JOB, 2, 200_000),
  ];
  return { records, refused: [...makeRefusals(hello), ...makeRefusedSegments(), ...makeForgeries()] };
}

function makeRecord(title: string, name: RecordName, keyVersion: number, plaintext: string | number): RecordVector {
  const [tenantKey, salt] = [deriveBytes(`tenant key ${keyVersion}`), deriveBytes(`salt of ${title}`)];
  const secret = new TenantSecret(tenantKey);
  const sealed = sealRecord(readPlaintext({ plaintext }), name, { version: keyVersion, secret }, () => salt);
  const info = Buffer.concat([Buffer.from('lambent sealed record 1'), salt]);
  const secrets = Buffer.from(hkdfSync('sha256', tenantKey, Buffer.alloc(0), info, 64));
  return {
    title,
    tenantKey: hex(tenantKey),
    keyVersion,
    name,
    salt: hex(salt),
    recordKey: hex(secrets.subarray(0, 32)),
    commitment: hex(secrets.subarray(32)),
    plaintext,
    ...(typeof plaintext === 'string' ? { sealed: hex(sealed) } : {}),
    sealedBytes: sealed.length,
    sealedSha256: createHash('sha256').update(sealed).digest('hex'),
  };
}

/** Makes all changes of a short record that must be refused. */
function makeRefusals({ tenantKey, keyVersion, name, sealed = '' }: RecordVector): RefusedVector[] {
  const whole = Buffer.from(sealed, 'hex');
  const changed = (at: number) => whole.map((byte, index) => (index === at ? byte ^ 1 : byte));
  const of = (title: string, bytes: Uint8Array, change: Partial<RefusedVector> = {}) => ({
    title,
    tenantKey,
    keyVersion,
    name,
    sealed: hex(bytes),
    ...change,
  });
  return [
    of('another format version', changed(0)),
    of('another key version', changed(4)),
    of('another salt', changed(5)),
    of('another commitment', changed(37)),
    of('a changed ciphertext', changed(HEADER_BYTES)),
    of('a changed tag', changed(whole.length - 1)),
    of('a byte cut off', whole.subarray(0, -1)),
    of('a byte appended', Buffer.concat([whole, Buffer.of(0)])),
    of('a header alone', whole.subarray(0, HEADER_BYTES)),
    of('less than a header', whole.subarray(0, HEADER_BYTES - 1)),
    of('nothing at all', Buffer.alloc(0)),
    of('another tenant key', whole, { tenantKey: hex(deriveBytes('tenant key 2')) }),
    of('another tenant', whole, { name: { ...name, tenant: 'acme2' } }),
    of('another kind', whole, { name: { ...name, kind: 'job-input' } }),
    of('another id', whole, { name: { ...name, id: 'resp_0124' } }),
    of('another epoch', whole, { name: { ...name, epoch: 2 } }),
    of('another field', whole, { name: { ...name, field: '0' } }),
    of('a letter moved from one part of the name to the next', whole, {
      name: { ...name, tenant: 'acm', kind: 'ejob-output' },
    }),
  ];
}

/** Makes a record of two segments without its first. The last segment is valid but has the wrong number. */
function makeRefusedSegments(): RefusedVector[] {
  const { title, tenantKey, keyVersion, name, salt } = makeRecord('one byte more than a segment', JOB, 2, 65_537);
  const secret = new TenantSecret(Buffer.from(tenantKey, 'hex'));
  const sealed = sealRecord(readPlaintext({ plaintext: 65_537 }), name, { version: keyVersion, secret }, () =>
    Buffer.from(salt, 'hex'),
  );
  const first = HEADER_BYTES + SEALED_SEGMENT_BYTES;
  const without = Buffer.concat([sealed.subarray(0, HEADER_BYTES), sealed.subarray(first)]);
  return [{ title: `${title}, its first segment left out`, tenantKey, keyVersion, name, sealed: hex(without) }];
}

/** Makes forged records whose tags are all valid. */
function makeForgeries(): RefusedVector[] {
  const [tenantKey, keyVersion] = [deriveBytes('tenant key 1'), 1];
  const whole = { tenantKey, keyVersion, segments: [Buffer.from('forged')] };
  const of = (title: string, sealed: Uint8Array) => ({
    title,
    tenantKey: hex(tenantKey),
    keyVersion,
    name: NAME,
    sealed: hex(sealed),
  });
  return [
    of(
      'a commitment to another key, under a genuine tag',
      forge({ ...whole, commitment: deriveBytes('no commitment') }),
    ),
    of('a format that is not known, under a genuine tag', forge({ ...whole, format: 2 })),
  ];
}

if (import.meta.main) writeFileSync(VECTORS_FILE, `${JSON.stringify(makeVectors(), null, 2)}\n`);
