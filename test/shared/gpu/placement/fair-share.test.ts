import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../../local/faults/random.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import { aWaiter, aWorker, FLEET, MODEL, START } from '../fleets.ts';
import { virtualTime } from '../virtual-time.ts';
import { aHouse, aRequest } from './slot-fixture.ts';

describe('tenants that compete', () => {
  /** Each has so many requests under way or waiting at any time; what each was served in a while. */
  async function served(demand: Readonly<Record<string, number>>, slotCount: number, waitMs = 10_000) {
    const time = virtualTime(START);
    const store = createMemoryFleetStore(time.now);
    const { leases: _, ...worker } = aWorker({ slots: slotCount });
    await store.register(worker);
    let made = 0;
    const random = seededRandom(7);
    const newId = () => {
      made += 1;
      return `l${made}`;
    };
    const slots = createSlotAllocator(
      { store, now: time.now, sleep: time.sleep, random, newId },
      { ...SLOT_SETTINGS, defaultLimits: { reserve: 0.25, waitMs } },
    );
    const counts: Record<string, number> = {};
    const ended = new AbortController();
    async function client(tenant: string): Promise<void> {
      while (!ended.signal.aborted) {
        const slot = await slots.acquire(aRequest({ tenant }), ended.signal).catch(() => undefined);
        if (slot === undefined) continue;
        await time.sleep(500 + 1_000 * random(), ended.signal);
        await slot.release();
        counts[tenant] = (counts[tenant] ?? 0) + 1;
      }
    }
    for (const [tenant, clients] of Object.entries(demand)) {
      for (let each = 0; each < clients; each += 1) client(tenant).catch(() => {});
    }
    await time.pass(120_000);
    ended.abort(new Error('over'));
    return counts;
  }

  test('each get about half, though one asks ten times as often', async () => {
    const { acme = 0, globex = 0 } = await served({ acme: 40, globex: 4 }, 8);
    expect(globex / acme).toBeGreaterThan(0.8);
    expect(globex / acme).toBeLessThan(1.25);
  });

  test('leave what one does not want to the other', async () => {
    const alone = (await served({ acme: 40 }, 8))['acme'] ?? 0;
    const { acme = 0, globex = 0 } = await served({ acme: 40, globex: 1 }, 8);
    expect(acme + globex).toBeGreaterThan(0.95 * alone);
    expect(globex).toBeGreaterThan(60);
  });

  test('do so only for those who wait for the same model, are of their tier or above, and hold less', async () => {
    const { acquire, table } = await aHouse([aWorker({ models: [MODEL, 'other'] })]);
    await acquire({ tenant: 'acme' });
    await table.putWaiter(FLEET, aWaiter({ id: 'batch', tenant: 'globex', tier: 'batch', expiresAt: START + 90_000 }));
    await table.putWaiter(FLEET, aWaiter({ id: 'model', tenant: 'globex', model: 'other', expiresAt: START + 90_000 }));
    await table.putWaiter(FLEET, aWaiter({ id: 'mine', tenant: 'acme', expiresAt: START + 90_000 }));
    await table.putWaiter(FLEET, aWaiter({ id: 'dead', tenant: 'globex', expiresAt: START }));
    expect((await acquire({ tenant: 'acme' })).waitedMs).toBe(0);
    await table.putWaiter(FLEET, aWaiter({ id: 'true', tenant: 'globex', expiresAt: START + 3_000 }));
    expect((await acquire({ tenant: 'initech' })).waitedMs).toBe(0);
    expect((await acquire({ tenant: 'acme' })).waitedMs).toBeGreaterThanOrEqual(3_000);
  });
});

describe('batch work', () => {
  test.each([['acme'], ['globex']])('leaves a free slot to interactive work of %s that waits', async (tenant) => {
    const { acquire, table } = await aHouse([aWorker({ models: [MODEL, 'other'] })]);
    await table.putWaiter(FLEET, aWaiter({ tenant, model: 'other', expiresAt: START + 90_000 }));
    expect((await acquire({ tenant: 'acme', tier: 'batch' })).waitedMs).toBe(0);
    await table.putWaiter(FLEET, aWaiter({ id: 'chat', tenant, expiresAt: START + 1_000 }));
    expect((await acquire({ tenant: 'acme', tier: 'batch' })).waitedMs).toBeGreaterThanOrEqual(1_000);
  });
});
