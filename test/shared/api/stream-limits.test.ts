import { beforeEach, expect, it } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import { Reservations } from '../../../shared/api/reservations.ts';
import { freeAfter, reservePlace } from '../../../shared/api/stream-place.ts';
import { sweepLimits } from '../../../shared/limits/sweep-limits.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';

const limits = { resumedStreamsInFlight: 1 };

let store: MemoryCounters;
let now: number;
beforeEach(() => {
  store = new MemoryCounters();
  now = Date.UTC(2026, 10, 30, 12, 0, 30);
});

function reserve(
  policy: Policy,
  counters: ConstructorParameters<typeof Reservations>[0]['store'] = store,
  keyId = 'k1',
) {
  const limiter = new Reservations({ store: counters, whenDown: 'refuse', now: () => now });
  const telemetry = recordTelemetry();
  const principal = { tenant: 'acme', keyId, policy, scopes: [] };
  return reservePlace(async () => limiter, 'default', { principal, telemetry } as never);
}

it.each<Policy>([
  { key: { limits } },
  { project: { limits } },
  { account: { limits } },
  { project: { limits: { models: { default: limits } } } },
])('a stream of a response takes its place until it is freed: %j', async (policy) => {
  const free = await reserve(policy);
  await expect(reserve(policy)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    message: expect.stringContaining('resumedStreamsInFlight of'),
    details: { headers: {}, retryAfterMs: 1_000 },
  });
  await free?.();
  // A reclaim that found nothing is not repeated for a second.
  now += 1_001;
  expect(await reserve(policy)).toBeDefined();
});

it('keys of a project share the places of its streams', async () => {
  const policy = { project: { limits } };
  await reserve(policy);
  await expect(reserve(policy, store, 'k2')).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
});

it('a caller without the limit makes no request for it', async () => {
  const down = {
    write: () => Promise.reject(new Error('down')),
    read: () => Promise.reject(new Error('down')),
    list: (prefixes: readonly string[]) => store.list(prefixes),
  };
  const others = { requestsPerDay: 0, streamsInFlight: 0, requestsInFlight: 0, dollarsPerDay: 0, schemaBytes: 9 };
  for (const policy of [{}, { key: { limits: others } }, { project: { limits: { models: { other: limits } } } }])
    expect(await reserve(policy, down)).toBeUndefined();
  await expect(reserve({ key: { limits } }, down)).rejects.toMatchObject({ code: 'overloaded' });
});

it('the place of a stream whose function died is free after 16 minutes, and counts as no call of a model', async () => {
  const policy = { key: { limits } };
  await reserve(policy);
  now += 17 * 60_000;
  const { logger, lines } = recordTelemetry();
  const ports = { store, logger, now: () => now, readState: async () => 'absent' as const, onError: () => {} };
  await sweepLimits(ports, now + 1);
  expect(lines).toEqual([]);
  expect(await store.read('key#acme#k1')).toEqual({ 'k.u.now': 0n });
  expect(await reserve(policy)).toBeDefined();
});

it.each([
  ['ends', 9],
  ['is left', 1],
  ['fails', -1],
])('a stream that %s frees its place', async (_case, atMost) => {
  let freed = 0;
  async function* yieldFrames(): AsyncGenerator<string, boolean> {
    yield 'a';
    if (atMost < 0) throw new Error('failed');
    yield 'b';
    return true;
  }
  const frames = freeAfter(yieldFrames(), async () => {
    freed += 1;
  });
  const read = async () => {
    let count = 0;
    for await (const _ of frames) if (++count === atMost) break;
  };
  await read().catch(() => {});
  expect(freed).toBe(1);
});
