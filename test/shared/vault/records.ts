import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import type { RecordName } from '../../../shared/vault/vault.ts';

export const NAME: RecordName = { tenant: 'acme', kind: 'job-output', id: 'resp_1', epoch: 1, field: '' };

/** 64 KB, the plaintext size of a segment. */
const SEGMENT = 65_536;

/** Sizes at every boundary of the format: empty, one byte, around one and two segments, and several segments. */
export const SIZES = [
  0,
  1,
  2,
  4_096,
  SEGMENT - 1,
  SEGMENT,
  SEGMENT + 1,
  2 * SEGMENT - 1,
  2 * SEGMENT,
  2 * SEGMENT + 1,
  300_000,
];

const anyText = fc.string({ unit: 'grapheme', maxLength: 40 });

export const anyName: fc.Arbitrary<RecordName> = fc.record({
  tenant: anyText,
  kind: anyText,
  id: anyText,
  epoch: fc.maxSafeNat(),
  field: anyText,
});

/** Any bytes: mostly few, sometimes of a size at a boundary. */
export const anyPlaintext: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  { weight: 1, arbitrary: fc.constantFrom(...SIZES).map((size) => new Uint8Array(randomBytes(size))) },
);

/** A record crafted with the right tenant key that violates a part of the format. */
export interface Forgery {
  readonly tenantKey: Uint8Array;
  readonly format?: number;
  readonly keyVersion: number;
  /** Replaces the commitment to the key. */
  readonly commitment?: Uint8Array;
  /** Plaintext of each segment; the last one is sealed as the last. */
  readonly segments: readonly Uint8Array[];
}

/** Builds a record under `NAME` whose tags are all valid. */
export function forge({ tenantKey, format = 1, keyVersion, commitment, segments }: Forgery): Uint8Array {
  const salt = Buffer.alloc(32, 7);
  const info = Buffer.concat([Buffer.from('lambent sealed record 1'), salt]);
  const secrets = Buffer.from(hkdfSync('sha256', tenantKey, '', info, 64));
  const start = Buffer.alloc(5, format);
  start.writeUInt32BE(keyVersion, 1);
  const header = Buffer.concat([start, salt, commitment ?? secrets.subarray(32)]);
  const epoch = Buffer.alloc(8);
  epoch.writeBigUInt64BE(BigInt(NAME.epoch));
  const [tenant, kind, id, field] = [NAME.tenant, NAME.kind, NAME.id, NAME.field].map((text) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text, 'latin1')]);
  });
  const associatedData = Buffer.concat([header, tenant, kind, id, epoch, field].filter((part) => part !== undefined));
  const sealed = segments.map((plaintext, index) => {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(index, 7);
    nonce.writeUInt8(index === segments.length - 1 ? 1 : 0, 11);
    const cipher = createCipheriv('aes-256-gcm', secrets.subarray(0, 32), nonce).setAAD(associatedData);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  });
  return Buffer.concat([header, ...sealed]);
}
