import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
import { listPrefixDepths } from '../../../shared/gpu/placement/prompt.ts';
import { SLOT_SETTINGS } from '../../../shared/gpu/placement/settings.ts';
import type { Tier } from '../../../shared/gpu/registry/worker.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createFleet } from './fleet.ts';
import { FLEET, leaseSlots, MODEL, toPrefixes, toWorkerIndex } from './leased.ts';
import { ENGINE } from './world.ts';

const NEVER = new AbortController().signal;

/** Starts two workers with three slots each, on virtual time, and a table with a latency of 10 ms. */
async function startLeasedFleet() {
  const time = createVirtualTime();
  const workers = createFleet(2, time, ENGINE);
  const latency = { leastMs: 10, mostMs: 10 };
  const random = createSeededRandom(1);
  const slots = await leaseSlots({ workers, time, random, latency, settings: SLOT_SETTINGS, slots: 3 });
  const held = [0, 0];
  const most = [0, 0];
  const outcomes: string[] = [];
  /** Holds a slot for `ms`, starting at `at`. */
  const hold = (atMs: number, ms: number, tier: Tier = 'interactive') =>
    time.at(atMs, async () => {
      const prompt = { bytes: 4_000, prefixes: [] };
      const request = { fleet: FLEET, model: MODEL, tier, tenant: tier, prompt, expectedOutputTokens: 10 };
      const slot = await slots.acquire(request, NEVER).catch((error: Error) => {
        outcomes.push(error.message);
      });
      if (!slot) return;
      const index = toWorkerIndex(slot.worker.id);
      outcomes.push(`after ${slot.waitedMs} ms`);
      held[index] = (held[index] ?? 0) + 1;
      most[index] = Math.max(most[index] ?? 0, held[index]);
      await time.sleep(ms);
      held[index] -= 1;
      await slot.release();
    });
  return { time, hold, held, most, outcomes };
}

describe('the leases', () => {
  it('leases never exceed the slots, whatever the number of concurrent requests', async () => {
    const { time, hold, held, most, outcomes } = await startLeasedFleet();
    for (let index = 0; index < 40; index += 1) hold(10 * (index % 4), 1_000);
    await time.run();
    expect(most).toEqual([3, 3]);
    expect(held).toEqual([0, 0]);
    expect(outcomes.filter((outcome) => outcome.startsWith('after'))).toHaveLength(40);
  });

  it('a lease takes two sequential table requests: reading the fleet and leasing the slot', async () => {
    const { time, hold, outcomes } = await startLeasedFleet();
    hold(0, 10);
    await time.run();
    expect(outcomes).toEqual(['after 20 ms']);
  });

  it('leases are renewed for requests that take longer than one lease', async () => {
    const { time, hold, most, outcomes } = await startLeasedFleet();
    for (let index = 0; index < 6; index += 1) hold(0, 300_000);
    for (let index = 0; index < 6; index += 1) hold(100_000, 10);
    await time.run();
    expect(most).toEqual([3, 3]);
    expect(outcomes.filter((outcome) => outcome === `No slot of the fleet ${FLEET} came free in time`)).toHaveLength(6);
  });

  it('batch leases leave a quarter of each worker’s slots to interactive work', async () => {
    const { time, hold, most } = await startLeasedFleet();
    for (let index = 0; index < 10; index += 1) hold(0, 10_000, 'batch');
    await time.run();
    expect(most).toEqual([2, 2]);
  });
});

describe('a prompt’s prefixes', () => {
  it('prefixes are named at the directory’s depths that end a block of the trace', () => {
    const blocks = Array.from({ length: 12 }, (_, depth) => 100 + depth);
    expect(toPrefixes({ blocks, promptTokens: 6_200 })).toEqual({
      bytes: 24_800,
      prefixes: [
        { bytes: 2_048, hash: '100' },
        { bytes: 4_096, hash: '101' },
        { bytes: 6_144, hash: '102' },
        { bytes: 8_192, hash: '103' },
        { bytes: 12_288, hash: '105' },
        { bytes: 16_384, hash: '107' },
        { bytes: 24_576, hash: '111' },
      ],
    });
  });

  it('prefixes are at depths that the directory names, and none exceeds the prompt', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 130_000 }), (promptTokens) => {
        const blocks = Array.from({ length: Math.floor(promptTokens / 512) }, (_, depth) => depth);
        const { bytes, prefixes } = toPrefixes({ blocks, promptTokens });
        const depths = new Set(listPrefixDepths(Math.floor(bytes / 256)));
        for (const prefix of prefixes) {
          expect(depths).toContain(prefix.bytes / 256);
          expect(prefix.bytes).toBeLessThanOrEqual(bytes);
          expect(prefix.hash).toBe(String(prefix.bytes / 2_048 - 1));
        }
      }),
    );
  });
});
