import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS, type FaultProxy, startFaultProxy } from '../../../local/faults/proxy.ts';
import type { ErrorCode } from '../../../shared/core/errors.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { runJob } from '../../../shared/jobs/worker.ts';
import { aJob, anInput, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { recordTickets } from './recorded-tickets.ts';
import { aVault, type Services, startServices } from './services.ts';
import { makeWorkerCall } from './worker-call.ts';

let services: Services;
let proxy: FaultProxy;
let client: DynamoDBClient;
beforeAll(async () => {
  services = await startServices();
  proxy = await startFaultProxy({ service: 'dynamodb', target: services.urls.dynamodb, random: () => 0 });
  client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: proxy.url,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
  });
});
afterAll(async () => {
  client.destroy();
  await proxy.close();
  await services[Symbol.asyncDispose]();
});

/** How long a table that is away makes a worker wait between two tries. */
const STORE_PAUSE_MS = 2_000;

/** A worker with a job in DynamoDB, which is away from the moment on at which the model fails, for three tries. */
async function anAttempt(fault: (typeof FAULTS)[number], code: ErrorCode) {
  const jobs = createDynamoDBStore(client, { tableName: await services.newTable(), shards: 1, now: () => START });
  const blobs = createMemoryBlobs();
  const vault = aVault();
  const bodies = createBodies(vault, blobs);
  const { tenant, id, expiresAt } = aJob();
  await jobs.create(aJob({ input: await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, anInput()) }));
  const queue = recordTickets();
  let pauses = 0;
  const outcome = await runJob(
    { tenant, id },
    {
      jobs,
      bodies,
      timings: JOB_TIMINGS,
      events: createEventLog(vault, blobs),
      queue,
      answerJob: async () => {
        proxy.set({ [fault]: 1 });
        throw new UpstreamError(code, code, { recovery: 'retry' });
      },
      steps: {},
      onStepFailed: async () => {},
      ids: () => 'worker',
      random: () => 1,
      onError: () => {},
      now: () => START,
      async sleep(ms, signal) {
        if (ms !== STORE_PAUSE_MS) return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
        pauses += 1;
        if (pauses === 3) proxy.set({});
      },
    },
    makeWorkerCall(),
  );
  return { outcome, job: await jobs.read(tenant, id), sent: queue.ids(), pauses };
}

describe.each([
  ['given back', 'rate_limit_exceeded', { attempts: 0, releases: 1 }],
  ['tried again', 'upstream_cut', { attempts: 1, releases: 1 }],
] as const)('a job that is to be %s', (_name, code, counts) => {
  const waiting = { status: 'queued', epoch: 1, errorCode: code, ...counts };

  it.each(FAULTS.filter((fault) => fault !== 'cutAfter' && fault !== 'slow'))(
    'is so after requests that were %s',
    async (fault) => {
      const { outcome, job, sent, pauses } = await anAttempt(fault, code);
      expect(outcome).toMatchObject({ kind: 'released', errorCode: code, ticket: true });
      expect(job).toMatchObject(waiting);
      expect(job?.owner).toBeUndefined();
      expect(sent).toEqual([]);
      expect(pauses).toBe(3);
    },
  );

  it('is so once when the answer was lost', async () => {
    const { outcome, job } = await anAttempt('cutAfter', code);
    expect(outcome.kind).toBe('fenced');
    expect(job).toMatchObject({ ...waiting, duePartition: 'wait#jobs#0' });
  });
});
