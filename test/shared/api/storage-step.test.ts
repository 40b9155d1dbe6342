import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createStorageStep } from '../../../shared/api/storage-step.ts';
import { withStorageCounts } from '../../../shared/jobs/counted-store.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { aJob, START } from '../jobs/jobs.ts';

it('a counted job gives back all that was reserved for it, once, in whatever order it is settled and deleted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.boolean(), async (scheduler, isDeleted) => {
      let given = { bytes: 0, items: 0 };
      const store = createMemoryStore(() => START);
      const jobs = withStorageCounts(
        {
          ...store,
          delete: scheduler.scheduleFunction(store.delete),
          update: scheduler.scheduleFunction(store.update),
        },
        async (_tenant, { bytes, items }) => {
          given = { bytes: given.bytes + bytes, items: given.items + items };
        },
      );
      const body = { place: 'table', epoch: 1, sizeBytes: 100 } as const;
      const turn = { turnBytes: 5_000, turnItems: 9 };
      const job = aJob({ status: 'completed', input: body, output: body, storedBytes: 9_000, ...turn });
      await store.create(job);
      const step = createStorageStep(jobs, async (_tenant, { bytes, items }) => {
        given = { bytes: given.bytes + bytes, items: given.items + items };
      });
      const ended = { job, input: undefined, output: undefined };
      const deletions = isDeleted ? [1, 2].map(() => jobs.delete(job.tenant, job.id)) : [];
      await scheduler.waitFor(Promise.all([step(ended), step(ended), ...deletions]));
      if (!isDeleted) expect(given).toEqual({ bytes: 13_800, items: 9 });
      else
        expect([
          { bytes: 14_000, items: 10 },
          { bytes: 9_000, items: 1 },
        ]).toContainEqual(given);
    }),
  );
});

it.each(['queued', 'in_progress', 'failed'] as const)(
  'deleting a job without an output gives back all that was reserved for it and its turn while it is %s',
  async (status) => {
    const given: unknown[] = [];
    const jobs = withStorageCounts(
      createMemoryStore(() => START),
      async (_tenant, stored) => void given.push(stored),
    );
    await jobs.create(aJob({ status, storedBytes: 9_000, turnBytes: 5_000, turnItems: 9 }));
    await jobs.delete('acme', 'resp_1');
    expect(given).toEqual([{ bytes: 14_000, items: 10 }]);
  },
);
