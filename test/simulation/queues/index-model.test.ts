import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
import type { IndexEntry } from '../../../shared/jobs/index-entry.ts';
import { aJob } from '../../shared/jobs/jobs.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createIndexModel, type IndexModel } from './index-model.ts';

const job = aJob({ expiresAt: 1_000_000 });
const WAITING: IndexEntry = { purpose: 'wait', queue: 'jobs', dueAt: 0 };

/** Returns the ids of the waiting jobs that the index shows. */
const readIds = async ({ store }: IndexModel) =>
  (await store.list('wait#jobs#0', 1_000_000, { limit: 100 })).entries.map(({ id }) => id);

/** Runs a scenario and fails if it doesn't end. */
async function run(scenario: (time: ReturnType<typeof createVirtualTime>) => Promise<void>): Promise<void> {
  const time = createVirtualTime();
  let hasEnded = false;
  time.at(0, async () => {
    await scenario(time);
    hasEnded = true;
  });
  await time.run();
  expect(hasEnded).toBe(true);
}

describe('the index model', () => {
  it('a write is in the table at once and in the index only after its lag', () =>
    run(async (time) => {
      const model = createIndexModel(time, { random: () => 0.5 });
      await model.store.create(job, WAITING);
      expect(await model.store.read('acme', 'resp_1')).toMatchObject({ id: 'resp_1', dueAt: 0 });
      expect(await model.store.count('wait#jobs#0')).toBe(0);
      expect(model.entries.size).toBe(1);
      await time.sleep(2_499);
      expect(await readIds(model)).toEqual([]);
      await time.sleep(1);
      expect(await readIds(model)).toEqual(['resp_1']);
      expect(await model.store.count('wait#jobs#0')).toBe(1);
    }));

  it('the index shows an entry for a while after the table has removed it', () =>
    run(async (time) => {
      const model = createIndexModel(time, { random: () => 0.5 });
      await model.store.create(job, WAITING);
      await time.sleep(5_000);
      await model.store.update('acme', 'resp_1', [], { index: 'none' });
      expect(await readIds(model)).toEqual(['resp_1']);
      await time.sleep(2_500);
      expect(await readIds(model)).toEqual([]);
    }));

  it('the writes of an item reach the index in order, 5 s later at most', () =>
    run(async (time) => {
      const lags = [0.99, 0];
      const model = createIndexModel(time, { random: () => lags.shift() ?? 0 });
      await model.store.create(job, WAITING);
      await time.sleep(1_000);
      await model.store.update('acme', 'resp_1', [], { index: 'none' });
      expect(await readIds(model)).toEqual([]);
      await time.sleep(4_000);
      expect(await readIds(model)).toEqual([]);
    }));

  it('the writes of different items may reach the index in another order, the same for the same seed', async () => {
    const observe = async (seed: number) => {
      const seen: string[][] = [];
      await run(async (time) => {
        const model = createIndexModel(time, { random: createSeededRandom(seed) });
        const ids = Array.from({ length: 30 }, (_, index) => `resp_${index}`);
        for (const [dueAt, id] of ids.entries()) await model.store.create({ ...job, id }, { ...WAITING, dueAt });
        for (let at = 0; at <= 5_000; at += 500) {
          seen.push(await readIds(model));
          await time.sleep(500);
        }
        expect(seen[0]?.length).toBeLessThan(ids.length);
        expect(seen.at(-1)?.length).toBe(ids.length);
      });
      return seen;
    };
    const seen = await observe(1);
    expect(await observe(1)).toEqual(seen);
    expect(await observe(2)).not.toEqual(seen);
    const half = seen[5] ?? [];
    expect(half).not.toEqual((seen.at(-1) ?? []).slice(0, half.length));
  });

  it('every request fails during an outage, and changes nothing', () =>
    run(async (time) => {
      const model = createIndexModel(time, { random: () => 0 });
      model.setAvailable(false);
      const error = { $fault: 'server', $metadata: { httpStatusCode: 500 } };
      await expect(model.store.create(job, WAITING)).rejects.toMatchObject(error);
      await expect(model.store.read('acme', 'resp_1')).rejects.toMatchObject(error);
      await expect(readIds(model)).rejects.toMatchObject(error);
      model.setAvailable(true);
      expect(await model.store.read('acme', 'resp_1')).toBeUndefined();
      expect((await model.store.create(job, WAITING)).created).toBe(true);
    }));
});
