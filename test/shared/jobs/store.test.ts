import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { jobItem } from '../../../shared/jobs/job-item.ts';
import { duePartition } from '../../../shared/jobs/keys.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { Condition, JobStore } from '../../../shared/jobs/ports.ts';
import { aJob, HOUR_MS, START } from './jobs.ts';
import { type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

const clock = { now: START };
const PARTITION = duePartition('acme', 'resp_1');

const implementations: Record<string, () => Promise<JobStore>> = {
  memory: async () => createMemoryStore(() => clock.now),
  DynamoDB: async () =>
    createDynamoDBStore(services.dynamodb, { tableName: await services.newTable(), now: () => clock.now }),
};

describe.each(Object.keys(implementations))('a job store in %s', (name) => {
  async function aStore(): Promise<JobStore> {
    clock.now = START;
    const make = implementations[name];
    if (make === undefined) throw new Error(name);
    return make();
  }
  async function aStoreWith(changes: Partial<Job> = {}): Promise<JobStore> {
    const store = await aStore();
    await store.create(aJob(changes));
    return store;
  }
  const guarded = (store: JobStore, ...guard: Condition[]) =>
    store.update('acme', 'resp_1', guard, { set: { model: 'changed' } });

  it('gives back the job that was written, field for field', async () => {
    const job = aJob({
      owner: 'me',
      output: { place: 's3', epoch: 2, sizeBytes: 400_000 },
      usage: { inputTokens: 1, cachedInputTokens: 2, outputTokens: 3, reasoningTokens: 4 },
      fanIn: ['conversation', 'reply'],
      conversation: 'conv_1',
    });
    const store = await aStore();
    expect(await store.create(job)).toEqual({ created: true, job });
    expect(await store.read('acme', 'resp_1')).toEqual(job);
  });

  it('keeps the first job of an id, and shows it to whoever comes second', async () => {
    const store = await aStoreWith({ model: 'first' });
    expect(await store.create(aJob({ model: 'second' }))).toEqual({ created: false, job: aJob({ model: 'first' }) });
  });

  it('finds no job under another tenant, or another id', async () => {
    const store = await aStoreWith();
    expect(await store.wasDeleted('acme', 'resp_2')).toBe(false);
    expect(await store.read('other', 'resp_1')).toBeUndefined();
    expect(await store.read('acme', 'resp_2')).toBeUndefined();
    expect(await store.update('other', 'resp_1', [], { set: { model: 'x' } })).toBeUndefined();
    expect(await store.delete('other', 'resp_1')).toBe(false);
  });

  it.each<[string, Condition, boolean]>([
    ['equal text', { field: 'status', is: 'equal', value: 'queued' }, true],
    ['other text', { field: 'status', is: 'equal', value: 'failed' }, false],
    ['an equal number', { field: 'epoch', is: 'equal', value: 0 }, true],
    ['another number', { field: 'epoch', is: 'equal', value: 1 }, false],
    ['an equal boolean', { field: 'cancelRequested', is: 'equal', value: false }, true],
    ['equality to what is absent', { field: 'owner', is: 'equal', value: 'me' }, false],
    ['one of several', { field: 'status', is: 'oneOf', values: ['failed', 'queued'] }, true],
    ['none of several', { field: 'status', is: 'oneOf', values: ['failed', 'completed'] }, false],
    ['absence', { field: 'owner', is: 'absent' }, true],
    ['absence of what is there', { field: 'status', is: 'absent' }, false],
    ['an absent bound', { field: 'leaseExpiresAt', is: 'absentOrAtMost', value: 0 }, true],
    ['a bound that is met', { field: 'createdAt', is: 'absentOrAtMost', value: START }, true],
    ['a bound that is passed', { field: 'createdAt', is: 'absentOrAtMost', value: START - 1 }, false],
    ['a number above', { field: 'deadline', is: 'above', value: START }, true],
    ['a number that is not above', { field: 'createdAt', is: 'above', value: START }, false],
    ['an absent number above', { field: 'notBefore', is: 'above', value: 0 }, false],
  ])('judges %s', async (_name, condition, holds) => {
    const store = await aStoreWith();
    const updated = await guarded(store, condition);
    expect(updated?.model).toBe(holds ? 'changed' : undefined);
    expect((await store.read('acme', 'resp_1'))?.model).toBe(holds ? 'changed' : 'default');
  });

  it('changes nothing when one of several conditions does not hold', async () => {
    const store = await aStoreWith();
    const updated = await guarded(
      store,
      { field: 'status', is: 'equal', value: 'queued' },
      { field: 'epoch', is: 'equal', value: 7 },
    );
    expect(updated).toBeUndefined();
  });

  it('sets, removes and adds in one change, and returns the job after it', async () => {
    const store = await aStoreWith({ owner: 'me', attempts: 1 });
    const updated = await store.update('acme', 'resp_1', [], {
      set: { status: 'in_progress' },
      remove: ['owner', 'dueAt'],
      add: { epoch: 1, attempts: -1 },
    });
    const { dueAt: _, ...rest } = aJob({ status: 'in_progress', epoch: 1, attempts: 0 });
    expect(updated).toEqual(rest);
    expect(await store.read('acme', 'resp_1')).toEqual(rest);
  });

  it('lets one of many simultaneous claims of an epoch through', async () => {
    const store = await aStoreWith();
    const claims = Array.from({ length: 8 }, (_, index) =>
      store.update('acme', 'resp_1', [{ field: 'epoch', is: 'equal', value: 0 }], {
        set: { owner: `w${index}` },
        add: { epoch: 1 },
      }),
    );
    expect((await Promise.all(claims)).filter((claim) => claim !== undefined)).toHaveLength(1);
  });

  it('is due from its time on, oldest first, in its own partition only', async () => {
    const store = await aStoreWith({ dueAt: START + 10 });
    expect(await store.due(PARTITION, START + 9, 10)).toEqual([]);
    expect(await store.due(PARTITION, START + 10, 10)).toEqual([{ tenant: 'acme', id: 'resp_1' }]);
    expect(await store.due((PARTITION + 1) % 16, START + 10, 10)).toEqual([]);
  });

  it('is not due any more when its time was removed', async () => {
    const store = await aStoreWith({ dueAt: START });
    await store.update('acme', 'resp_1', [], { remove: ['dueAt'] });
    expect(await store.due(PARTITION, START, 10)).toEqual([]);
  });

  it('brings no more than was asked for', async () => {
    const store = await aStore();
    const ids = Array.from({ length: 60 }, (_, index) => `resp_${index}`);
    await Promise.all(ids.map((id, index) => store.create(aJob({ id, dueAt: START - index }))));
    const mine = ids.filter((id) => duePartition('acme', id) === PARTITION);
    expect(mine.length).toBeGreaterThan(2);
    expect(await store.due(PARTITION, START, 2)).toEqual(
      mine
        .toReversed()
        .slice(0, 2)
        .map((id) => ({ tenant: 'acme', id })),
    );
  });

  it('forgets a deleted job for good: nobody reads, changes or makes it again', async () => {
    const store = await aStoreWith();
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(false);
    expect(await store.delete('acme', 'resp_1')).toBe(true);
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(true);
    expect(await store.read('acme', 'resp_1')).toBeUndefined();
    expect(await guarded(store)).toBeUndefined();
    expect(await store.create(aJob())).toEqual({ created: false });
    expect(await store.delete('acme', 'resp_1')).toBe(false);
  });

  it('has a deleted job due until it is settled', async () => {
    const store = await aStoreWith();
    await store.delete('acme', 'resp_1');
    expect(await store.due(PARTITION, START, 10)).toEqual([{ tenant: 'acme', id: 'resp_1' }]);
    await store.settle('acme', 'resp_1');
    expect(await store.due(PARTITION, START + HOUR_MS, 10)).toEqual([]);
    expect(await store.create(aJob())).toEqual({ created: false });
  });

  it('settles no job that anybody still sees', async () => {
    const store = await aStoreWith({ dueAt: START });
    await store.settle('acme', 'resp_1');
    expect(await store.due(PARTITION, START, 10)).toHaveLength(1);
  });

  it('hides an expired job before the table has removed it', async () => {
    const store = await aStoreWith({ dueAt: START });
    clock.now = aJob().expiresAt * 1000;
    expect(await store.read('acme', 'resp_1')).toBeUndefined();
    expect(await guarded(store)).toBeUndefined();
    expect(await store.delete('acme', 'resp_1')).toBe(false);
    await store.settle('acme', 'resp_1');
    expect(await store.due(PARTITION, clock.now, 10)).toEqual([]);
    const later = aJob({ expiresAt: aJob().expiresAt + 1_000 });
    expect(await store.create(later)).toEqual({ created: true, job: later });
  });
});

describe('a job in DynamoDB', () => {
  it('stays under 4 KB with every field filled', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, now: () => clock.now });
    const long = 'x'.repeat(128);
    await store.create(
      aJob({
        tenant: 't'.repeat(64),
        id: `resp_${'1'.repeat(64)}`,
        model: long,
        owner: long,
        conversation: long,
        previousResponse: long,
        lane: 'gpu',
        replyTo: 'q'.repeat(64),
        errorCode: 'upstream_unavailable',
        leaseExpiresAt: START,
        notBefore: START,
        startedAt: START,
        completedAt: START,
        output: { place: 'table', epoch: 999, sizeBytes: 300_000 },
        usage: { inputTokens: 1e9, cachedInputTokens: 1e9, outputTokens: 1e9, reasoningTokens: 1e9 },
        fanIn: ['conversation', 'reply', 'usage', 'bodies', 'forget'],
      }),
    );
    expect((await services.textOf(tableName)).length).toBeLessThan(4_096);
  });

  it('keeps attributes of a newer version through an update of this one', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, now: () => clock.now });
    const newer = { ...jobItem(aJob({ lane: 'tpu' })), batch: { S: 'batch_1' } };
    await services.dynamodb.send(new PutItemCommand({ TableName: tableName, Item: newer }));
    expect(await store.read('acme', 'resp_1')).toEqual(aJob({ lane: 'tpu' }));
    await store.update('acme', 'resp_1', [], { set: { status: 'in_progress' } });
    const key = { pk: { S: 'acme#resp_1' }, sk: { S: 'job' } };
    const { Item } = await services.dynamodb.send(new GetItemCommand({ TableName: tableName, Key: key }));
    expect(Item?.['batch']).toEqual({ S: 'batch_1' });
  });
});
