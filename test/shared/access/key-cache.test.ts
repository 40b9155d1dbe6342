import { expect, it } from 'vitest';
import { createKeyCache } from '../../../shared/access/key-cache.ts';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import type { Principal } from '../../../shared/access/principal.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

it('a found key is looked up again only after its time, and a missing one each time', async () => {
  const keys = new Map<string, Principal>([['a', { tenant: 'acme', keyId: 'k', scopes: [], policy: UNRESTRICTED }]]);
  const lookups: string[] = [];
  const telemetry = recordTelemetry();
  let time = 0;
  const find = createKeyCache(
    async (value) => {
      lookups.push(value);
      return keys.get(value);
    },
    1_000,
    () => time,
  );
  expect(await find('a', telemetry)).toMatchObject({ tenant: 'acme' });
  expect(await find('a', telemetry)).toMatchObject({ tenant: 'acme' });
  expect(await find('b', telemetry)).toBeUndefined();
  expect(await find('b', telemetry)).toBeUndefined();
  expect(lookups).toEqual(['a', 'b', 'b']);
  keys.delete('a');
  time = 1_000;
  expect(await find('a', telemetry)).toBeUndefined();
  expect(lookups).toHaveLength(4);
});
