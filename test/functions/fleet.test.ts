import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { listen } from '../../local/listen.ts';
import { readBody } from '../../local/read-body.ts';
import { SLOT_SETTINGS } from '../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../shared/gpu/placement/slot-allocator.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import { createSlotRequest, getRefusal, NEVER_ABORTS } from '../shared/gpu/placement/slot-fixture.ts';
import { createTask, type StandInEcs, startStandInEcs } from '../shared/gpu/upkeep/stand-in-ecs.ts';
import { type StandInEngine, startStandInEngine } from '../shared/gpu/upkeep/stand-in-engine.ts';
import { aJob } from '../shared/jobs/jobs.ts';
import { type Services, startServices } from '../shared/jobs/services.ts';
import { getHandler, makeContext } from './test-environment.ts';

const TICK = { source: 'aws.events', 'detail-type': 'Scheduled Event' };

const resources = new AsyncDisposableStack();
let services: Services;
let ecs: StandInEcs;
let engine: StandInEngine;
let tableName: string;
let jobsTable: string;
let fleet: (event: unknown) => Promise<unknown>;
/** Maximum concurrency of the GPU queue's event source mapping. */
let maximumConcurrency = 2;
const written: string[] = [];

beforeAll(async () => {
  [services, ecs, engine] = await Promise.all([startServices(), startStandInEcs(), startStandInEngine()]);
  for (const part of [services, ecs, engine]) resources.use(part);
  const folder = await mkdtemp(join(tmpdir(), 'lambent-fleet-'));
  resources.defer(() => rm(folder, { recursive: true }));
  const lambda = await startLambdaApi();
  resources.defer(() => lambda.close());
  [tableName, jobsTable] = await Promise.all([services.newTable(), services.newTable()]);
  await writeFile(join(folder, 'models.json'), JSON.stringify(makeRegistry()));
  const environment = {
    AWS_REGION: 'eu-west-1',
    AWS_TIMEOUT_FACTOR: '20',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_ENDPOINT_URL_DYNAMODB: services.urls.dynamodb,
    AWS_ENDPOINT_URL_ECS: ecs.url,
    AWS_ENDPOINT_URL_LAMBDA: `http://127.0.0.1:${lambda.port}`,
    FLEET_TABLE: tableName,
    JOBS_TABLE: jobsTable,
    GPU_MAPPING_ID: 'mapping',
    GPU_BATCH_SIZE: '2',
    DISPATCH_CONCURRENCY_MAX: '5',
    MODELS_FILE: join(folder, 'models.json'),
    LOG_LEVEL: 'error',
  };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  const handler = getHandler(await import('../../functions/fleet.ts'));
  fleet = (event) => handler(event, makeContext());
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await resources.disposeAsync();
});
beforeEach(() => void written.splice(0));

/** Returns a registry with a fleet of listed workers and a fleet of an ECS service. */
function makeRegistry(): object {
  const target = { provider: 'gpu', model: 'Qwen/Qwen3-8B' };
  return {
    models: { listed: { targets: [{ ...target, fleet: 'listed' }] }, ecs: { targets: [{ ...target, fleet: 'ecs' }] } },
    fleets: {
      listed: { slots: 16, workers: [{ id: 'w1', url: engine.url }] },
      ecs: { slots: 16, ecs: { cluster: 'gpu', service: 'qwen', port: Number(new URL(engine.url).port) } },
    },
  };
}

/** Starts a stand-in for Lambda's API with one event source mapping. */
async function startLambdaApi() {
  const server = createServer(async (request, response) => {
    const body = String(await readBody(request, 10_000));
    if (request.method === 'PUT') maximumConcurrency = JSON.parse(body).ScalingConfig.MaximumConcurrency;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ UUID: 'mapping', ScalingConfig: { MaximumConcurrency: maximumConcurrency } }));
  });
  return listen(server, { port: 0 });
}

const store = () => createDynamoDBFleetStore(services.dynamodb, { tableName });
const readWorkers = async (name: string) => (await store().read(name)).workers;

/** Returns the log line with a fleet's metrics. */
function findMetrics(name: string): Record<string, unknown> {
  const lines = written.filter((line) => line.startsWith('{"_aws"')).map((line) => JSON.parse(line));
  return lines.find((line) => line.Fleet === name) ?? {};
}

it('a scheduled run registers workers, publishes metrics per fleet and sets the concurrency of dispatch', async () => {
  await fleet(TICK);
  expect(await readWorkers('listed')).toMatchObject([{ id: 'w1', state: 'ready', slots: 16 }]);
  expect(findMetrics('listed')).toMatchObject({ ReadyWorkers: 1, FreeSlots: 16, NeededWorkers: 0 });
  for (const metric of ['BacklogTokens', 'WaitingRequests', 'SuspectWorkers'])
    expect(findMetrics('listed')).not.toHaveProperty(metric);
  expect(findMetrics('ecs')).toMatchObject({ ReadyWorkers: 0, NeededWorkers: 0 });
  // Three quarters of 16 slots with two messages each would be 6, but the setting limits it to 5.
  expect(maximumConcurrency).toBe(5);
  expect(ecs.service.desiredCount).toBe(0);
});

it('a scheduled run starts the first worker of a fleet for which jobs wait', async () => {
  const job = aJob({ lane: 'gpu' });
  const jobs = createDynamoDBStore(services.dynamodb, { tableName: jobsTable, shards: 4 });
  // Its ticket is hidden for a pause, so that SQS counts no visible message.
  await jobs.create(job, { purpose: 'wait', queue: 'gpu', dueAt: Date.now() });
  await fleet(TICK);
  expect(findMetrics('ecs')).toMatchObject({ WaitingRequests: 1, NeededWorkers: 1 });
  expect(ecs.service.desiredCount).toBe(1);
  ecs.service.desiredCount = 1;
  await fleet(TICK);
  expect(ecs.requests.filter((operation) => operation === 'UpdateService')).toHaveLength(1);
  await jobs.delete(job.tenant, job.id);
});

/** Simulates a chat request that found no worker in the ECS fleet `agoMs` milliseconds ago and was refused. */
async function refuseChat(agoMs: number): Promise<void> {
  const ports = {
    store: store(),
    now: () => Date.now() - agoMs,
    random: Math.random,
    sleep: (ms: number) => sleep(ms),
    newId: () => 'chat',
  };
  const slots = createSlotAllocator(ports, { ...SLOT_SETTINGS, defaultLimits: { reserve: 0.25, waitMs: 100 } });
  await getRefusal(slots.acquire(createSlotRequest({ fleet: 'ecs' }), NEVER_ABORTS));
}

it('a scheduled run starts a first worker if a chat request was refused in the last two minutes', async () => {
  ecs.service.desiredCount = 0;
  await refuseChat(121_000);
  await fleet(TICK);
  expect(findMetrics('ecs')).toMatchObject({ NeededWorkers: 0 });
  expect(ecs.service.desiredCount).toBe(0);
  written.splice(0);
  await refuseChat(60_000);
  expect((await store().read('ecs')).waiters).toEqual([]);
  await fleet(TICK);
  expect(findMetrics('ecs')).toMatchObject({ WaitingRequests: 1, NeededWorkers: 1 });
  expect(ecs.service.desiredCount).toBe(1);
});

it('an ECS event registers a running task, and an EC2 interruption warning drains it', async () => {
  const task = createTask('t1');
  ecs.tasks.set(task.taskArn, task);
  ecs.instances.set(task.containerInstanceArn, 'i-0abc');
  const startedAt = new Date(task.startedAt * 1_000).toISOString();
  await fleet({ source: 'aws.ecs', 'detail-type': 'ECS Task State Change', detail: { ...task, startedAt } });
  expect(await readWorkers('ecs')).toMatchObject([{ id: 't1', state: 'ready', instance: 'i-0abc' }]);
  await fleet({
    source: 'aws.ec2',
    'detail-type': 'EC2 Spot Instance Interruption Warning',
    detail: { 'instance-id': 'i-0abc', 'instance-action': 'terminate' },
  });
  expect(await readWorkers('ecs')).toMatchObject([{ state: 'draining', stateReason: 'spot interruption' }]);
});

it('the concurrency of dispatch follows the slots of the ready workers', async () => {
  await fleet({ type: 'drain', fleet: 'listed', worker: 'w1' });
  await fleet(TICK);
  expect(maximumConcurrency).toBe(2);
  await fleet({ type: 'undrain', fleet: 'listed', worker: 'w1' });
  await fleet(TICK);
  expect(maximumConcurrency).toBe(5);
});

it('the command show returns the workers of a fleet', async () => {
  expect(await fleet({ type: 'show', fleet: 'listed' })).toEqual([
    { worker: 'w1', state: 'ready', url: engine.url, models: ['Qwen/Qwen3-8B'], slots: 16, leases: 0 },
  ]);
  await expect(fleet({ type: 'show', fleet: 'none' })).rejects.toMatchObject({ code: 'not_found' });
});

it('the fleet function rejects an unknown event', async () => {
  await expect(fleet({ hello: 'there' })).rejects.toMatchObject({ code: 'invalid_value' });
});
