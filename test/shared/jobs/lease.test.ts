import { expect, it } from 'vitest';
import { keep } from '../../../shared/jobs/lease.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { aJob, START } from './jobs.ts';

it('a renewed lease extends the visibility of the message that brought the job', async () => {
  let now = START;
  let extensions = 0;
  const jobs = createMemoryStore(() => now);
  const job = aJob({
    status: 'in_progress',
    owner: 'worker-1',
    epoch: 1,
    leaseExpiresAt: START + JOB_TIMINGS.leaseMs,
  });
  await jobs.create(job);
  const sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
    // Real time passes too, so that the test can stop the heartbeat.
    await new Promise((resolve) => setImmediate(resolve));
    if (!signal.aborted) now += ms;
  };
  const extended = Promise.withResolvers<void>();
  const lease = keep(
    job,
    { jobs, timings: JOB_TIMINGS, now: () => now, sleep },
    {
      shutdown: new AbortController().signal,
      extendVisibility: async () => {
        extensions += 1;
        if (extensions === 2) extended.resolve();
      },
    },
  );
  const lost = new Promise<never>((_resolve, reject) => {
    lease.signal.addEventListener('abort', () => reject(lease.signal.reason));
  });
  await Promise.race([extended.promise, lost]);
  await lease.letGo();
  expect(lease.stop).toBeUndefined();
});
