import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import {
  computeSealedBytes,
  HEADER_BYTES,
  openRecord,
  prepareRecord,
  readKeyVersion,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
  sealRecord,
} from '../../../shared/vault/record.ts';
import type { RecordName } from '../../../shared/vault/vault.ts';
import { anyName, anyPlaintext, NAME, SIZES } from './records.ts';

const secret = new TenantSecret(randomBytes(32));
const KEY = { version: 3, secret };
const text = (words: string) => Buffer.from(words, 'utf8');
const seal = (plaintext: Uint8Array, name = NAME) => Buffer.from(sealRecord(plaintext, name, KEY));

/** Opens a record; returns its plaintext, or the code of the error. */
function tryOpen(sealed: Uint8Array, name: RecordName = NAME, key = secret): unknown {
  try {
    readKeyVersion(sealed);
    return openRecord(sealed, name, key);
  } catch (error) {
    return error instanceof LambentError ? error.code : error;
  }
}

describe('a record', () => {
  it.each(SIZES)('a record of %i bytes opens to its plaintext and has the length of the format', (size) => {
    const plaintext = randomBytes(size);
    const sealed = seal(plaintext);
    expect(sealed.length).toBe(computeSealedBytes(size));
    expect(Buffer.compare(Buffer.from(openRecord(sealed, NAME, secret)), plaintext)).toBe(0);
  });

  it('a record of any bytes opens under any name that it was sealed under', () => {
    fc.assert(
      fc.property(anyPlaintext, anyName, (plaintext, name) => {
        const open = openRecord(sealRecord(plaintext, name, KEY), name, secret);
        expect(Buffer.compare(open, plaintext)).toBe(0);
      }),
    );
  });

  it('the header of a record contains the key version', () => {
    for (const version of [1, 2, 4_294_967_295]) {
      expect(readKeyVersion(sealRecord(text('x'), NAME, { version, secret }))).toBe(version);
    }
  });

  it('sealing the same plaintext twice makes records with different salts', () => {
    const all = Array.from({ length: 1_000 }, () => seal(text('the same')));
    expect(new Set(all.map((sealed) => sealed.toString('hex', 5, 37))).size).toBe(all.length);
    expect(new Set(all.map((sealed) => sealed.toString('hex', HEADER_BYTES))).size).toBe(all.length);
  });

  it('a record opens if it is a view of a larger buffer, as in DynamoDB responses', () => {
    const sealed = seal(text('inside'));
    const larger = Buffer.concat([randomBytes(7), sealed, randomBytes(7)]);
    expect(openRecord(larger.subarray(7, -7), NAME, secret)).toEqual(text('inside'));
  });

  it('a prepared record is sealed after its tenant key was wiped, once', () => {
    const tenantKey = randomBytes(32);
    const wiped = new TenantSecret(tenantKey);
    const sealPrepared = prepareRecord(NAME, { version: 3, secret: wiped });
    wiped.wipe();
    const sealed = sealPrepared(text('late'));
    expect(openRecord(sealed, NAME, new TenantSecret(tenantKey))).toEqual(text('late'));
    // A second record with the same key would repeat the nonces.
    expect(() => sealPrepared(text('later'))).toThrow('second record');
  });

  it('a record does not contain its plaintext', () => {
    expect(seal(text('canary'.repeat(20_000))).includes('canary')).toBe(false);
  });
});

describe('a record that must not open', () => {
  it('a record with any single bit flipped does not open', () => {
    const sealed = seal(text('every bit of it'));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Buffer.from(sealed);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      // In production a changed key version selects another key. Here the record must not open even with the right key.
      expect(tryOpen(changed), `bit ${bit}`).toBe('record_unreadable');
    }
  });

  it('a record of several segments with any single byte changed does not open', () => {
    const sealed = seal(randomBytes(200_000));
    fc.assert(
      fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(sealed);
        changed[at] = (changed[at] ?? 0) ^ change;
        expect(tryOpen(changed)).toBe('record_unreadable');
      }),
    );
  });

  it('a record truncated at any byte does not open', () => {
    const small = seal(text('a few words'));
    for (let length = 0; length < small.length; length++) {
      expect(tryOpen(small.subarray(0, length)), `${length} bytes`).toBe('record_unreadable');
    }
    const large = seal(randomBytes(200_000));
    fc.assert(
      fc.property(fc.nat(large.length - 1), (length) => {
        expect(tryOpen(large.subarray(0, length))).toBe('record_unreadable');
      }),
    );
  });

  it.each(SIZES)('a record of %i bytes with bytes appended does not open', (size) => {
    const sealed = seal(randomBytes(size));
    for (const more of [1, 15, 16, 17, SEALED_SEGMENT_BYTES]) {
      expect(tryOpen(Buffer.concat([sealed, randomBytes(more)])), `${more} more bytes`).toBe('record_unreadable');
      expect(tryOpen(Buffer.concat([sealed, sealed.subarray(-more)])), `${more} of its own`).toBe('record_unreadable');
    }
  });

  it('a record with segments reordered, omitted or repeated does not open', () => {
    const count = 4;
    const sealed = seal(randomBytes((count - 1) * SEGMENT_BYTES + 1_000));
    const segments = Array.from({ length: count }, (_, index) => {
      const start = HEADER_BYTES + index * SEALED_SEGMENT_BYTES;
      return sealed.subarray(start, start + SEALED_SEGMENT_BYTES);
    });
    const whole = [0, 1, 2, 3];
    const arrangement = fc.array(fc.nat(count - 1), { maxLength: count + 1 });
    fc.assert(
      fc.property(
        fc.oneof(arrangement, fc.shuffledSubarray(whole)).filter((order) => order.join() !== whole.join()),
        (order) => {
          const parts = order.map((index) => segments[index] ?? Buffer.alloc(0));
          expect(tryOpen(Buffer.concat([sealed.subarray(0, HEADER_BYTES), ...parts]))).toBe('record_unreadable');
        },
      ),
    );
  });

  it('a record with full segments reordered does not open', () => {
    const sealed = seal(randomBytes(3 * SEGMENT_BYTES));
    const segment = (index: number) =>
      sealed.subarray(HEADER_BYTES + index * SEALED_SEGMENT_BYTES, HEADER_BYTES + (index + 1) * SEALED_SEGMENT_BYTES);
    for (const order of [[1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 1], [0, 1, 1], [0, 1, 2, 2], [0, 0, 1, 2], [2]]) {
      const parts = [sealed.subarray(0, HEADER_BYTES), ...order.map(segment)];
      expect(tryOpen(Buffer.concat(parts)), order.join()).toBe('record_unreadable');
    }
  });

  it('a record with a header, segment or tag of another record with the same name and key does not open', () => {
    const [one, two] = [seal(text('the one record')), seal(text('the two record'))];
    // Not right behind the first byte of the salt, which is the same in one of 256 pairs of records.
    const splices = [21, 37, HEADER_BYTES, one.length - 16].map((at) =>
      Buffer.concat([one.subarray(0, at), two.subarray(at)]),
    );
    expect(splices.map((sealed) => tryOpen(sealed))).toEqual(splices.map(() => 'record_unreadable'));
  });

  it('a record does not open under another name', () => {
    const other = fc.tuple(anyName, anyName).filter(([a, b]) => JSON.stringify(a) !== JSON.stringify(b));
    fc.assert(
      fc.property(other, ([name, elsewhere]) => {
        expect(tryOpen(seal(text('mine'), name), elsewhere)).toBe('record_unreadable');
      }),
    );
  });

  it.each<Partial<RecordName>>([
    { tenant: 'acme2' },
    { kind: 'job-input' },
    { id: 'resp_2' },
    { epoch: 2 },
    { epoch: 2 ** 32 + 1 },
    { field: '0' },
    { tenant: 'acmej', kind: 'ob-output' },
    { id: '', field: 'resp_1' },
  ])('a record does not open under a name that differs by %j', (difference) => {
    expect(tryOpen(seal(text('mine')), { ...NAME, ...difference })).toBe('record_unreadable');
  });

  it('a record does not open with another key, not even with a crafted one: the commitment is checked first', () => {
    const sealed = seal(text('mine'));
    expect(tryOpen(sealed, NAME, new TenantSecret(randomBytes(32)))).toBe('record_unreadable');
  });

  it('bytes that are not a record do not open', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        expect(tryOpen(bytes)).toBe('record_unreadable');
        expect(tryOpen(Buffer.concat([Buffer.of(1, 0, 0, 0, 3), bytes]))).toBe('record_unreadable');
      }),
    );
  });
});

it.each([
  { epoch: -1 },
  { epoch: 0.5 },
  { epoch: 2 ** 53 },
  { epoch: Number.NaN },
  { id: '\ud800' },
  { field: 'a\udc00' },
])('a record name with an ambiguous encoding is refused: %j', (part) => {
  expect(() => seal(text('x'), { ...NAME, ...part })).toThrow(RangeError);
});
