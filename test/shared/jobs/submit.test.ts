import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startFaultProxy } from '../../../local/faults/proxy.ts';
import { resumeStream } from '../../../shared/api/resume-stream.ts';
import { createBucket } from '../../../shared/aws/bucket.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { readInput } from '../../../shared/jobs/completion.ts';
import { deleteJob } from '../../../shared/jobs/control.ts';
import { createDynamoDBBlobs } from '../../../shared/jobs/dynamodb-blobs.ts';
import { createDynamoDBStore } from '../../../shared/jobs/dynamodb-store.ts';
import { createEventLog } from '../../../shared/jobs/event-log.ts';
import { type Admitted, submit } from '../../../shared/jobs/submit.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim } from '../../../shared/jobs/transitions.ts';
import { aJob, anInput, START } from './jobs.ts';
import { aVault, type Services, startServices } from './services.ts';

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

const { tenant, endpoint, tier, deadline, background, stored, expiresAt } = aJob();
let made = 0;

/** A table and a bucket, and two requests of one id whose inputs lie in different places. */
async function aRoom(dynamodb = services.dynamodb) {
  made += 1;
  const id = `resp_submitted${made}`;
  const tableName = await services.newTable();
  const clock = { now: START };
  const now = () => clock.now;
  const bucket = createBucket(services.s3, services.bucketName);
  const blobs = createDynamoDBBlobs(dynamodb, { tableName, bucket, now });
  const vault = aVault();
  const ports = {
    jobs: createDynamoDBStore(dynamodb, { tableName, shards: 1, now }),
    bodies: createBodies(vault, blobs),
    events: createEventLog(vault, blobs),
    timings: JOB_TIMINGS,
    now,
  };
  /** The previous version's bodies: items of up to 300 KB. */
  const earlierBodies = createBodies(
    vault,
    createDynamoDBBlobs(dynamodb, { ...{ tableName, bucket, now }, maxItemBytes: 300_000 }),
  );
  const asking = (input: string, instructions: string): Admitted => ({
    ...{ tenant, id, endpoint, tier, deadline, background, stored, expiresAt },
    streamed: true,
    input: anInput({ body: { model: 'default', input, instructions } }),
  });
  const small = asking('Hello', 'small');
  const large = asking('x'.repeat(400_000), 'large');
  const name = { tenant, id, kind: 'input', epoch: 0, expiresAt } as const;
  return {
    small,
    large,
    ports,
    submit: (admitted: Admitted) => {
      clock.now += 1;
      return submit(admitted, ports);
    },
    submitEarlier: (admitted: Admitted) => {
      clock.now += 1;
      return submit(admitted, { ...ports, bodies: earlierBodies });
    },
    dieEarlierOn: ({ input }: Admitted) => earlierBodies.writeNew(name, input),
    medium: asking('x'.repeat(20_000), 'medium'),
    otherMedium: asking('y'.repeat(20_000), 'other medium'),
    /** What a process leaves that dies before it has made the job. */
    dieOn: ({ input }: Admitted) => ports.bodies.writeNew(name, input),
    async input() {
      const job = await ports.jobs.read(tenant, id);
      return job === undefined ? undefined : readInput(job, ports.bodies);
    },
    async places() {
      const blob = { tenant, id, part: 'input', epoch: 0, sequence: 0 } as const;
      const found = await Promise.all((['table', 's3'] as const).map((place) => blobs.get(blob, place)));
      return found.filter((bytes) => bytes !== undefined).length;
    },
    async events() {
      const signal = AbortSignal.abort();
      const frames: string[] = [];
      const options = { tenant, id, startingAfter: -1, deadlineAt: START + 60_000, signal, now };
      for await (const frame of resumeStream(ports, options)) frames.push(frame);
      return frames
        .filter((frame) => frame.startsWith('event: '))
        .map((frame) => JSON.parse(frame.slice(frame.indexOf('data: ') + 6)));
    },
  };
}

describe.each([
  ['small', 'large'],
  ['large', 'small'],
] as const)('a request that is %s', (one, other) => {
  it(`is known when it comes again, and another of its id that is ${other} is a conflict`, async () => {
    const { [one]: first, [other]: second, submit, input, places } = await aRoom();
    expect(await submit(first)).toMatchObject({ kind: 'created' });
    expect(await submit(second)).toEqual({ kind: 'conflict' });
    expect(await submit(first)).toMatchObject({ kind: 'known' });
    expect(await input()).toEqual(first.input);
    expect(await places()).toBe(1);
  });

  it(`is distinguished from one that is ${other} whose process died on the way`, async () => {
    const { [one]: first, [other]: second, submit, dieOn, input } = await aRoom();
    await submit(first);
    await dieOn(second);
    expect(await submit(second)).toEqual({ kind: 'conflict' });
    expect(await submit(first)).toMatchObject({ kind: 'known' });
    expect(await input()).toEqual(first.input);
  });

  it('becomes a job after a crash that left its input alone', async () => {
    const { [one]: first, [other]: second, submit, dieOn, input } = await aRoom();
    await dieOn(first);
    expect(await submit(first)).toMatchObject({ kind: 'created' });
    expect(await submit(second)).toEqual({ kind: 'conflict' });
    expect(await input()).toEqual(first.input);
  });

  it(`keeps its stream's first events when one that is ${other} comes under its id`, async () => {
    const { [one]: first, [other]: second, submit, events } = await aRoom();
    await submit(first);
    await submit(second);
    expect(await events()).toMatchObject([
      { type: 'response.created', sequence_number: 0, response: { status: 'queued', instructions: one } },
      { type: 'response.queued', sequence_number: 1, response: { status: 'queued', instructions: one } },
      { type: 'error', code: 'deadline_exceeded' },
    ]);
  });
});

/** Starts a client whose first response that is lost is that of the given request, from 0. It repeats the request, as in AWS. */
async function startLossyClient(lost: number) {
  let requests = 0;
  const proxy = await startFaultProxy({
    service: 'dynamodb',
    target: services.urls.dynamodb,
    random: () => (requests++ === lost ? 0 : 0.9),
    shares: { cutAfter: 0.5 },
  });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new DynamoDBClient({ region: 'eu-west-1', endpoint: proxy.url, credentials });
  onTestFinished(async () => {
    client.destroy();
    await proxy.close();
  });
  return { client, countLost: () => proxy.counts().cutAfter };
}

it.each([
  ['small', 0],
  ['small', 1],
  ['large', 0],
] as const)(
  'a request that is %s is reported as a new job, so that its ticket is sent, if the SDK repeats its write %i',
  async (one, lost) => {
    const { client, countLost } = await startLossyClient(lost);
    const { [one]: admitted, submit, input, places } = await aRoom(client);
    expect(await submit(admitted)).toMatchObject({ kind: 'created', job: { status: 'queued', epoch: 0 } });
    expect(countLost()).toBe(1);
    expect(await input()).toEqual(admitted.input);
    expect(await places()).toBe(1);
    expect(await submit(admitted)).toMatchObject({ kind: 'known' });
  },
);
it('a new job gets a ticket from the sweep if its sender dies before it sends one', async () => {
  const { small, submit, ports } = await aRoom();
  const submitted = await submit(small);
  const { createdAt = 0 } = submitted.kind === 'created' ? submitted.job : {};
  const listed = (at: number) => ports.jobs.list('wake#jobs#0', at, { limit: 10 });
  expect(await listed(createdAt + JOB_TIMINGS.wakeMs - 1)).toMatchObject({ entries: [] });
  expect(await listed(createdAt + JOB_TIMINGS.wakeMs)).toMatchObject({ entries: [{ id: small.id }] });
});

it('a request is not accepted again after its job was deleted, and its input does not stay', async () => {
  const { small, submit, ports, places } = await aRoom();
  await submit(small);
  await deleteJob(ports, tenant, small.id);
  expect(await submit(small)).toEqual({ kind: 'deleted' });
  expect(await places()).toBe(0);
});

it('a job that the SDK creates twice, because a response was lost, is new to its caller until it is claimed', async () => {
  for (const [isClaimed, kind] of [
    [false, 'created'],
    [true, 'known'],
  ] as const) {
    const { small, ports } = await aRoom();
    const { jobs } = ports;
    const { guard, change } = claim({ owner: 'w', alone: false, whole: true }, START, JOB_TIMINGS);
    const repeating = {
      ...jobs,
      async create(...args: Parameters<typeof jobs.create>) {
        await jobs.create(...args);
        if (isClaimed) await jobs.update(tenant, small.id, guard, change);
        return jobs.create(...args);
      },
    };
    expect(await submit(small, { ...ports, jobs: repeating })).toMatchObject({ kind, job: { id: small.id } });
  }
});

it('of two requests of one id that come at once, one becomes the job', async () => {
  const { small, large, submit, input, places } = await aRoom();
  const kinds = (await Promise.all([submit(small), submit(large)])).map(({ kind }) => kind);
  expect([...kinds].sort()).toEqual(['conflict', 'created']);
  expect(await input()).toEqual((kinds[0] === 'created' ? small : large).input);
  expect(await places()).toBe(1);
});

describe('a request whose input the previous version stores in the table and this version in the bucket', () => {
  it('is known to both versions when either repeats it', async () => {
    const earlierFirst = await aRoom();
    expect(await earlierFirst.submitEarlier(earlierFirst.medium)).toMatchObject({
      kind: 'created',
      job: { input: { place: 'table' } },
    });
    expect(await earlierFirst.submit(earlierFirst.medium)).toMatchObject({ kind: 'known' });
    expect(await earlierFirst.submit(earlierFirst.otherMedium)).toEqual({ kind: 'conflict' });
    expect(await earlierFirst.input()).toEqual(earlierFirst.medium.input);
    expect(await earlierFirst.places()).toBe(1);

    const laterFirst = await aRoom();
    expect(await laterFirst.submit(laterFirst.medium)).toMatchObject({
      kind: 'created',
      job: { input: { place: 's3' } },
    });
    expect(await laterFirst.submitEarlier(laterFirst.medium)).toMatchObject({ kind: 'known' });
    expect(await laterFirst.submitEarlier(laterFirst.otherMedium)).toEqual({ kind: 'conflict' });
    expect(await laterFirst.input()).toEqual(laterFirst.medium.input);
    expect(await laterFirst.places()).toBe(1);
  });

  it('becomes a job after a crash of the previous version', async () => {
    const { medium, submit, dieEarlierOn, input } = await aRoom();
    await dieEarlierOn(medium);
    expect(await submit(medium)).toMatchObject({ kind: 'created', job: { input: { place: 's3' } } });
    expect(await input()).toEqual(medium.input);
  });

  it('becomes a job after a crash of each version with another body', async () => {
    const { medium, otherMedium, submit, dieOn, dieEarlierOn, input } = await aRoom();
    await dieEarlierOn(otherMedium);
    await dieOn(medium);
    expect(await submit(medium)).toMatchObject({ kind: 'created' });
    expect(await submit(otherMedium)).toEqual({ kind: 'conflict' });
    expect(await input()).toEqual(medium.input);
  });

  it('becomes one job when both versions submit it at once', async () => {
    const { medium, submit, submitEarlier, input, places } = await aRoom();
    const kinds = (await Promise.all([submit(medium), submitEarlier(medium)])).map(({ kind }) => kind);
    expect(kinds).toContain('created');
    expect(await input()).toEqual(medium.input);
    expect(await places()).toBe(1);
  });
});
