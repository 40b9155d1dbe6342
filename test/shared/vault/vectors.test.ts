import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import { openRecord, readKeyVersion, sealRecord } from '../../../shared/vault/record.ts';
import { makeVectors, readPlaintext, VECTORS_FILE, type Vectors } from './make-vectors.ts';
import { anyName, anyPlaintext, type Forgery, forge, NAME } from './records.ts';
import * as second from './second-implementation.ts';

const { records, refused } = JSON.parse(readFileSync(VECTORS_FILE, 'utf8')) as Vectors;
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

it('the test vectors match the current format', () => {
  expect({ records, refused }).toEqual(makeVectors());
});

describe.each(records)('$title', (vector) => {
  const { name, keyVersion } = vector;
  const [tenantKey, salt] = [bytes(vector.tenantKey), bytes(vector.salt)];
  const plaintext = readPlaintext(vector);
  const sealedHere = () =>
    sealRecord(plaintext, name, { version: keyVersion, secret: new TenantSecret(tenantKey) }, () => salt);

  it('both implementations seal the vector to the same record', async () => {
    const sealed = sealedHere();
    if (vector.sealed !== undefined) expect(Buffer.from(sealed).toString('hex')).toBe(vector.sealed);
    expect(await second.seal(plaintext, name, tenantKey, keyVersion, salt)).toEqual(Uint8Array.from(sealed));
    expect([sealed.length, sha256(sealed)]).toEqual([vector.sealedBytes, vector.sealedSha256]);
  });

  it('both implementations open the vector', async () => {
    const sealed = vector.sealed === undefined ? sealedHere() : bytes(vector.sealed);
    expect(sha256(openRecord(sealed, name, new TenantSecret(tenantKey)))).toBe(sha256(plaintext));
    expect(sha256(await second.open(sealed, name, new Map([[keyVersion, tenantKey]])))).toBe(sha256(plaintext));
  });
});

it.each(refused)('both implementations refuse $title', async ({ sealed, name, tenantKey, keyVersion }) => {
  const record = bytes(sealed);
  const ours = () => {
    const version = readKeyVersion(record);
    if (version !== keyVersion) throw new Error(`There is no key version ${version}`);
    return openRecord(record, name, new TenantSecret(bytes(tenantKey)));
  };
  expect(ours).toThrow();
  await expect(second.open(record, name, new Map([[keyVersion, bytes(tenantKey)]]))).rejects.toThrow();
});

describe('a forged record with valid tags', () => {
  const tenantKey = randomBytes(32);
  const whole = { tenantKey, keyVersion: 1, segments: [Buffer.from('forged')] };
  const openedByBoth = async (forgery: Forgery) => {
    const record = Uint8Array.from(forge(forgery));
    const ours = await Promise.resolve()
      .then(() => readKeyVersion(record) === 1 && openRecord(record, NAME, new TenantSecret(tenantKey)).length)
      .catch((error: unknown) => Reflect.get(Object(error), 'code'));
    const theirs = await second.open(record, NAME, new Map([[1, tenantKey]])).then(
      (plaintext) => plaintext.length,
      () => 'record_unreadable',
    );
    return [ours, theirs];
  };
  const REFUSED = ['record_unreadable', 'record_unreadable'];

  it('both implementations refuse a commitment to another key', async () => {
    expect(await openedByBoth(whole)).toEqual([6, 6]);
    expect(await openedByBoth({ ...whole, commitment: randomBytes(32) })).toEqual(REFUSED);
  });

  it('both implementations refuse an unknown format version', async () => {
    for (const format of [0, 2, 255]) expect(await openedByBoth({ ...whole, format })).toEqual(REFUSED);
  });

  // It would be a second encoding of the same record.
  it('both implementations refuse an empty segment after a full one', async () => {
    const full = Buffer.alloc(65_536);
    expect(await openedByBoth({ ...whole, segments: [full, Buffer.alloc(1)] })).toEqual([65_537, 65_537]);
    expect(await openedByBoth({ ...whole, segments: [full, Buffer.alloc(0)] })).toEqual(REFUSED);
  });
});

it('each implementation opens the records of the other', async () => {
  const tenantKey = randomBytes(32);
  const secret = new TenantSecret(tenantKey);
  await fc.assert(
    fc.asyncProperty(
      anyPlaintext,
      anyName,
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      async (plaintext, name, version) => {
        const ours = sealRecord(plaintext, name, { version, secret });
        const theirs = await second.seal(plaintext, name, tenantKey, version);
        expect(sha256(await second.open(ours, name, new Map([[version, tenantKey]])))).toBe(sha256(plaintext));
        expect(sha256(openRecord(theirs, name, secret))).toBe(sha256(plaintext));
      },
    ),
    { numRuns: 100 },
  );
});
