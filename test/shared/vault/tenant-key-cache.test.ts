import { randomBytes } from 'node:crypto';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
import { TenantSecret } from '../../../shared/vault/derivation.ts';
import { TenantKeyCache } from '../../../shared/vault/tenant-key-cache.ts';

const caches: TenantKeyCache[] = [];
afterEach(() => {
  for (const cache of caches.splice(0)) cache.wipe();
});

/** Returns the share of a trace's requests that find their tenant's key in the cache. */
function computeHitRate(maxTenants: number, trace: readonly string[]): number {
  const cache = new TenantKeyCache({ now: () => 0, maxUses: 1e9, maxTenants, random: createSeededRandom(1) });
  caches.push(cache);
  let hits = 0;
  for (const tenant of trace) {
    if (cache.get(tenant, 1) === undefined) cache.add(tenant, { version: 1, secret: SECRET }, 300_000);
    else hits += 1;
    cache.recordUse(tenant, 1);
  }
  return hits / trace.length;
}

const makeSecret = () => new TenantSecret(randomBytes(32));
const SECRET = makeSecret();
const turns = (tenants: number, rounds: number) =>
  Array.from({ length: tenants * rounds }, (_, index) => `tenant-${index % tenants}`);

it('one tenant more than the cache holds, all in turn, hit it nearly every time', () => {
  // The first round can't hit.
  expect(computeHitRate(1_000, turns(1_001, 20))).toBeGreaterThan(0.94);
});

it('twice as many tenants as the cache holds, all in turn, still hit it often', () => {
  expect(computeHitRate(500, turns(1_000, 20))).toBeGreaterThan(0.25);
});

it('busy tenants stay in the cache while others appear once', () => {
  const busy = turns(50, 40);
  const once = busy.map((_, index) => `once-${index}`);
  const trace = busy.flatMap((tenant, index) => [tenant, once[index] ?? '']);
  // Half of the requests can't hit, and each busy tenant misses at first.
  expect(computeHitRate(100, trace)).toBeGreaterThan(0.45);
});

it('an evicted key is wiped', () => {
  const cache = new TenantKeyCache({ now: () => 0, maxUses: 1e9, maxTenants: 2 });
  caches.push(cache);
  const secrets = ['a', 'b', 'c', 'd'].map((tenant) => {
    const secret = new TenantSecret(randomBytes(32));
    cache.add(tenant, { version: 1, secret }, 300_000);
    return secret;
  });
  expect(secrets.filter(({ wiped }) => wiped)).toHaveLength(2);
});

it('a tenant whose key was just added is about to be served, and is not evicted before others', () => {
  const choices = [0, 0.99];
  let index = 0;
  const random = () => choices[index++ % 2] ?? 0;
  const cache = new TenantKeyCache({ now: () => 0, maxUses: 1e9, maxTenants: 2, random });
  caches.push(cache);
  const add = (tenant: string, version: number) => cache.add(tenant, { version, secret: makeSecret() }, 300_000);
  add('rotated', 1);
  cache.recordUse('rotated', 1);
  add('busy', 1);
  for (let use = 0; use < 5; use += 1) cache.recordUse('busy', 1);
  add('rotated', 2);
  add('new', 1);
  expect(cache.get('rotated', 2)).toBeDefined();
  expect(cache.get('busy', 1)).toBeUndefined();
});

it('the timer of a key that was removed does not wipe the key that is cached after it', () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const cache = new TenantKeyCache({ now: Date.now, maxUses: 1e9, maxTenants: 2 });
  caches.push(cache);
  cache.add('acme', { version: 1, secret: makeSecret() }, Date.now() + 1_000);
  cache.removeTenant('acme');
  cache.add('acme', { version: 1, secret: makeSecret() }, Date.now() + 300_000);
  vi.advanceTimersByTime(2_000);
  expect(cache.get('acme', 1)).toBeDefined();
});
