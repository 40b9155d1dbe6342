import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createKeyItem, getKeyPartition, type KeyRecord, parseKeyItem } from '../../../shared/access/keys.ts';
import { ORGANIZATION } from '../../../shared/access/principal.ts';

const record: KeyRecord = { tenant: 'acme', keyId: 'key-1', scopes: ['generate'], policy: '{"models":{}}' };

describe('the item of a key', () => {
  it('the item of a key contains the hash of the key and no part of the key itself', () => {
    const item = JSON.stringify(createKeyItem('sk-very-secret', record));
    expect(item).not.toContain('secret');
    // echo -n sk-very-secret | sha256sum
    expect(getKeyPartition('sk-very-secret')).toBe(
      'key#e7f15906532b67bd6092bc956bd77b16e621e812dc0ec0479544b370334d6b37',
    );
  });

  it('the item of a key is parsed into the key’s record', () => {
    expect(parseKeyItem(createKeyItem('sk-1', record), 0)).toEqual(record);
  });

  it('the item of a key is invalid from the second in which it expires', () => {
    const item = createKeyItem('sk-1', { ...record, expiresAt: 100 });
    expect(parseKeyItem(item, 99_999)).toEqual({ ...record, expiresAt: 100 });
    expect(parseKeyItem(item, 100_000)).toBeUndefined();
  });

  it('a tenant’s key has no scope of the administration, and an admin key has no other', () => {
    const scopes = ['generate', 'inference', 'from-the-future', 'admin.keys.read', 'admin.from-the-future'];
    const parse = (tenant: string) => parseKeyItem(createKeyItem('sk-1', { ...record, tenant, scopes }), 0)?.scopes;
    expect(parse('acme')?.toSorted()).toEqual(['from-the-future', 'generate', 'inference']);
    expect(parse(ORGANIZATION)?.toSorted()).toEqual(['admin.from-the-future', 'admin.keys.read']);
  });

  it('the item of a key is parsed into undefined if a field is missing or invalid', () => {
    for (const field of ['tenant', 'keyId', 'scopes']) {
      const { [field]: _, ...rest } = createKeyItem('sk-1', record);
      expect(parseKeyItem(rest, 0)).toBeUndefined();
    }
    const attribute = fc.oneof(
      fc.record({ S: fc.string() }),
      fc.record({ N: fc.integer().map(String) }),
      fc.record({ SS: fc.array(fc.string()) }),
      fc.record({ NULL: fc.constant(true as const) }),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), attribute), (item) => {
        expect(parseKeyItem(item, 0)).toBeUndefined();
      }),
    );
  });
});
