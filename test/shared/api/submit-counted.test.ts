import { expect, it } from 'vitest';
import { StorageLimits } from '../../../shared/api/storage-limits.ts';
import { submitCounted } from '../../../shared/api/submit-counted.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import type { Admitted } from '../../../shared/jobs/submit.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { aJob, anInput, HOUR_MS, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault } from '../jobs/services.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';
import { createTestRegistry } from './service.ts';

/** Creates what submits jobs of a project that may store so many items. `faults` override methods of the job store. */
function createSubmitter(storedItems: number, faults: (jobs: JobStore) => Partial<JobStore> = () => ({})) {
  const counters = new MemoryCounters();
  const now = () => START;
  const limits = new StorageLimits({ store: counters, metrics: { publish: () => {} }, whenDown: 'refuse', now });
  const jobs = createMemoryStore(now);
  const ports = {
    jobs: { ...jobs, ...faults(jobs) },
    bodies: createBodies(aVault(), createMemoryBlobs()),
    timings: JOB_TIMINGS,
    now,
    openStorageLimits: async () => limits,
  };
  const registry = createTestRegistry();
  const caller = { tenant: 'acme', keyId: 'one', policy: { project: { limits: { storedItems } } } };
  const submit = (id: string, changes: Partial<Admitted> = {}) => {
    const { endpoint, tier, background, streamed, stored } = aJob();
    const input = anInput();
    const admitted: Admitted = {
      ...{ tenant: 'acme', id, endpoint, tier, background, streamed, stored, input },
      deadline: START + HOUR_MS,
      expiresAt: (START + 24 * HOUR_MS) / 1000,
      ...changes,
    };
    const { generation } = input;
    return submitCounted({ admitted, generation, registry, caller, telemetry: undefined }, ports);
  };
  const countItems = async () => (await counters.read('stored#acme'))['I'] ?? 0n;
  return { submit, countItems, limits };
}

it('a job whose request is repeated is counted once, and is found although its project is full', async () => {
  const { submit, countItems } = createSubmitter(2);
  expect(await submit('resp_1')).toMatchObject({ kind: 'created' });
  expect(await submit('resp_1')).toMatchObject({ kind: 'known' });
  expect(await countItems()).toBe(1n);
  expect(await submit('resp_2')).toMatchObject({ kind: 'created' });
  expect(await submit('resp_1')).toMatchObject({ kind: 'known' });
  await expect(submit('resp_3')).rejects.toMatchObject({ code: 'storage_limit_exceeded' });
  expect(await countItems()).toBe(2n);
});

it.each([
  ['exists', true, 1n],
  ['does not exist', false, 0n],
] as const)(
  'after a creation without a response, a job that %s counts accordingly',
  async (_what, isCreated, items) => {
    const { submit, countItems } = createSubmitter(9, ({ create }) => ({
      async create(...job) {
        if (isCreated) await create(...job);
        throw new Error('response lost');
      },
    }));
    await expect(submit('resp_1')).rejects.toThrow('response lost');
    expect(await countItems()).toBe(items);
  },
);

it('a job of a conversation has the bounds of its turn, which count, too', async () => {
  const { submit, countItems } = createSubmitter(99);
  const submitted = await submit('resp_1', { conversation: 'conv_1' });
  const job = submitted.kind === 'created' ? submitted.job : undefined;
  expect(job?.turnBytes).toBeGreaterThan(0);
  expect(job?.storedBytes).toBeGreaterThan(0);
  expect(await countItems()).toBe(1n + BigInt(job?.turnItems ?? 0));
});

it('what was reserved is given back once, however often it is settled', async () => {
  const { limits, countItems } = createSubmitter(9);
  const request = { most: { bytes: 100, items: 3 }, expiresAt: START / 1000 };
  const kept = await limits.reserve('acme', request, { items: 9n }, undefined);
  const reserved = await limits.reserve('acme', request, { items: 9n }, undefined);
  for (let index = 0; index < 2; index += 1) await reserved?.settle({ bytes: 0, items: 1 });
  expect(kept).toBeDefined();
  expect(await countItems()).toBe(4n);
});
