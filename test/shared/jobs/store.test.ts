import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import type { Job } from '../../../shared/jobs/job.ts';
import { jobItem } from '../../../shared/jobs/job-item.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { Condition, JobStore, ListedEntry } from '../../../shared/jobs/ports.ts';
import { aJob, HOUR_MS, START } from './jobs.ts';
import { type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

const clock = { now: START };
const PARTITION = 'wait#jobs#0';
/** A place in the index, at a time. */
const waitAt = (dueAt: number) => ({ purpose: 'wait', queue: 'jobs', dueAt }) as const;

const implementations: Record<string, () => Promise<JobStore>> = {
  memory: async () => createMemoryStore(() => clock.now, new Map(), { shards: 1 }),
  DynamoDB: async () =>
    createDynamoDBStore(services.dynamodb, { tableName: await services.newTable(), shards: 1, now: () => clock.now }),
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
  async function aStoreListing(dueAt: number): Promise<JobStore> {
    const store = await aStore();
    await store.create(aJob(), waitAt(dueAt));
    return store;
  }
  const listed = async (store: JobStore, until: number, partition = PARTITION) =>
    (await store.list(partition, until, { limit: 100 })).entries;
  const guarded = (store: JobStore, ...guard: Condition[]) =>
    store.update('acme', 'resp_1', guard, { set: { model: 'changed' } });

  it('gives back the job that was written, field for field', async () => {
    const job = aJob({
      owner: 'me',
      output: { place: 's3', epoch: 2, sizeBytes: 400_000 },
      usage: {
        inputTokens: 1,
        cachedInputTokens: 2,
        cacheWriteTokens: 5,
        hourCacheWriteTokens: 6,
        outputTokens: 3,
        reasoningTokens: 4,
      },
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
    expect(await store.delete('other', 'resp_1')).toBeUndefined();
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
      remove: ['owner'],
      add: { epoch: 1, attempts: -1 },
    });
    const expected = aJob({ status: 'in_progress', epoch: 1, attempts: 0 });
    expect(updated).toEqual(expected);
    expect(await store.read('acme', 'resp_1')).toEqual(expected);
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

  it('lists an entry from its time on, in its own partition only', async () => {
    const store = await aStoreListing(START + 10);
    expect(await listed(store, START + 9)).toEqual([]);
    expect(await listed(store, START + 10)).toEqual([
      { tenant: 'acme', id: 'resp_1', partition: PARTITION, dueAt: START + 10 },
    ]);
    expect(await listed(store, START + 10, 'wake#jobs#0')).toEqual([]);
    expect(await listed(store, START + 10, 'wait#gpu#0')).toEqual([]);
  });

  it('returns the index entry with the job, moves it with a change, and leaves it with any other', async () => {
    const store = await aStore();
    const created = await store.create(aJob(), { purpose: 'wake', queue: 'gpu', dueAt: START });
    expect(created.job).toMatchObject({ duePartition: 'wake#gpu#0', dueAt: START });
    const moved = await store.update('acme', 'resp_1', [], { index: { purpose: 'step', dueAt: START + 1 } });
    expect(moved).toMatchObject({ duePartition: 'step#0', dueAt: START + 1 });
    const other = await store.update('acme', 'resp_1', [], { set: { model: 'changed' } });
    expect(other).toMatchObject({ model: 'changed', duePartition: 'step#0', dueAt: START + 1 });
    expect(await listed(store, START + 1, 'wake#gpu#0')).toEqual([]);
    expect(await listed(store, START + 1, 'step#0')).toHaveLength(1);
  });

  it('lists no job whose entry was removed', async () => {
    const store = await aStoreListing(START);
    const updated = await store.update('acme', 'resp_1', [], { index: 'none' });
    expect(updated).toEqual(aJob());
    expect(await store.read('acme', 'resp_1')).toEqual(aJob());
    expect(await listed(store, START)).toEqual([]);
    expect(await store.count(PARTITION)).toBe(0);
  });

  it('lists entries in pages, oldest first, each entry once', async () => {
    const store = await aStore();
    const ids = Array.from({ length: 25 }, (_, index) => `resp_${index}`);
    // Several entries have the same time.
    await Promise.all(ids.map((id, index) => store.create(aJob({ id }), waitAt(START - Math.floor(index / 3)))));
    const pages: (readonly ListedEntry[])[] = [];
    let after: unknown;
    do {
      const page = await store.list(PARTITION, START, { limit: 10, after });
      pages.push(page.entries);
      after = page.next;
    } while (after !== undefined);
    const all = pages.flat();
    expect(pages[0]).toHaveLength(10);
    expect(pages.every((page) => page.length <= 10)).toBe(true);
    expect(all.map(({ id }) => id).sort()).toEqual([...ids].sort());
    expect(all.map(({ dueAt }) => dueAt)).toEqual(all.map(({ dueAt }) => dueAt).sort((a, b) => a - b));
  });

  it('continues after a page although its entries have moved', async () => {
    const store = await aStore();
    for (const [index, id] of ['resp_a', 'resp_b', 'resp_c'].entries())
      await store.create(aJob({ id }), waitAt(START + index));
    const first = await store.list(PARTITION, START + 10, { limit: 2 });
    for (const entry of first.entries) await store.postpone(entry, START + 1_000);
    const second = await store.list(PARTITION, START + 10, { limit: 2, after: first.next });
    expect(second.entries.map(({ id }) => id)).toEqual(['resp_c']);
  });

  it('counts the entries of a partition, whatever their times', async () => {
    const store = await aStore();
    for (const id of ['resp_a', 'resp_b']) await store.create(aJob({ id }), waitAt(START + HOUR_MS));
    await store.create(aJob({ id: 'resp_c' }), { purpose: 'run', queue: 'jobs', dueAt: START });
    expect(await store.count(PARTITION)).toBe(2);
    expect(await store.count('run#jobs#0')).toBe(1);
    expect(await store.count('wake#jobs#0')).toBe(0);
  });

  it('postpones an entry only from where it was seen', async () => {
    const store = await aStoreListing(START);
    const [entry] = await listed(store, START);
    if (entry === undefined) throw new Error('not listed');
    expect(await store.postpone(entry, START + 5)).toBe(true);
    expect(await store.postpone(entry, START + 9)).toBe(false);
    expect(await store.postpone({ ...entry, partition: 'run#jobs#0', dueAt: START + 5 }, START + 9)).toBe(false);
    expect(await store.read('acme', 'resp_1')).toMatchObject({ duePartition: PARTITION, dueAt: START + 5 });
    expect(await store.postpone({ ...entry, id: 'resp_2' }, START + 9)).toBe(false);
    const other = { ...entry, partition: 'wake#jobs#0', dueAt: START + 5 };
    expect(await store.postpone(other, START + 9)).toBe(false);
    expect(await store.read('acme', 'resp_2')).toBeUndefined();
  });

  it('postpones the entries of deleted and of expired jobs', async () => {
    const store = await aStoreListing(START);
    await store.delete('acme', 'resp_1');
    const [deleted] = await listed(store, START, 'tomb#0');
    if (deleted === undefined) throw new Error('not listed');
    expect(await store.postpone(deleted, START + 5)).toBe(true);
    const other = await aStoreListing(START);
    clock.now = aJob().expiresAt * 1000;
    const [expired] = await listed(other, START);
    if (expired === undefined) throw new Error('not listed');
    expect(await other.postpone(expired, START + 5)).toBe(true);
    expect(await listed(other, START)).toEqual([]);
  });

  it('reads up to 100 jobs at once, without those that are absent, deleted or expired', async () => {
    const store = await aStore();
    const ids = Array.from({ length: 98 }, (_, index) => `resp_${index}`);
    await Promise.all(ids.map((id) => store.create(aJob({ id }))));
    await store.create(aJob({ id: 'resp_expired', expiresAt: START / 1000 }));
    await store.delete('acme', 'resp_0');
    const keys = [...ids, 'resp_expired', 'resp_absent'].map((id) => ({ tenant: 'acme', id }));
    const found = await store.readMany(keys);
    expect(found.map(({ id }) => id).sort()).toEqual(ids.slice(1).sort());
    expect(found[0]).toEqual(aJob({ id: found[0]?.id ?? '' }));
    expect(await store.readMany([])).toEqual([]);
  });

  it('forgets a deleted job for good: it cannot be read, changed or created again', async () => {
    const store = await aStoreWith();
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(false);
    expect(await store.delete('acme', 'resp_1')).toEqual({ expiresAt: aJob().expiresAt });
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(true);
    expect(await store.read('acme', 'resp_1')).toBeUndefined();
    expect(await guarded(store)).toBeUndefined();
    expect(await store.create(aJob())).toEqual({ created: false });
    expect(await store.delete('acme', 'resp_1')).toBeUndefined();
  });

  it('returns what is counted for a deleted job, as of its last change', async () => {
    const job = aJob({ storedBytes: 700 });
    const store = await aStoreWith(job);
    await store.update('acme', 'resp_1', [], { set: { storedBytes: 500 } });
    expect(await store.delete('acme', 'resp_1')).toEqual({ expiresAt: job.expiresAt, storedBytes: 500 });
  });

  it("returns what is counted for a deleted job's turn unless the job has an output, which may be in its conversation", async () => {
    const turn = { turnBytes: 5_000, turnItems: 9 };
    const store = await aStoreWith(aJob({ storedBytes: 700, ...turn }));
    const output = { place: 'table', epoch: 1, sizeBytes: 100 } as const;
    await store.create(aJob({ id: 'resp_2', storedBytes: 700, ...turn, output }));
    const { expiresAt } = aJob();
    expect(await store.delete('acme', 'resp_1')).toEqual({ expiresAt, storedBytes: 700, ...turn });
    expect(await store.delete('acme', 'resp_2')).toEqual({ expiresAt, storedBytes: 700 });
  });

  it('keeps a tombstone longer than any message of the job lives, and no longer than 15 days', async () => {
    const store = await aStoreWith();
    await store.delete('acme', 'resp_1');
    clock.now += 14 * 24 * HOUR_MS;
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(true);
    expect(await store.create(aJob())).toEqual({ created: false });
    clock.now += 24 * HOUR_MS;
    expect(await store.wasDeleted('acme', 'resp_1')).toBe(false);
  });

  it('lists a deleted job until it is settled', async () => {
    const store = await aStoreListing(START);
    await store.delete('acme', 'resp_1');
    expect(await listed(store, START)).toEqual([]);
    expect(await listed(store, START, 'tomb#0')).toMatchObject([{ tenant: 'acme', id: 'resp_1', dueAt: START }]);
    await store.settle('acme', 'resp_1');
    expect(await listed(store, START + HOUR_MS, 'tomb#0')).toEqual([]);
    expect(await store.create(aJob())).toEqual({ created: false });
  });

  it('settles no job that anybody still sees', async () => {
    const store = await aStoreListing(START);
    await store.settle('acme', 'resp_1');
    expect(await listed(store, START)).toHaveLength(1);
  });

  it('hides an expired job before the table has removed it', async () => {
    const store = await aStoreListing(START);
    clock.now = aJob().expiresAt * 1000;
    expect(await store.read('acme', 'resp_1')).toBeUndefined();
    expect(await guarded(store)).toBeUndefined();
    expect(await store.delete('acme', 'resp_1')).toBeUndefined();
    await store.settle('acme', 'resp_1');
    expect(await listed(store, clock.now)).toEqual([]);
    const later = aJob({ expiresAt: aJob().expiresAt + 1_000 });
    expect(await store.create(later)).toEqual({ created: true, job: later });
  });
});

describe('a job in DynamoDB', () => {
  it('is spread over the shards of its partition, and always in the same one', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, shards: 4, now: () => clock.now });
    const ids = Array.from({ length: 40 }, (_, index) => `resp_${index}`);
    await Promise.all(ids.map((id) => store.create(aJob({ id }), waitAt(START))));
    const counts = await Promise.all([0, 1, 2, 3].map((shard) => store.count(`wait#jobs#${shard}`)));
    expect(counts.reduce((sum, each) => sum + each, 0)).toBe(40);
    expect(Math.min(...counts)).toBeGreaterThan(0);
    const before = (await store.read('acme', 'resp_7'))?.duePartition;
    const after = await store.update('acme', 'resp_7', [], { index: { purpose: 'step', dueAt: START } });
    expect(after?.duePartition?.split('#').at(-1)).toBe(before?.split('#').at(-1));
  });

  it('that cannot be read is listed and can be postponed, and is left out of a batch read', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, shards: 1, now: () => clock.now });
    const { status: _, ...broken } = jobItem({ ...aJob(), duePartition: PARTITION, dueAt: START });
    await services.dynamodb.send(new PutItemCommand({ TableName: tableName, Item: broken }));
    await expect(store.read('acme', 'resp_1')).rejects.toMatchObject({ code: 'record_unreadable' });
    const { entries } = await store.list(PARTITION, START, { limit: 10 });
    expect(entries).toMatchObject([{ tenant: 'acme', id: 'resp_1', dueAt: START }]);
    expect(await store.readMany(entries)).toEqual([]);
    expect(await Promise.all(entries.map((entry) => store.postpone(entry, START + 1)))).toEqual([true]);
  });

  it('stays under 4 KB with every field filled, and loses none', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, shards: 1, now: () => clock.now });
    const long = 'x'.repeat(128);
    const job = aJob({
      tenant: 't'.repeat(64),
      id: `resp_${'1'.repeat(64)}`,
      model: long,
      owner: long,
      conversation: long,
      previousResponse: long,
      lane: 'gpu',
      asks: 128,
      crashes: 3,
      begun: true,
      alone: true,
      cutOff: true,
      endSequence: 1e9,
      replyTo: 'q'.repeat(64),
      errorCode: 'upstream_unavailable',
      leaseExpiresAt: START,
      notBefore: START,
      startedAt: START,
      completedAt: START,
      output: { place: 'table', epoch: 999, sizeBytes: 300_000 },
      usage: {
        inputTokens: 1e9,
        cachedInputTokens: 1e9,
        cacheWriteTokens: 1e9,
        hourCacheWriteTokens: 1e9,
        outputTokens: 1e9,
        reasoningTokens: 1e9,
      },
      fanIn: ['conversation', 'reply', 'usage', 'bodies', 'forget'],
      contextBytes: 1e9,
      tier: 'flex',
    });
    await store.create(job);
    expect(await store.read(job.tenant, job.id)).toEqual(job);
    expect((await services.textOf(tableName)).length).toBeLessThan(4_096);
  });

  it('keeps attributes of a newer version through an update of this one', async () => {
    const tableName = await services.newTable();
    clock.now = START;
    const store = createDynamoDBStore(services.dynamodb, { tableName, shards: 1, now: () => clock.now });
    const newer = { ...jobItem(aJob({ lane: 'tpu' })), batch: { S: 'batch_1' } };
    await services.dynamodb.send(new PutItemCommand({ TableName: tableName, Item: newer }));
    expect(await store.read('acme', 'resp_1')).toEqual(aJob({ lane: 'tpu' }));
    await store.update('acme', 'resp_1', [], { set: { status: 'in_progress' } });
    const key = { pk: { S: 'acme#resp_1' }, sk: { S: 'job' } };
    const { Item } = await services.dynamodb.send(new GetItemCommand({ TableName: tableName, Key: key }));
    expect(Item?.['batch']).toEqual({ S: 'batch_1' });
  });
});
