import { createSecretKey, hkdfSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TenantSecret } from '../../../shared/vault/derivation.ts';

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const info = (salt: Uint8Array) => Buffer.concat([Buffer.from('lambent sealed record 1'), salt]);

it("derived secrets equal HKDF-SHA256's, for any key and any sequence of salts", () => {
  fc.assert(
    fc.property(bytes32, fc.array(bytes32, { minLength: 1, maxLength: 5 }), (tenantKey, salts) => {
      const secret = new TenantSecret(tenantKey);
      for (const salt of salts) {
        const expected = Buffer.from(hkdfSync('sha256', tenantKey, new Uint8Array(), info(salt), 64));
        const { key, commitment } = secret.derive(salt);
        expect(key.export()).toEqual(expected.subarray(0, 32));
        expect(Buffer.from(commitment)).toEqual(expected.subarray(32));
      }
    }),
  );
});

it('a key for another purpose equals the one of HKDF-SHA256, and differs for each purpose', () => {
  const tenantKey = randomBytes(32);
  const secret = new TenantSecret(tenantKey);
  const derive = (purpose: string) =>
    Buffer.from(hkdfSync('sha256', tenantKey, new Uint8Array(), `lambent purpose: ${purpose}`, 32));
  expect(secret.deriveFor('one').export()).toEqual(derive('one'));
  expect(secret.deriveFor('two').export()).toEqual(derive('two'));
  secret.wipe();
  expect(() => secret.deriveFor('one')).toThrow('wiped');
});

it('a wiped tenant secret refuses to derive, and secrets that it derived before stay valid', () => {
  const tenantKey = randomBytes(32);
  const secret = new TenantSecret(tenantKey);
  const salt = randomBytes(32);
  const { key } = secret.derive(salt);
  const before = key.export();
  secret.wipe();
  expect(secret.wiped).toBe(true);
  expect(() => secret.derive(salt)).toThrow('wiped');
  expect(key.equals(createSecretKey(before))).toBe(true);
});

it('the tenant key may be wiped once the tenant secret is created', () => {
  const tenantKey = randomBytes(32);
  const kept = new TenantSecret(Buffer.from(tenantKey));
  const wiped = new TenantSecret(tenantKey);
  tenantKey.fill(0);
  const salt = randomBytes(32);
  expect(wiped.derive(salt).key.export()).toEqual(kept.derive(salt).key.export());
});
