import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBucket } from '../../../shared/aws/bucket.ts';
import type { Blobs } from '../../../shared/jobs/blobs.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { BODY_ITEM_BYTES, createDynamoDBBlobs } from '../../../shared/jobs/dynamodb-blobs.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { aJob, START } from './jobs.ts';
import { createMemoryBlobs } from './memory-blobs.ts';
import { aVault, type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

const clock = { now: START };
const implementations: Record<string, () => Promise<Blobs>> = {
  memory: async () => createMemoryBlobs(),
  'DynamoDB and S3': async () =>
    createDynamoDBBlobs(services.dynamodb, {
      tableName: await services.newTable(),
      bucket: createBucket(services.s3, services.bucketName),
      now: () => clock.now,
    }),
};
const { tenant, expiresAt } = aJob();
let made = 0;

describe.each(Object.keys(implementations))('bodies and events in %s', (name) => {
  async function aPlace() {
    clock.now = START;
    made += 1;
    const blobs = await implementations[name]?.();
    if (blobs === undefined) throw new Error(name);
    return {
      id: `resp_${made}`,
      blobs,
      bodies: createBodies(aVault(), blobs),
      events: createEventLog(aVault(), blobs),
    };
  }
  const chunk = (id: string, epoch: number, firstSequence: number, count: number) => ({
    tenant,
    id,
    epoch,
    firstSequence,
    expiresAt,
    events: Array.from({ length: count }, (_, index) => ({ type: 'e', sequence_number: firstSequence + index })),
  });
  /** Returns the name under which the test's vault has sealed something. */
  const nameOf = (sealed: Uint8Array | undefined) =>
    Object.fromEntries(
      JSON.parse(
        Buffer.from(sealed ?? [])
          .toString('latin1')
          .split('|')[0] ?? '',
      ),
    );
  const numbers = (chunks: readonly { events: readonly { sequence_number: number }[] }[]) =>
    chunks.flatMap(({ events }) => events.map(({ sequence_number }) => sequence_number));

  it('gives back what was written, under its own name alone', async () => {
    const { id, bodies } = await aPlace();
    const body = { text: 'Grüße 🌍', list: [1, null] };
    const ref = await bodies.write({ tenant, id, kind: 'output', epoch: 1, expiresAt }, body);
    expect(await bodies.read({ tenant, id, kind: 'output', epoch: 1 }, ref)).toEqual(body);
    await expect(bodies.read({ tenant, id, kind: 'output', epoch: 2 }, ref)).rejects.toMatchObject({
      code: 'record_unreadable',
    });
    await expect(bodies.read({ tenant: 'other', id, kind: 'output', epoch: 1 }, ref)).rejects.toThrow();
  });

  it('seals each under a name that every version uses', async () => {
    const { id, blobs, bodies, events } = await aPlace();
    await bodies.write({ tenant, id, kind: 'output', epoch: 1, expiresAt }, 'answer');
    const sealed = await blobs.get({ tenant, id, part: 'output', epoch: 1, sequence: 0 }, 'table');
    expect(nameOf(sealed)).toEqual({ tenant, kind: 'job-output', id, epoch: 1, field: '' });
    await events.append(chunk(id, 1, 2, 1));
    const [event] = await blobs.events(tenant, id, 0);
    expect(nameOf(event?.bytes)).toEqual({ tenant, kind: 'job-event', id, epoch: 1, field: '2' });
  });

  it('lets the first of two inputs stand', async () => {
    const { id, bodies } = await aPlace();
    const input = { tenant, id, kind: 'input', epoch: 0, expiresAt } as const;
    expect(await bodies.writeNew(input, { text: 'first' })).toMatchObject({ ref: { epoch: 0 }, isNew: true });
    expect(await bodies.writeNew(input, { text: 'second' })).toMatchObject({ isNew: false });
    expect(await bodies.find(input)).toEqual({ text: 'first' });
  });

  it('sweeps away what other attempts answered, and nothing else', async () => {
    const { id, bodies, events } = await aPlace();
    const input = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, 'asked');
    const refs = [];
    for (const epoch of [1, 2, 3]) {
      refs.push(await bodies.write({ tenant, id, kind: 'output', epoch, expiresAt }, epoch));
    }
    await events.append(chunk(id, 1, 2, 3));
    await bodies.sweep(tenant, id, 2);
    const found = await Promise.allSettled(
      refs.map((ref) => bodies.read({ tenant, id, kind: 'output', epoch: ref.epoch }, ref)),
    );
    expect(found.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected']);
    expect(await bodies.read({ tenant, id, kind: 'input', epoch: 0 }, input)).toBe('asked');
    expect(numbers(await events.read(tenant, id, -1))).toEqual([2, 3, 4]);
  });

  it('sweeps away everything of a job, and nothing of another', async () => {
    const { id, bodies, events } = await aPlace();
    for (const job of [id, `${id}0`]) {
      await bodies.write({ tenant, id: job, kind: 'input', epoch: 0, expiresAt }, 'asked');
      await events.append(chunk(job, 1, 2, 1));
    }
    const replay = { tenant, id, kind: 'replay', epoch: 0, expiresAt } as const;
    await bodies.write(replay, 'given again');
    await bodies.sweep(tenant, id, 1);
    expect(await bodies.find(replay)).toBe('given again');
    await bodies.sweep(tenant, id);
    expect(await bodies.find(replay)).toBeUndefined();
    expect(await bodies.find({ tenant, id, kind: 'input', epoch: 0 })).toBeUndefined();
    expect(await events.read(tenant, id, -1)).toEqual([]);
    expect(await bodies.find({ tenant, id: `${id}0`, kind: 'input', epoch: 0 })).toBe('asked');
    expect(await events.read(tenant, `${id}0`, -1)).toHaveLength(1);
  });

  it('a prepared write may be repeated, but writes no second body', async () => {
    const { id, bodies } = await aPlace();
    const output = { tenant, id, kind: 'output', epoch: 1 } as const;
    const write = await bodies.prepare({ ...output, expiresAt });
    const ref = await write({ text: 'answered' });
    expect(await write({ text: 'answered' })).toEqual(ref);
    await expect(write({ text: 'other' })).rejects.toThrow('second record');
    expect(await bodies.read(output, ref)).toEqual({ text: 'answered' });
  });

  it.each(['result', 'compaction'] as const)(
    'a %s is found in the bucket, and is removed with other outputs',
    async (kind) => {
      const { id, bodies } = await aPlace();
      const output = await bodies.write({ tenant, id, kind: 'output', epoch: 2, expiresAt }, 'answered');
      const write = await bodies.prepare({ tenant, id, kind, epoch: 0, expiresAt });
      const result = { tenant, id, kind, epoch: 0 } as const;
      expect(await bodies.find(result, { place: 's3' })).toBeUndefined();
      expect(await write('saved')).toMatchObject({ place: 's3', epoch: 0 });
      expect(await bodies.find(result, { place: 's3' })).toBe('saved');
      expect(await bodies.find({ ...result, tenant: 'other' }, { place: 's3' })).toBeUndefined();
      await bodies.sweep(tenant, id, 2);
      expect(await bodies.find(result, { place: 's3' })).toBeUndefined();
      expect(await bodies.read({ tenant, id, kind: 'output', epoch: 2 }, output)).toBe('answered');
    },
  );

  it.each(['result', 'compaction'] as const)('a %s is removed with its job', async (kind) => {
    const { id, bodies } = await aPlace();
    const result = { tenant, id, kind, epoch: 0, expiresAt } as const;
    await (await bodies.prepare(result))('saved');
    await bodies.sweep(tenant, id);
    expect(await bodies.find(result, { place: 's3' })).toBeUndefined();
  });

  it('does not read events that lie in the place of others of their job', async () => {
    const { id, blobs, events } = await aPlace();
    await events.append(chunk(id, 1, 2, 1));
    await events.append(chunk(id, 1, 3, 1));
    const [first] = await blobs.events(tenant, id, 2);
    if (first === undefined) throw new Error('no events');
    await blobs.put({ ...first.name, sequence: 3 }, first.bytes, expiresAt);
    await expect(events.read(tenant, id, 2)).rejects.toThrow('opened under another name');
  });

  it('reads events after any number, in order, over attempts', async () => {
    const { id, events } = await aPlace();
    await events.append(chunk(id, 0, 0, 2));
    await events.append(chunk(id, 1, 2, 3));
    await events.append(chunk(id, 2, 1_000_000, 2));
    await events.append(chunk(id, 1, 5, 1));
    expect(numbers(await events.read(tenant, id, -1))).toEqual([0, 1, 2, 3, 4, 5, 1_000_000, 1_000_001]);
    for (const after of [-1, 0, 1, 2, 3, 4, 5, 999_999, 1_000_000]) {
      const later = numbers(await events.read(tenant, id, after)).filter((number) => number > after);
      expect(later).toEqual([0, 1, 2, 3, 4, 5, 1_000_000, 1_000_001].filter((number) => number > after));
    }
    expect(numbers(await events.read(tenant, id, 4, true))).toEqual([5, 1_000_000, 1_000_001]);
    expect(await events.read(tenant, id, 1_000_001)).toEqual([]);
  });
});

describe('in DynamoDB and S3', () => {
  const large = { text: 'x'.repeat(400_000) };
  async function aRoom() {
    clock.now = START;
    made += 1;
    const tableName = await services.newTable();
    const bucket = createBucket(services.s3, services.bucketName);
    const blobs = createDynamoDBBlobs(services.dynamodb, { tableName, bucket, now: () => clock.now });
    return {
      id: `resp_${made}`,
      tableName,
      bodies: createBodies(aVault(), blobs),
      events: createEventLog(aVault(), blobs),
    };
  }

  it('a large body lies in the bucket, under tenant, kind, id, attempt and field', async () => {
    const { id, bodies } = await aRoom();
    const ref = await bodies.write({ tenant, id, kind: 'output', epoch: 3, expiresAt }, large);
    expect(ref).toMatchObject({ place: 's3', epoch: 3 });
    expect(await bodies.read({ tenant, id, kind: 'output', epoch: 3 }, ref)).toEqual(large);
    const { Contents = [] } = await services.s3.send(
      new ListObjectsV2Command({ Bucket: services.bucketName, Prefix: `${tenant}/job/${id}/` }),
    );
    expect(Contents.map(({ Key }) => Key)).toEqual([`${tenant}/job/${id}/3/output`]);
    const replay = { tenant, id, kind: 'replay', epoch: 0, expiresAt } as const;
    expect(await bodies.write(replay, large)).toMatchObject({ place: 's3' });
    await bodies.sweep(tenant, id, 3);
    expect(await bodies.find(replay)).toEqual(large);
    await bodies.sweep(tenant, id);
    await expect(bodies.read({ tenant, id, kind: 'output', epoch: 3 }, ref)).rejects.toMatchObject({
      code: 'record_unreadable',
    });
    expect(await bodies.find(replay)).toBeUndefined();
  });

  it("the removal of a job's bodies leaves the job's own item, or its tombstone", async () => {
    const { id, tableName, bodies } = await aRoom();
    const jobs = createDynamoDBStore(services.dynamodb, { tableName, shards: 1, now: () => clock.now });
    await jobs.create(aJob({ id }));
    await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, 'asked');
    await bodies.sweep(tenant, id);
    expect(await jobs.read(tenant, id)).toBeDefined();
    await jobs.delete(tenant, id);
    await bodies.sweep(tenant, id);
    expect(await jobs.wasDeleted(tenant, id)).toBe(true);
  });

  it('a large chunk of events is found among small ones', async () => {
    const { id, events } = await aRoom();
    const first = { type: 'e', sequence_number: 2, ...large };
    await events.append({ tenant, id, epoch: 1, firstSequence: 2, expiresAt, events: [first] });
    const second = { type: 'e', sequence_number: 3 };
    await events.append({ tenant, id, epoch: 1, firstSequence: 3, expiresAt, events: [second] });
    expect((await events.read(tenant, id, -1)).flatMap((chunk) => chunk.events)).toEqual([first, second]);
  });

  it('stores a body of 8 KB in the table, reads larger items of an earlier version, and stores larger bodies in the bucket', async () => {
    const { id, tableName, bodies, events } = await aRoom();
    const name = { tenant, id, kind: 'output', epoch: 1, expiresAt } as const;
    expect(await bodies.write(name, 'x'.repeat(BODY_ITEM_BYTES - 200))).toMatchObject({ place: 'table' });
    expect(await bodies.write(name, 'x'.repeat(BODY_ITEM_BYTES))).toMatchObject({ place: 's3' });

    const bucket = createBucket(services.s3, services.bucketName);
    const options = { tableName, bucket, now: () => clock.now, maxItemBytes: 300_000 };
    const earlierBlobs = createDynamoDBBlobs(services.dynamodb, options);
    const ref = await createBodies(aVault(), earlierBlobs).write({ ...name, epoch: 2 }, 'x'.repeat(250_000));
    expect(ref).toMatchObject({ place: 'table' });
    expect(await bodies.read({ ...name, epoch: 2 }, ref)).toBe('x'.repeat(250_000));
    const event = { type: 'e', sequence_number: 2, text: 'x'.repeat(250_000) };
    const chunk = { tenant, id, epoch: 1, firstSequence: 2, expiresAt, events: [event] };
    await createEventLog(aVault(), earlierBlobs).append(chunk);
    expect(await events.read(tenant, id, -1)).toMatchObject([{ events: [event] }]);
  });

  it('no body is read after its time, though it lies there', async () => {
    const { id, bodies, events } = await aRoom();
    const ref = await bodies.write({ tenant, id, kind: 'input', epoch: 0, expiresAt }, 'asked');
    await events.append({
      tenant,
      id,
      epoch: 1,
      firstSequence: 2,
      expiresAt,
      events: [{ type: 'e', sequence_number: 2 }],
    });
    clock.now = expiresAt * 1000;
    await expect(bodies.read({ tenant, id, kind: 'input', epoch: 0 }, ref)).rejects.toMatchObject({
      code: 'record_unreadable',
    });
    expect(await events.read(tenant, id, -1)).toEqual([]);
  });
});
