import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import OpenAI from 'openai';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import type { Exchange } from '../../local/faults/proxy.ts';
import type { FunctionProcess } from '../../local/lambda/runner.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import type { Worker } from '../../shared/gpu/registry/worker.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import type { Job } from '../../shared/jobs/job.ts';
import { VISIBILITY_SECONDS } from '../../shared/lambda/queue-pipeline.ts';
import { managedFunctions } from '../lambda-mode.ts';
import { createWorker, FLEET, MODEL } from '../shared/gpu/fleets.ts';
import { type GpuWorker, startGpuWorker } from '../upstreams/gpu-worker.ts';
import { startUpstream } from '../upstreams/openai-upstream.ts';
import { connectToTables } from './keys.ts';

/** Leases, heartbeats and pauses are divided by this number. */
export const TIMINGS_DIVISOR = 6;

/** The whole service, with GPU workers that speak HTTP and with shortened leases, heartbeats and pauses. */
export interface GpuService extends AsyncDisposable {
  readonly cloud: Cloud;
  readonly client: OpenAI;
  readonly workers: readonly GpuWorker[];
  readonly readJob: (id: string) => Promise<Job | undefined>;
  /** Returns the workers with their live leases. */
  readFleet(): Promise<Worker[]>;
  /** Registers the first `size` workers under a new boot id and deregisters the others. `slots` is per worker. */
  register(slots: number, size?: number): Promise<void>;
  /** Returns the processes of a function that run an invocation. */
  listBusy(name: string): FunctionProcess[];
  /** Sets a listener for requests to DynamoDB, SQS, KMS and S3. It is called before the client gets the response. */
  onExchange(listener: ((exchange: Exchange) => void) | undefined): void;
}

/**
 * Starts a service with the models `gpu` and `helped`. The latter falls back to a hosted model. The sweep runs all the
 * time.
 */
export async function startGpuService(): Promise<GpuService> {
  const open = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-gpu-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const upstream = open.use(await startUpstream());
  const workers = [open.use(await startGpuWorker()), open.use(await startGpuWorker())];
  const target = { provider: 'gpu', model: MODEL, fleet: FLEET };
  const models = {
    gpu: { targets: [target] },
    helped: { targets: [target], fallbacks: ['hosted'] },
    hosted: { targets: [{ provider: 'openai-compatible', model: 'hosted', baseUrl: upstream.baseUrl }] },
  };
  const file = join(folder, 'models.json');
  await writeFile(file, JSON.stringify({ models, fleets: { [FLEET]: { stallMs: 10_000, waitMs: 5_000 } } }));
  let listener: ((exchange: Exchange) => void) | undefined;
  const cloud = await startCloud({
    stateDir: join(folder, 'state'),
    bedrock: async function* silent() {},
    environment: { MODELS_FILE: file, TIMINGS_DIVISOR: String(TIMINGS_DIVISOR) },
    schedules: false,
    managedFunctions: managedFunctions(),
    faults: { seed: 1, onExchange: (exchange) => listener?.(exchange) },
  });
  open.defer(() => cloud.close());
  await cloud.workersRegistered;
  const client = connectToTables(cloud);
  open.defer(() => client.destroy());
  const table = createDynamoDBFleetStore(client, { tableName: cloud.resources['FLEET_TABLE'] ?? '' });
  const jobs = createDynamoDBStore(client, { tableName: cloud.resources['JOBS_TABLE'] ?? '', shards: 1 });
  await shortenVisibility(cloud);
  const ended = new AbortController();
  open.defer(() => ended.abort());
  void sweepRepeatedly(cloud, ended.signal);
  let boots = 0;
  return {
    cloud,
    workers,
    client: new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 }),
    readJob: (id) => jobs.read('local', id),
    async readFleet() {
      const view = await table.read(FLEET);
      return view.workers.map((worker) => ({
        ...worker,
        leases: Object.fromEntries(Object.entries(worker.leases).filter(([, lease]) => lease.expiresAt > Date.now())),
      }));
    },
    async register(slots, size = workers.length) {
      boots += 1;
      for (const [index, { url }] of workers.entries()) {
        const id = `w${index + 1}`;
        const { leases: _, ...worker } = createWorker({ id, url, slots, bootId: `boot-${boots}` });
        if (index < size) await table.register(worker);
        else await table.deregister(FLEET, id);
      }
    },
    listBusy: (name) => cloud.processes().filter((each) => each.function === name && each.busy),
    onExchange(next) {
      listener = next;
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/**
 * Shortens the visibility timeout of the ticket queue. In AWS it is the function's timeout, after which a ticket returns whose
 * receiver died before it set a shorter one.
 */
async function shortenVisibility({ endpoints, resources, credentials }: Cloud): Promise<void> {
  const client = new SQSClient({
    region: 'eu-west-1',
    endpoint: endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    credentials,
  });
  const VisibilityTimeout = String(VISIBILITY_SECONDS / TIMINGS_DIVISOR);
  const QueueUrl = resources['GPU_QUEUE_URL'];
  await client.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { VisibilityTimeout } }));
  client.destroy();
}

/** Runs the sweep again each time it has ended. */
async function sweepRepeatedly(cloud: Cloud, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await cloud.invoke('sweep', '{}').then(
      ({ body }) => text(body),
      () => undefined,
    );
    await sleep(1_000, undefined, { signal: ended, ref: false }).catch(() => {});
  }
}
