import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../shared/access/limit-policy.ts';
import type { SenderLimits } from '../../../shared/access/senders.ts';
import { jobError } from '../../../shared/api/job-error.ts';
import { QueueLimits } from '../../../shared/api/queue-limits.ts';
import { deriveResponseId } from '../../../shared/api/queue-message.ts';
import { receive } from '../../../shared/api/receive.ts';
import { StorageLimits } from '../../../shared/api/storage-limits.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob } from '../../../shared/jobs/control.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { JobStore } from '../../../shared/jobs/ports.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim } from '../../../shared/jobs/transitions.ts';
import { verdictOn } from '../../../shared/jobs/verdict.ts';
import { aJob, HOUR_MS, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { recordTickets, ticketOf } from '../jobs/recorded-tickets.ts';
import { aVault } from '../jobs/services.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';
import { createReceiverPorts } from './receiver-ports.ts';

const KEY = 'acme/inbox/order-1';
const body = { model: 'default', input: 'Hello' };
const models = {
  default: { targets: [{ provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1/v1' }] },
};
const DELETE = { kind: 'delete' };
const ID = deriveResponseId('acme', 'order-1');

/**
 * Creates a receiver with one inbox object and a message that points to it. The job store's method `failing` throws,
 * `remove` replaces the deletion of the inbox object, and the vault fails with `vaultError`.
 */
function createReceiver({
  failing,
  remove,
  vaultError,
  limits,
  senderLimits,
}: {
  failing?: keyof JobStore;
  remove?: () => Promise<void>;
  vaultError?: LambentError;
  limits?: Limits;
  senderLimits?: SenderLimits;
} = {}) {
  const clock = { now: START };
  const objects = new Map([[KEY, Buffer.from(JSON.stringify(body))]]);
  const store = createMemoryStore(() => clock.now);
  const fail = async () => {
    throw Object.assign(new Error('unavailable'), { $metadata: {} });
  };
  const jobs = failing === undefined ? store : { ...store, [failing]: fail };
  const now = () => clock.now;
  const counters = new MemoryCounters();
  const queueLimits = new QueueLimits({ store: counters, jobs, whenDown: 'refuse', now });
  const metrics = { publish: () => {} };
  const storageLimits = new StorageLimits({ store: new MemoryCounters(), metrics, whenDown: 'refuse', now });
  const errors: string[] = [];
  const queue = recordTickets();
  const ports = {
    ...createReceiverPorts(clock),
    jobs,
    bodies: createBodies(
      vaultError === undefined ? aVault() : { ...aVault(), seal: () => Promise.reject(vaultError) },
      createMemoryBlobs(),
    ),
    queue,
    onError: (message: string) => void errors.push(message),
    registry: parseModelRegistry(JSON.stringify({ models }), 'models.json'),
    senders: {
      find: async () => ({
        ...{ keyId: 'orders', tenants: ['acme'], scopes: ['generate'], replyQueues: [] },
        ...(senderLimits && { limits: senderLimits }),
      }),
    },
    policies: {
      find: async () => ({ archived: false, ...(limits && { project: JSON.stringify({ limits }) }) }),
    },
    openQueueLimits: async () => queueLimits,
    openStorageLimits: async () => storageLimits,
    inbox: {
      name: 'ours',
      get: async (key: string) => objects.get(key),
      remove: remove ?? (async (key: string) => void objects.delete(key)),
    },
  };
  const message = {
    version: 1,
    type: 'generate',
    tenant: 'acme',
    idempotencyKey: 'order-1',
    endpoint: '/v1/responses',
  };
  let alone = 0;
  const runAlone = <T>(run: () => Promise<T>): Promise<T> => {
    alone += 1;
    return run();
  };
  return {
    clock,
    objects,
    counters,
    errors,
    queue,
    store,
    countAlone: () => alone,
    job: () => store.read('acme', ID),
    /** Receives the message, or another body. */
    receive: (
      text: string = JSON.stringify({ ...message, bodyPointer: { bucket: 'ours', key: KEY } }),
      {
        received = 1,
        firstAt = clock.now,
        signal = new AbortController().signal,
        mayHide = () => true,
      }: { received?: number; firstAt?: number; signal?: AbortSignal; mayHide?: (ms: number) => boolean } = {},
    ) =>
      receive(
        {
          messageId: 'm1',
          receiptHandle: 'r1',
          body: text,
          attributes: {
            SenderId: 'AROA',
            ApproximateReceiveCount: String(received),
            ApproximateFirstReceiveTimestamp: String(firstAt),
          },
        },
        ports,
        { runAlone, signal, mayHide },
      ),
    inline: (changes: object = {}) => JSON.stringify({ ...message, body, ...changes }),
    sweep: () => sweepOnce({ ...ports, jobs: store, steps: {}, shards: 1, onStepFailed: async () => {} }),
    /** Ends the failures of the job store. */
    restoreStore: () => Object.assign(jobs, store),
  };
}

it('a message becomes a job whose ticket is sent and recorded, and is deleted', async () => {
  const receiver = createReceiver();
  expect(await receiver.receive(receiver.inline())).toEqual(DELETE);
  const job = await receiver.job();
  expect(job).toMatchObject({
    status: 'queued',
    epoch: 0,
    duePartition: 'wait#jobs#0',
    dueAt: START + JOB_TIMINGS.firstLookMs,
  });
  expect(receiver.queue.tickets).toEqual([
    { tenant: 'acme', id: ID, tier: 'default', model: 'default', bytes: job?.input.sizeBytes },
  ]);
});

it('an inbox object is kept until its job exists', async () => {
  const receiver = createReceiver({ failing: 'create' });
  await expect(receiver.receive()).rejects.toThrow('unavailable');
  expect(receiver.objects.has(KEY)).toBe(true);
  receiver.restoreStore();
  expect(await receiver.receive()).toEqual(DELETE);
  expect(await receiver.job()).toMatchObject({ status: 'queued' });
  expect(receiver.objects.has(KEY)).toBe(false);
});

it('an inbox object is deleted even if its ticket cannot be recorded', async () => {
  const receiver = createReceiver({ failing: 'update' });
  expect(await receiver.receive()).toEqual(DELETE);
  expect(receiver.errors).toEqual(['ticket not sent']);
  expect(await receiver.job()).toMatchObject({ status: 'queued', duePartition: 'wake#jobs#0' });
  expect(receiver.objects.has(KEY)).toBe(false);
});

it('a message is deleted even if its inbox object cannot be deleted', async () => {
  const receiver = createReceiver({ remove: () => Promise.reject(new Error('denied')) });
  expect(await receiver.receive()).toEqual(DELETE);
  expect(receiver.errors).toEqual(['an inbox object could not be deleted']);
  receiver.clock.now += 1;
  expect(await receiver.receive()).toEqual(DELETE);
  expect(receiver.queue.ids()).toEqual([ID]);
});

it('a duplicate whose inbox object is gone is deleted if its job exists or was deleted, and rejected otherwise', async () => {
  const receiver = createReceiver();
  await receiver.receive();
  expect(receiver.objects.size).toBe(0);
  expect(await receiver.receive()).toEqual(DELETE);
  await receiver.store.delete('acme', ID);
  expect(await receiver.receive()).toEqual(DELETE);
  const other = createReceiver();
  other.objects.clear();
  await expect(other.receive()).rejects.toMatchObject({ reason: { code: 'not_found' } });
});

it('another body under the same key is rejected', async () => {
  const receiver = createReceiver();
  await receiver.receive(receiver.inline());
  const other = receiver.inline({ body: { ...body, input: 'Bye' } });
  await expect(receiver.receive(other)).rejects.toMatchObject({ reason: { code: 'idempotency_key_reused' } });
  expect(receiver.queue.ids()).toEqual([ID]);
});

it('a message whose response would be neither stored nor sent is rejected', async () => {
  const receiver = createReceiver();
  const unread = receiver.inline({ body: { ...body, store: false } });
  await expect(receiver.receive(unread)).rejects.toMatchObject({
    reason: { code: 'missing_required_parameter', param: 'replyTo' },
  });
  expect(await receiver.job()).toBeUndefined();
});

describe('a sender that dies', () => {
  it.each([
    ['before the ticket', 'not sent'],
    ['after the ticket, before it is recorded', 'sent'],
  ] as const)('%s leaves a job that gets a ticket from the sweep after 30 s', async (_when, state) => {
    const receiver = createReceiver({ failing: 'update' });
    if (state === 'not sent') receiver.queue.refuse = () => true;
    await receiver.receive(receiver.inline());
    receiver.queue.refuse = () => false;
    const before = receiver.queue.ids().length;
    receiver.restoreStore();
    receiver.clock.now += JOB_TIMINGS.wakeMs - 1;
    expect((await receiver.sweep()).wake).toMatchObject({ seen: 0 });
    receiver.clock.now += 1;
    expect((await receiver.sweep()).wake).toMatchObject({ seen: 1, ticketsSent: 1, failed: 0 });
    expect(receiver.queue.ids()).toHaveLength(before + 1);
    expect(await receiver.job()).toMatchObject({ status: 'queued', duePartition: 'wait#jobs#0' });
    receiver.clock.now += JOB_TIMINGS.wakeMs;
    expect((await receiver.sweep()).wake).toMatchObject({ seen: 0 });
  });

  it('before the job has left nothing that runs, and its message makes the job', async () => {
    const receiver = createReceiver({ failing: 'create' });
    await expect(receiver.receive(receiver.inline())).rejects.toThrow('unavailable');
    expect(receiver.queue.tickets).toEqual([]);
    receiver.restoreStore();
    expect(await receiver.receive(receiver.inline())).toEqual(DELETE);
    expect(receiver.queue.ids()).toEqual([ID]);
  });
});

describe("an earlier version's pointer", () => {
  it.each(['queued', 'in_progress'] as const)('to a job that is %s is replaced by a ticket', async (status) => {
    const receiver = createReceiver();
    await receiver.store.create(aJob({ status, lane: 'gpu', ...(status === 'queued' ? {} : { epoch: 1 }) }));
    expect(await receiver.receive(ticketOf('resp_1'))).toEqual(DELETE);
    expect(receiver.queue.tickets).toMatchObject([{ id: 'resp_1', lane: 'gpu' }]);
    const partition = status === 'queued' ? 'wait#gpu#0' : undefined;
    expect((await receiver.store.read('acme', 'resp_1'))?.duePartition).toBe(partition);
  });

  it.each(['wake', 'wait', 'run'] as const)(
    'to a job that this version placed in %s is deleted without a ticket',
    async (purpose) => {
      const receiver = createReceiver();
      await receiver.store.create(aJob(), { purpose, queue: 'jobs', dueAt: START });
      expect(await receiver.receive(ticketOf('resp_1'))).toEqual(DELETE);
      expect(receiver.queue.tickets).toEqual([]);
    },
  );

  it('is kept if the ticket is not accepted', async () => {
    const receiver = createReceiver();
    receiver.queue.refuse = () => true;
    await receiver.store.create(aJob());
    await expect(receiver.receive(ticketOf('resp_1'))).rejects.toMatchObject({ code: 'upstream_unavailable' });
  });

  it.each(['completed', undefined] as const)('to a job that is %s is deleted without a ticket', async (status) => {
    const receiver = createReceiver();
    if (status !== undefined) await receiver.store.create(aJob({ status }));
    expect(await receiver.receive(ticketOf('resp_1'))).toEqual(DELETE);
    expect(receiver.queue.tickets).toEqual([]);
  });
});

describe('a message that may crash its process', () => {
  it('is processed alone from its third receive on', async () => {
    const receiver = createReceiver();
    await receiver.receive(receiver.inline(), { received: 2 });
    expect(receiver.countAlone()).toBe(0);
    await receiver.receive(receiver.inline(), { received: 3 });
    expect(receiver.countAlone()).toBe(1);
  });

  it('is not processed if its turn comes when the function is about to time out', async () => {
    const receiver = createReceiver();
    const signal = AbortSignal.abort(new LambentError('deadline_exceeded', 'The function is about to time out'));
    await expect(receiver.receive(receiver.inline(), { received: 3, signal })).rejects.toThrow(signal.reason);
    expect(await receiver.job()).toBeUndefined();
  });

  it('is rejected at its tenth receive if they follow each other as crashes do', async () => {
    const receiver = createReceiver();
    const late = { received: 10, firstAt: START - 10 * 120_000 };
    expect(await receiver.receive(receiver.inline(), late)).toEqual(DELETE);
    const soon = { received: 10, firstAt: START - 10 * 120_000 + 1 };
    await expect(receiver.receive(receiver.inline(), soon)).rejects.toMatchObject({ reason: { code: 'internal' } });
  });
});

it.each([
  ['vault_unavailable', 'delivered again', 'LambentError'],
  ['tenant_deleted', 'rejected', 'MessageRejectedError'],
  ['external_key_unavailable', 'rejected', 'MessageRejectedError'],
] as const)('a message that the vault refuses with %s is %s', async (code, _what, name) => {
  const receiver = createReceiver({ vaultError: new LambentError(code, code) });
  await expect(receiver.receive()).rejects.toMatchObject({ name });
  expect(receiver.objects.size).toBe(1);
  expect(await receiver.job()).toBeUndefined();
});

describe('a message over a limit on queued work', () => {
  const other = { idempotencyKey: 'order-2' };

  it('a message over a limit waits in the queue, longer with each delivery, until a job has ended', async () => {
    const { receive, inline, store, clock } = createReceiver({ limits: { jobsQueued: 1 } });
    expect(await receive(inline())).toEqual(DELETE);
    const first = await receive(inline(other));
    expect(first).toMatchObject({ kind: 'hide' });
    expect('ms' in first && first.ms >= 5_000 && first.ms <= 6_250).toBe(true);
    const later = await receive(inline(other), { received: 5, firstAt: START - HOUR_MS });
    expect('ms' in later && later.ms >= 80_000).toBe(true);
    expect(await store.read('acme', deriveResponseId('acme', 'order-2'))).toBeUndefined();

    await cancelJob({ jobs: store, timings: JOB_TIMINGS, now: () => clock.now }, 'acme', ID);
    clock.now += 1_000;
    expect(await receive(inline(other))).toEqual(DELETE);
    expect(await store.read('acme', deriveResponseId('acme', 'order-2'))).toMatchObject({ status: 'queued' });
  });

  it('a message that waits is not processed alone, but is after a delivery that did not end so', async () => {
    const { receive, inline, countAlone } = createReceiver({ limits: { jobsQueued: 1 } });
    await receive(inline());
    for (const received of [1, 2, 3, 4, 5]) {
      expect(await receive(inline(other), { received, firstAt: START - HOUR_MS })).toMatchObject({ kind: 'hide' });
    }
    expect(countAlone()).toBe(0);
    await receive(inline(other), { received: 7, firstAt: START - HOUR_MS });
    expect(countAlone()).toBe(1);
    await receive(inline(other), { received: 8, firstAt: START - HOUR_MS });
    expect(countAlone()).toBe(1);
  });

  it('a job counts once, although its message is delivered again after its entry was moved to a page', async () => {
    const { receive, inline } = createReceiver({ limits: { jobsQueued: 65 } });
    for (let index = 0; index < 64; index += 1) {
      expect(await receive(inline({ idempotencyKey: `many-${index}` }))).toEqual(DELETE);
    }
    expect(await receive(inline({ idempotencyKey: 'many-0' }), { received: 2 })).toEqual(DELETE);
    expect(await receive(inline(other))).toEqual(DELETE);
    expect(await receive(inline())).toMatchObject({ kind: 'hide' });
  });

  it('a message whose job was accepted before there was a limit is deleted', async () => {
    const limits: { jobsQueued?: number } = {};
    const { receive, inline } = createReceiver({ limits });
    expect(await receive(inline())).toEqual(DELETE);
    limits.jobsQueued = 0;
    expect(await receive(inline())).toEqual(DELETE);
  });

  it('a limit does not delay a message whose job exists', async () => {
    const { receive, inline } = createReceiver({ limits: { jobsQueued: 1 } });
    await receive(inline());
    expect(await receive(inline())).toEqual(DELETE);
  });

  it('a waiting message is rejected with the name of the limit when SQS could lose it', async () => {
    const { receive, inline } = createReceiver({ limits: { jobsQueued: 1 } });
    await receive(inline());
    await expect(receive(inline(other), { mayHide: () => false })).rejects.toMatchObject({
      reason: { code: 'rate_limit_exceeded', message: expect.stringContaining('jobsQueued of the project: limit 1') },
    });
  });

  it('a waiting message pauses for about 15 minutes at most, and is rejected if that is too long for SQS', async () => {
    const { receive, inline } = createReceiver({ limits: { jobsQueued: 1 } });
    await receive(inline());
    const late = { received: 40, firstAt: START - 24 * HOUR_MS };
    const action = await receive(inline(other), late);
    expect('ms' in action && action.ms >= 900_000 && action.ms <= 1_125_000).toBe(true);
    const mayHide = (ms: number) => ms < 900_000;
    await expect(receive(inline(other), { ...late, mayHide })).rejects.toMatchObject({ name: 'MessageRejectedError' });
  });

  it('a message waits although the table of limits can not note it', async () => {
    const { receive, inline, counters, errors } = createReceiver({ limits: { jobsQueued: 1 } });
    await receive(inline());
    const write = counters.write.bind(counters);
    counters.write = (change) => (change.pk.startsWith('wait#') ? Promise.reject(new Error('down')) : write(change));
    expect(await receive(inline(other), { received: 2 })).toMatchObject({ kind: 'hide' });
    expect(errors).toEqual(['a wait for a limit is not noted']);
  });

  it('a message that is rejected because its project is full does not count as queued', async () => {
    const limits = { jobsQueued: 1, storedItems: 0 };
    const { receive, inline } = createReceiver({ limits });
    await expect(receive(inline())).rejects.toMatchObject({ reason: { code: 'storage_limit_exceeded' } });
    limits.storedItems = 1;
    expect(await receive(inline(other))).toEqual(DELETE);
  });

  it('a message that waits takes no storage of its project', async () => {
    const { receive, inline, store, clock } = createReceiver({ limits: { jobsQueued: 1, storedItems: 2 } });
    expect(await receive(inline())).toEqual(DELETE);
    for (let index = 0; index < 3; index += 1) expect(await receive(inline(other))).toMatchObject({ kind: 'hide' });
    await cancelJob({ jobs: store, timings: JOB_TIMINGS, now: () => clock.now }, 'acme', ID);
    clock.now += 1_001;
    expect(await receive(inline(other))).toEqual(DELETE);
  });

  it('a message that a limit can never allow is rejected at once', async () => {
    const { receive, inline } = createReceiver({ limits: { jobBytesQueued: 10 } });
    await expect(receive(inline())).rejects.toMatchObject({
      reason: { code: 'rate_limit_exceeded', message: expect.stringContaining('Job too large by jobBytesQueued') },
    });
  });
});

it('a message whose job can not be created in an outage takes no storage of its project, however often it is delivered', async () => {
  const { receive, inline, restoreStore } = createReceiver({ limits: { storedItems: 1 }, failing: 'create' });
  for (let index = 0; index < 3; index += 1) await expect(receive(inline())).rejects.toThrow('unavailable');
  restoreStore();
  expect(await receive(inline())).toEqual(DELETE);
});

it('a job gets no more tries than the limits of its caller allow, and says so when it has failed', async () => {
  const { receive, inline, job, store, clock } = createReceiver({ limits: { triesPerJob: 1 } });
  await receive(inline());
  const made = await job();
  expect(made).toMatchObject({ tries: 1 });
  const { guard, change } = claim({ owner: 'one', alone: true, whole: true }, clock.now, JOB_TIMINGS);
  const claimed = (await store.update('acme', ID, guard, change)) ?? aJob();
  const circumstances = {
    ...({ stop: undefined, progress: 'begun', now: clock.now, random: 0, timings: JOB_TIMINGS } as const),
  };
  const verdict = verdictOn(new LambentError('upstream_cut', 'cut'), claimed, circumstances);
  expect(verdict).toEqual({ kind: 'end', status: 'failed', errorCode: 'upstream_cut' });
  const failed = { ...claimed, status: 'failed', errorCode: 'upstream_cut' } as const;
  expect(jobError(failed).details.publicMessage).toContain('Its limit triesPerJob allows one try.');
  // With two tries, the first failure is followed by another attempt.
  const twice = { ...claimed, attempts: 1 };
  expect(verdictOn(new LambentError('upstream_cut', 'cut'), twice, circumstances)).toMatchObject({ kind: 'release' });
});

it('a job without a limit on its tries has all of them', async () => {
  const { receive, inline, job } = createReceiver();
  await receive(inline());
  expect(await job()).toMatchObject({ attempts: 0 });
});

describe('a sender with a limit on its messages', () => {
  const send = (number: number) => ({ idempotencyKey: `order-${number}` });

  it('as many of 200 parallel messages are accepted as the limit of their sender allows, and the others wait until the minute ends', async () => {
    const { receive, inline, clock } = createReceiver({ senderLimits: { messagesPerMinute: 30 } });
    const all = Array.from({ length: 200 }, (_, index) => receive(inline(send(index))));
    const actions = await Promise.all(all);
    expect(actions.filter(({ kind }) => kind === 'delete')).toHaveLength(30);
    const [waiting] = actions.filter((action) => action.kind === 'hide');
    expect(waiting?.ms).toBeGreaterThanOrEqual(60_000 - (clock.now % 60_000));
    clock.now += 60_000;
    expect(await receive(inline(send(199)))).toEqual(DELETE);
  });

  it('a message over the limit of a day waits for its end in steps that SQS allows', async () => {
    const { receive, inline } = createReceiver({ senderLimits: { messagesPerDay: 1 } });
    await receive(inline(send(1)));
    const action = await receive(inline(send(2)));
    expect('ms' in action && action.ms <= 11 * HOUR_MS).toBe(true);
  });

  it('a message that another limit refuses does not count for its sender', async () => {
    const options = { senderLimits: { messagesPerMinute: 2 }, limits: { jobsQueued: 1 } };
    const { receive, inline, store, clock } = createReceiver(options);
    await receive(inline());
    for (let index = 0; index < 5; index += 1) expect(await receive(inline(send(2)))).toMatchObject({ kind: 'hide' });
    await cancelJob({ jobs: store, timings: JOB_TIMINGS, now: () => clock.now }, 'acme', ID);
    clock.now += 1_001;
    expect(await receive(inline(send(2)))).toEqual(DELETE);
  });

  it('a sender does not lose its share to messages that become no job in an outage', async () => {
    const { receive, inline, restoreStore } = createReceiver({
      senderLimits: { messagesPerMinute: 1 },
      failing: 'create',
    });
    for (let index = 0; index < 3; index += 1) await expect(receive(inline())).rejects.toThrow('unavailable');
    restoreStore();
    expect(await receive(inline())).toEqual(DELETE);
  });

  it('a message that becomes no new job does not count for its sender', async () => {
    const { receive, inline } = createReceiver({ senderLimits: { messagesPerMinute: 2 } });
    expect(await receive(inline())).toEqual(DELETE);
    for (let index = 0; index < 3; index += 1) {
      expect(await receive(inline(), { received: 2 })).toEqual(DELETE);
      await expect(receive(inline({ body: { ...body, input: 'Another' } }))).rejects.toMatchObject({
        reason: { code: 'idempotency_key_reused' },
      });
    }
    expect(await receive(inline(send(2)))).toEqual(DELETE);
    expect(await receive(inline(send(3)))).toMatchObject({ kind: 'hide' });
  });

  it('a message of a sender is delivered again while the table of limits is down', async () => {
    const { receive, inline, counters } = createReceiver({ senderLimits: { messagesPerMinute: 1 } });
    counters.write = () => Promise.reject(new Error('down'));
    await expect(receive(inline())).rejects.toMatchObject({ code: 'overloaded' });
  });

  it('all messages of a sender are rejected if its limit is 0', async () => {
    const { receive, inline } = createReceiver({ senderLimits: { messagesPerMinute: 0 } });
    await expect(receive(inline())).rejects.toMatchObject({
      reason: { code: 'rate_limit_exceeded', message: expect.stringContaining('messagesPerMinute of the sender is 0') },
    });
  });
});
