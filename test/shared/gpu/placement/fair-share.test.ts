import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../../local/faults/random.ts';
import { SLOT_SETTINGS } from '../../../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../../../shared/gpu/placement/slot-allocator.ts';
import { createMemoryFleetStore } from '../../../../shared/gpu/registry/memory-fleet.ts';
import { createWaiter, createWorker, FLEET, MODEL, START } from '../fleets.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createSlotRequest, createTestFleet } from './slot-fixture.ts';

describe('competing tenants', () => {
  /**
   * Runs `demand` concurrent clients per tenant for two minutes.
   * @returns the number of completed requests per tenant
   */
  async function countServed(demand: Readonly<Record<string, number>>, slotCount: number, waitMs = 10_000) {
    const time = createVirtualTime(START);
    const store = createMemoryFleetStore(time.now);
    const { leases: _, ...worker } = createWorker({ slots: slotCount });
    await store.register(worker);
    let created = 0;
    const random = createSeededRandom(7);
    const newId = () => {
      created += 1;
      return `l${created}`;
    };
    const slots = createSlotAllocator(
      { store, now: time.now, sleep: time.sleep, random, newId },
      { ...SLOT_SETTINGS, defaultLimits: { reserve: 0.25, waitMs } },
    );
    const counts: Record<string, number> = {};
    const stop = new AbortController();
    async function client(tenant: string): Promise<void> {
      while (!stop.signal.aborted) {
        const slot = await slots.acquire(createSlotRequest({ tenant }), stop.signal).catch(() => undefined);
        if (slot === undefined) continue;
        await time.sleep(500 + 1_000 * random(), stop.signal);
        await slot.release();
        counts[tenant] = (counts[tenant] ?? 0) + 1;
      }
    }
    for (const [tenant, clients] of Object.entries(demand)) {
      for (let each = 0; each < clients; each += 1) client(tenant).catch(() => {});
    }
    await time.pass(120_000);
    stop.abort(new Error('over'));
    return counts;
  }

  it('two tenants get about the same throughput even if one sends ten times as many requests', async () => {
    const { acme = 0, globex = 0 } = await countServed({ acme: 40, globex: 4 }, 8);
    expect(globex / acme).toBeGreaterThan(0.8);
    expect(globex / acme).toBeLessThan(1.25);
  });

  it('a tenant uses the slots that the other does not need', async () => {
    const alone = (await countServed({ acme: 40 }, 8))['acme'] ?? 0;
    const { acme = 0, globex = 0 } = await countServed({ acme: 40, globex: 1 }, 8);
    expect(acme + globex).toBeGreaterThan(0.95 * alone);
    expect(globex).toBeGreaterThan(60);
  });

  it('a tenant yields only to live waiters of other tenants for the same model and tier that hold less', async () => {
    const { acquire, table } = await createTestFleet([createWorker({ models: [MODEL, 'other'] })]);
    await acquire({ tenant: 'acme' });
    await table.putWaiter(
      FLEET,
      createWaiter({ id: 'batch', tenant: 'globex', tier: 'batch', expiresAt: START + 90_000 }),
    );
    await table.putWaiter(
      FLEET,
      createWaiter({ id: 'model', tenant: 'globex', model: 'other', expiresAt: START + 90_000 }),
    );
    await table.putWaiter(FLEET, createWaiter({ id: 'mine', tenant: 'acme', expiresAt: START + 90_000 }));
    await table.putWaiter(FLEET, createWaiter({ id: 'dead', tenant: 'globex', expiresAt: START }));
    expect((await acquire({ tenant: 'acme' })).waitedMs).toBe(0);
    await table.putWaiter(FLEET, createWaiter({ id: 'competing', tenant: 'globex', expiresAt: START + 3_000 }));
    expect((await acquire({ tenant: 'initech' })).waitedMs).toBe(0);
    expect((await acquire({ tenant: 'acme' })).waitedMs).toBeGreaterThanOrEqual(3_000);
  });
});

describe('batch work', () => {
  it.each([['acme'], ['globex']])(
    'batch work leaves a free slot to waiting interactive work of tenant %s',
    async (tenant) => {
      const { acquire, table } = await createTestFleet([createWorker({ models: [MODEL, 'other'] })]);
      await table.putWaiter(FLEET, createWaiter({ tenant, model: 'other', expiresAt: START + 90_000 }));
      expect((await acquire({ tenant: 'acme', tier: 'batch' })).waitedMs).toBe(0);
      await table.putWaiter(FLEET, createWaiter({ id: 'chat', tenant, expiresAt: START + 1_000 }));
      expect((await acquire({ tenant: 'acme', tier: 'batch' })).waitedMs).toBeGreaterThanOrEqual(1_000);
    },
  );
});
