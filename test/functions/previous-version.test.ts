import { GetItemCommand, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createJobStores } from '../../shared/api/job-dependencies.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { marshall } from '../../shared/aws/attributes.ts';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';
import { createKmsClient } from '../../shared/aws/kms.ts';
import { createS3Client } from '../../shared/aws/s3.ts';
import { createMetrics } from '../../shared/core/metrics.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { Expression } from '../../shared/jobs/expressions.ts';
import type { Job } from '../../shared/jobs/job.ts';
import { itemKey, jobItem, parseJobItem } from '../../shared/jobs/job-item.ts';
import type { Guard } from '../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../shared/jobs/timings.ts';
import { claim, commit } from '../../shared/jobs/transitions.ts';
import { createWorker, FLEET } from '../shared/gpu/fleets.ts';
import { makeRequest } from '../shared/inference/requests.ts';
import { aJob } from '../shared/jobs/jobs.ts';
import { startGpuWorker } from '../upstreams/gpu-worker.ts';
import {
  countMessages,
  getHandler,
  type Handler,
  makeContext,
  makeQueueEvent,
  receiveEvent,
  startTestEnvironment,
  sweepUntil,
  type TestEnvironment,
} from './test-environment.ts';

// During a deployment, the previous version and this one work on each other's items and messages. The previous version ran
// jobs from the generation queue, counted an attempt at the claim, and had one index entry per job in `due#0` to `due#15`.

let testEnvironment: TestEnvironment;
let stores: ReturnType<typeof createJobStores>;
let intake: Handler;
let generate: Handler;
let dispatch: Handler;
let sweep: Handler;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  const { KMS_KEY_ID = '', KEYS_TABLE = '', JOBS_TABLE = '', BUCKET = '' } = testEnvironment.variables;
  const clients = { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client() };
  const settings = { KMS_KEY_ID, KEYS_TABLE, JOBS_TABLE, BUCKET, JOB_SHARDS: 4, TIMINGS_DIVISOR: 1 };
  stores = createJobStores(
    clients,
    settings,
    createMetrics('previous', () => undefined),
    { mayCreateKeys: true },
  );
  [intake, generate, dispatch, sweep] = await Promise.all([
    import('../../functions/intake.ts').then(getHandler),
    import('../../functions/generate.ts').then(getHandler),
    import('../../functions/dispatch.ts').then(getHandler),
    import('../../functions/sweep.ts').then(getHandler),
  ]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});

const tenant = 'local';
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const OLD_PARTITION = 'due#3';
const NO_FAILURES = { batchItemFailures: [] };
let count = 0;

/** Stores a job as the previous version did. */
async function createOldJob(changes: Partial<Job> = {}): Promise<string> {
  count += 1;
  const id = `resp_previous${count}`;
  const now = Date.now();
  const expiresAt = Math.floor((now + DAY_MS) / 1000);
  const jobInput = { body: { model: 'default', input: 'Hello' }, generation: makeRequest({ model: 'default' }) };
  const input = await stores.bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, jobInput);
  const times = {
    createdAt: now,
    duePartition: OLD_PARTITION,
    dueAt: now + MINUTE_MS,
    deadline: now + DAY_MS,
    expiresAt,
  };
  const { asks: _asks, crashes: _crashes, ...job } = aJob({ tenant, id, input, ...times, ...changes });
  await testEnvironment.services.dynamodb.send(
    new PutItemCommand({ TableName: testEnvironment.jobsTable, Item: jobItem(job) }),
  );
  return id;
}

const readJob = (id: string) => stores.jobs.read(tenant, id);
const makePointer = (id: string, delaySeconds?: number) => ({
  version: 1,
  type: 'job',
  tenant,
  id,
  tier: 'default',
  delaySeconds,
});
const receiveTickets = () => receiveEvent(testEnvironment, testEnvironment.jobsQueueUrl);
const getTicketIds = ({ Records }: Awaited<ReturnType<typeof receiveTickets>>) =>
  Records.map(({ body }) => JSON.parse(body).id);
/** Runs the sweep until the job is as expected. */
const sweepJobUntil = (id: string, isReached: (job: Job | undefined) => boolean) =>
  sweepUntil(sweep, async () => isReached(await readJob(id)));
const isIn = (purpose: string) => (job: Job | undefined) => job?.duePartition?.startsWith(`${purpose}#`) ?? false;
const hasStatus = (status: string) => (job: Job | undefined) => job?.status === status;
const hasNoSteps = (job: Job | undefined) => job?.fanIn === undefined;

let messages = 0;
/** Creates a job as this version does, and takes its ticket from the queue. */
async function createNewJob(changes: object = {}) {
  messages += 1;
  const message = {
    version: 1,
    type: 'generate',
    tenant,
    idempotencyKey: `new-${messages}`,
    endpoint: '/v1/responses',
  };
  await intake(makeQueueEvent({ ...message, body: { model: 'default', input: 'x' }, ...changes }), makeContext());
  return { id: deriveResponseId(tenant, message.idempotencyKey), tickets: await receiveTickets() };
}

interface OldTransition {
  readonly guard: Guard;
  readonly set?: Readonly<Record<string, unknown>>;
  readonly remove?: readonly string[];
  readonly add?: Readonly<Record<string, number>>;
}

/** Applies a transition of the previous version, which wrote `dueAt` alone. Returns the job, or undefined if refused. */
async function applyOld(id: string, { guard, set = {}, remove = [], add = {} }: OldTransition) {
  const expression = new Expression();
  const ConditionExpression = expression.guard(guard, Math.floor(Date.now() / 1000));
  const { names, values } = expression.placeholders();
  const assigned = Object.entries(set).map(([name, value], index) => ({ name, value, placeholder: `:s${index}` }));
  const added = Object.entries(add).map(([name, value], index) => ({ name, value, placeholder: `:a${index}` }));
  const clauses = [
    assigned.length > 0 ? `SET ${assigned.map(({ name, placeholder }) => `#${name} = ${placeholder}`).join(', ')}` : '',
    remove.length > 0 ? `REMOVE ${remove.map((name) => `#${name}`).join(', ')}` : '',
    added.length > 0 ? `ADD ${added.map(({ name, placeholder }) => `#${name} ${placeholder}`).join(', ')}` : '',
  ];
  const used = [...Object.keys(set), ...remove, ...Object.keys(add)];
  try {
    const { Attributes = {} } = await testEnvironment.services.dynamodb.send(
      new UpdateItemCommand({
        TableName: testEnvironment.jobsTable,
        Key: itemKey(tenant, id),
        ConditionExpression,
        UpdateExpression: clauses.join(' ').trim(),
        ExpressionAttributeNames: { ...names, ...Object.fromEntries(used.map((name) => [`#${name}`, name])) },
        ExpressionAttributeValues: {
          ...values,
          ...marshall(
            Object.fromEntries([...assigned, ...added].map(({ placeholder, value }) => [placeholder, value])),
          ),
        },
        ReturnValues: 'ALL_NEW',
      }),
    );
    return parseJobItem(Attributes);
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'ConditionalCheckFailedException') return undefined;
    throw thrown;
  }
}

const OLD_LEASE_MS = 45_000;
const holding = (epoch: number): Guard => [
  { field: 'epoch', is: 'equal', value: epoch },
  { field: 'status', is: 'equal', value: 'in_progress' },
];
const uncancelled = { field: 'cancelRequested', is: 'equal', value: false } as const;

const oldClaim = (now: number): OldTransition => ({
  guard: [
    { field: 'status', is: 'oneOf', values: ['queued', 'in_progress'] },
    { field: 'leaseExpiresAt', is: 'absentOrAtMost', value: now },
    uncancelled,
    { field: 'deadline', is: 'above', value: now },
    { field: 'notBefore', is: 'absentOrAtMost', value: now },
    { field: 'attempts', is: 'absentOrAtMost', value: 2 },
  ],
  set: {
    status: 'in_progress',
    owner: 'previous',
    leaseExpiresAt: now + OLD_LEASE_MS,
    startedAt: now,
    dueAt: now + OLD_LEASE_MS,
  },
  remove: ['notBefore', 'errorCode'],
  add: { epoch: 1, attempts: 1 },
});
const oldRenew = ({ epoch }: Job, now: number): OldTransition => ({
  guard: holding(epoch),
  set: { leaseExpiresAt: now + OLD_LEASE_MS, dueAt: now + OLD_LEASE_MS },
});
const oldRelease = ({ epoch }: Job, notBefore: number): OldTransition => ({
  guard: [...holding(epoch), uncancelled],
  set: { status: 'queued', notBefore, dueAt: notBefore + MINUTE_MS, errorCode: 'rate_limit_exceeded' },
  remove: ['owner', 'leaseExpiresAt'],
  add: { attempts: -1, releases: 1 },
});
const oldCommit = ({ epoch }: Job, now: number, fanIn?: readonly string[]): OldTransition => ({
  guard: [...holding(epoch), uncancelled],
  set: { status: 'failed', errorCode: 'upstream_cut', completedAt: now, ...(fanIn && { fanIn, dueAt: now }) },
  remove: ['leaseExpiresAt', 'notBefore', ...(fanIn ? [] : ['dueAt'])],
});

describe('jobs of the previous version', () => {
  it('this version runs a waiting job to which a message on the generation queue points, from a ticket of its own', async () => {
    const id = await createOldJob();
    for (const delaySeconds of [undefined, 900]) {
      expect(await intake(makeQueueEvent(makePointer(id, delaySeconds)), makeContext())).toEqual(NO_FAILURES);
    }
    expect((await readJob(id))?.duePartition).toMatch(/^wait#jobs#/);
    const tickets = await receiveTickets();
    expect(getTicketIds(tickets)).toEqual([id]);
    for (const ticket of tickets.Records) {
      expect(await generate({ Records: [ticket] }, makeContext())).toEqual(NO_FAILURES);
    }
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 1, attempts: 1 });
    expect(await countMessages(testEnvironment, testEnvironment.jobsQueueUrl)).toBe(0);
  });

  it('dispatch runs a waiting job to which a delayed message on its queue points, and no flex job yields to it', async () => {
    await using worker = await startGpuWorker();
    const { leases: _, ...registered } = createWorker({ id: 'w1', url: worker.url });
    const fleet = createDynamoDBFleetStore(testEnvironment.services.dynamodb, { tableName: 'fleet' });
    await fleet.register(registered);
    const id = await createOldJob({ model: 'gpu', lane: 'gpu' });
    const flex = await createOldJob({ model: 'gpu', lane: 'gpu', tier: 'flex' });
    const { Records } = makeQueueEvent(makePointer(id, 900), makePointer(flex));
    // The delay is no wait for which flex jobs would yield.
    const SentTimestamp = String(Date.now() - 900_000);
    const [delayed, other] = Records;
    const records = [{ ...delayed, attributes: { ...delayed?.attributes, SentTimestamp } }, other];
    expect(await dispatch({ Records: records }, makeContext())).toEqual(NO_FAILURES);
    for (const each of [id, flex]) {
      expect(await readJob(each)).toMatchObject({ status: 'completed', epoch: 1, attempts: 1, releases: 0 });
    }
    await fleet.deregister(FLEET, 'w1');
  });

  it('a message that points to a job that ended or was deleted is deleted and sends no ticket', async () => {
    const ended = await createOldJob({ status: 'failed', errorCode: 'upstream_cut', completedAt: Date.now() });
    const deleted = await createOldJob();
    await stores.jobs.delete(tenant, deleted);
    const pointers = [makePointer(ended), makePointer(deleted), makePointer('resp_never')];
    expect(await intake(makeQueueEvent(...pointers), makeContext())).toEqual(NO_FAILURES);
    expect(getTicketIds(await receiveTickets())).toEqual([]);
  });

  it('the sweep sends a ticket for a waiting job whose message was lost', async () => {
    const id = await createOldJob({ dueAt: Date.now() - 1 });
    await sweepJobUntil(id, isIn('wait'));
    const tickets = await receiveTickets();
    expect(getTicketIds(tickets)).toEqual([id]);
    expect((await readJob(id))?.duePartition).toMatch(/^wait#jobs#/);
    await generate(tickets, makeContext());
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 1 });
  });

  it('a job with a living holder is left to it, and it can renew, release and commit', async () => {
    const now = Date.now();
    const held = {
      status: 'in_progress',
      epoch: 1,
      attempts: 1,
      owner: 'previous',
      startedAt: now - MINUTE_MS,
    } as const;
    const id = await createOldJob({ ...held, leaseExpiresAt: now + OLD_LEASE_MS, dueAt: now - 1 });
    await sweepJobUntil(id, isIn('run'));
    const job = await readJob(id);
    expect(job).toMatchObject({ status: 'in_progress', epoch: 1, owner: 'previous' });
    expect(job?.duePartition).toMatch(/^run#jobs#/);
    expect(await generate(makeQueueEvent(makePointer(id)), makeContext(10_000))).toEqual({
      batchItemFailures: [{ itemIdentifier: 'message-0' }],
    });
    expect(job && (await applyOld(id, oldRenew(job, Date.now())))).toMatchObject({ status: 'in_progress' });
    expect(job && (await applyOld(id, oldCommit(job, Date.now())))).toMatchObject({ status: 'failed' });
    await sweepJobUntil(id, hasStatus('failed'));
    expect(await readJob(id)).toMatchObject({ status: 'failed', epoch: 1 });
  });

  it('a job whose holder is dead waits again and is run, and its counted attempt stays counted', async () => {
    const now = Date.now();
    const held = { status: 'in_progress', epoch: 1, attempts: 1, owner: 'previous', startedAt: 1 } as const;
    const id = await createOldJob({ ...held, leaseExpiresAt: now - MINUTE_MS, dueAt: now - MINUTE_MS });
    await sweepJobUntil(id, hasStatus('queued'));
    expect(await readJob(id)).toMatchObject({ status: 'queued', epoch: 1, attempts: 1, crashes: 1 });
    await generate(makeQueueEvent(makePointer(id)), makeContext());
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 2, attempts: 2 });
  });

  it('a job whose three counted attempts are used up fails with its last error', async () => {
    const id = await createOldJob({ attempts: 3, errorCode: 'upstream_unavailable', dueAt: Date.now() - 1 });
    await sweepJobUntil(id, hasStatus('failed'));
    expect(await readJob(id)).toMatchObject({ status: 'failed', attempts: 3, errorCode: 'upstream_unavailable' });
  });

  it('completion steps that are left of an ended job are run once', async () => {
    const ended = { status: 'failed', errorCode: 'upstream_cut', completedAt: Date.now() } as const;
    const id = await createOldJob({ ...ended, replyTo: 'answers', fanIn: ['reply', 'bodies'], dueAt: 1 });
    await sweepJobUntil(id, hasNoSteps);
    const replies = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
    expect(replies.map(({ body }) => JSON.parse(body))).toMatchObject([{ type: 'answer', id, status: 'failed' }]);
    const job = await readJob(id);
    for (const name of ['fanIn', 'duePartition', 'dueAt']) expect(job).not.toHaveProperty(name);
    await sweep({}, makeContext(1_000));
    expect(await testEnvironment.services.messagesOf(testEnvironment.replyUrl)).toEqual([]);
  });

  it('the sweep removes the bodies of a deleted job', async () => {
    const id = await createOldJob();
    const tombstone = {
      deletedAt: 1,
      expiresAt: Math.floor((Date.now() + DAY_MS) / 1000),
      dueAt: 1,
      duePartition: OLD_PARTITION,
    };
    const Item = { ...itemKey(tenant, id), ...marshall(tombstone) };
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: testEnvironment.jobsTable, Item }));
    await sweepUntil(
      sweep,
      async () => (await stores.bodies.find({ tenant, id, kind: 'input', epoch: 0 })) === undefined,
    );
    expect(await stores.bodies.find({ tenant, id, kind: 'input', epoch: 0 })).toBeUndefined();
    expect(await stores.jobs.wasDeleted(tenant, id)).toBe(true);
    const { Item: left } = await testEnvironment.services.dynamodb.send(
      new GetItemCommand({ TableName: testEnvironment.jobsTable, Key: itemKey(tenant, id) }),
    );
    expect(left).not.toHaveProperty('dueAt');
  });
});

it('an entry that is left of a job that has ended is removed by the sweep', async () => {
  const id = await createOldJob({ status: 'cancelled', completedAt: 1, duePartition: 'step#1', dueAt: 1 });
  await sweepJobUntil(id, (job) => job?.dueAt === undefined);
  for (const name of ['duePartition', 'dueAt']) expect(await readJob(id)).not.toHaveProperty(name);
});

describe('jobs of this version that the previous version works on', () => {
  it('of two claims by both versions exactly one is accepted', async () => {
    const { id } = await createNewJob();
    expect(await applyOld(id, oldClaim(Date.now()))).toMatchObject({ status: 'in_progress', epoch: 1, attempts: 1 });
    const { guard, change } = claim({ owner: 'new', alone: false, whole: true }, Date.now(), JOB_TIMINGS);
    expect(await stores.jobs.update(tenant, id, guard, change)).toBeUndefined();

    const { id: other } = await createNewJob();
    expect(await stores.jobs.update(tenant, other, guard, change)).toMatchObject({ status: 'in_progress', epoch: 1 });
    expect(await applyOld(other, oldClaim(Date.now()))).toBeUndefined();
  });

  it('a holder of this version is fenced after the previous one has taken its job over', async () => {
    const { id } = await createNewJob();
    const claimedAt = Date.now() - 2 * MINUTE_MS;
    const { guard, change } = claim({ owner: 'new', alone: false, whole: true }, claimedAt, JOB_TIMINGS);
    const held = await stores.jobs.update(tenant, id, guard, change);
    expect(await applyOld(id, oldClaim(Date.now()))).toMatchObject({ status: 'in_progress', epoch: 2 });
    if (held === undefined) throw new Error('not claimed');
    const ending = commit(held, { status: 'failed', errorCode: 'upstream_cut' }, Date.now(), JOB_TIMINGS);
    expect(await stores.jobs.update(tenant, id, ending.guard, ending.change)).toBeUndefined();
  });

  it('a job that the previous version claimed and left when it died waits again and is run', async () => {
    const { id, tickets } = await createNewJob();
    expect(await applyOld(id, oldClaim(Date.now() - 5 * MINUTE_MS))).toBeDefined();
    await sweepJobUntil(id, hasStatus('queued'));
    const job = await readJob(id);
    expect(job).toMatchObject({ status: 'queued', epoch: 1, attempts: 1, crashes: 1 });
    // The previous version had no ticket.
    expect(job?.duePartition).toMatch(/^wake#jobs#/);
    expect(await generate(tickets, makeContext())).toEqual(NO_FAILURES);
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 2, attempts: 2 });
  });

  it('a job that the previous version released is run from its ticket, and its message sends no other', async () => {
    const { id, tickets } = await createNewJob();
    const held = await applyOld(id, oldClaim(Date.now()));
    expect(held && (await applyOld(id, oldRelease(held, Date.now())))).toMatchObject({ status: 'queued', attempts: 0 });
    expect(await intake(makeQueueEvent(makePointer(id, 2)), makeContext())).toEqual(NO_FAILURES);
    expect(getTicketIds(await receiveTickets())).toEqual([]);
    expect(await generate(tickets, makeContext())).toEqual(NO_FAILURES);
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 2, attempts: 1 });
  });

  it('a job that this version has run before and the previous one released gets a ticket if its message is lost', async () => {
    const { id, tickets } = await createNewJob();
    await stores.jobs.update(tenant, id, [], { index: { purpose: 'run', queue: 'jobs', dueAt: 1 } });
    const held = await applyOld(id, oldClaim(Date.now() - 10 * MINUTE_MS));
    expect(held && (await applyOld(id, oldRelease(held, Date.now() - 9 * MINUTE_MS)))).toMatchObject({
      status: 'queued',
    });
    expect((await readJob(id))?.duePartition).toMatch(/^run#/);
    await sweepJobUntil(id, isIn('wait'));
    expect((await readJob(id))?.duePartition).toMatch(/^wait#/);
    const again = await receiveTickets();
    expect(getTicketIds(again)).toEqual([id]);
    await generate({ Records: [...tickets.Records, ...again.Records] }, makeContext());
    expect(await readJob(id)).toMatchObject({ status: 'completed', epoch: 2 });
  });

  it('completion steps that the previous version left are run once, wherever it left the index entry', async () => {
    for (const purpose of ['wait', 'run'] as const) {
      const { id } = await createNewJob({ replyTo: 'answers' });
      await stores.jobs.update(tenant, id, [], { index: { purpose, queue: 'jobs', dueAt: 1 } });
      const held = await applyOld(id, oldClaim(Date.now() - 10 * MINUTE_MS));
      const endedAt = Date.now() - 9 * MINUTE_MS;
      expect(held && (await applyOld(id, oldCommit(held, endedAt, ['reply'])))).toMatchObject({ status: 'failed' });
      await sweepJobUntil(id, hasNoSteps);
      const replies = await testEnvironment.services.messagesOf(testEnvironment.replyUrl);
      expect(replies.map(({ body }) => JSON.parse(body))).toMatchObject([{ type: 'answer', id, status: 'failed' }]);
      expect(await readJob(id)).not.toHaveProperty('fanIn');
    }
  });

  it('a completion step that fails is repeated later from the entry of its own purpose', async () => {
    const { id } = await createNewJob();
    await stores.jobs.update(tenant, id, [], { index: { purpose: 'run', queue: 'jobs', dueAt: 1 } });
    const held = await applyOld(id, oldClaim(Date.now() - 10 * MINUTE_MS));
    const endedAt = Date.now() - 9 * MINUTE_MS;
    expect(held && (await applyOld(id, oldCommit(held, endedAt, ['webhook'])))).toMatchObject({ status: 'failed' });
    await sweepJobUntil(id, isIn('step'));
    const job = await readJob(id);
    expect(job?.duePartition).toMatch(/^step#/);
    expect(job?.dueAt).toBeGreaterThan(Date.now());
  });
});
