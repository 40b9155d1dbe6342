import { createHash } from 'node:crypto';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { type IdempotentOptions, idempotent } from '../../../shared/idempotency/idempotent.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/key-lease.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { HttpResponse } from '../../../shared/lambda/http-responder.ts';
import { waitUntil } from '../../wait.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault, type Services, startServices } from '../jobs/services.ts';

let services: Services;
let table: string;
beforeAll(async () => {
  services = await startServices();
  table = await services.newTable();
});
afterAll(() => services[Symbol.asyncDispose]());

/** Resolves after all callbacks that are already due. */
const settle = () => new Promise((resolve) => setImmediate(resolve));
const getCode = (of: Promise<unknown>) =>
  of.then(JSON.stringify, (error: unknown) => Reflect.get(Object(error), 'code'));

let count = 0;

/** Creates an unused key, and what all function environments share: the table, the stored bodies and the time. */
function createKey(options: Partial<IdempotentOptions> = {}) {
  count += 1;
  const word = `word-${count}`;
  const clock = { now: START };
  const bodies = createBodies(aVault(), createMemoryBlobs());

  /** Creates an environment. Its heartbeats run only when it is woken. If it is `away`, it can't renew or finish. */
  function createEnvironment({ away = false }: { away?: boolean } = {}) {
    const sleepers = new Set<{ at: number; wake: () => void }>();
    const records = createIdempotencyRecords(services.dynamodb, table);
    const renewals: number[] = [];
    const idempotency = {
      records: {
        ...records,
        async renew(...args: Parameters<typeof records.renew>) {
          try {
            return await (away ? fail() : records.renew(...args));
          } finally {
            renewals.push(clock.now);
          }
        },
        finish: (...args: Parameters<typeof records.finish>) => (away ? fail() : records.finish(...args)),
      },
      bodies,
      jobs: createMemoryStore(() => clock.now),
      vault: aVault(),
      timings: CLAIM_TIMINGS,
      now: () => clock.now,
      sleep: (ms: number, signal: AbortSignal) =>
        new Promise<void>((resolve) => {
          const sleeper = { at: clock.now + ms, wake: resolve };
          sleepers.add(sleeper);
          signal.addEventListener('abort', () => {
            sleepers.delete(sleeper);
            resolve();
          });
        }),
    };
    function call(run: Run, body: unknown = { a: 1 }): Promise<HttpResponse> {
      const route = idempotent(
        { scope: 'inference', run },
        { name: 'test', open: async () => idempotency, ...options },
      );
      return route.run(makeRequest(word, body));
    }
    return {
      renewals,
      call,
      /** Begins a call, and resolves when its route runs. */
      async begin(run: Run): Promise<{ readonly answer: Promise<HttpResponse> }> {
        return new Promise((resolve) => {
          const answer = call((request) => {
            resolve({ answer });
            return run(request);
          });
          answer.catch(() => {});
        });
      },
      /** Runs the heartbeats that are due. */
      async wake() {
        for (const sleeper of [...sleepers]) {
          if (sleeper.at > clock.now) continue;
          const before = renewals.length;
          sleepers.delete(sleeper);
          sleeper.wake();
          await waitUntil('a renewal', () => renewals.length > before);
        }
        await settle();
      },
    };
  }
  const hash = createHash('sha256')
    .update(JSON.stringify(['test', {}, word]))
    .digest('hex');
  return { clock, createEnvironment, key: { pk: { S: `acme#idem#${hash}` }, sk: { S: 'idem' } } };
}

type Run = (request: HttpRequest) => Promise<HttpResponse>;

function makeRequest(word: string, body: unknown): HttpRequest {
  return {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers: { 'idempotency-key': word },
    body,
    principal: { tenant: 'acme', keyId: 'key', scopes: ['inference'] },
    signal: new AbortController().signal,
    deadlineAt: START + 330_000,
    telemetry: recordTelemetry(),
  };
}

const respondWith = (json: unknown) => async () => ({ json });
const fail = () => Promise.reject(new Error('away'));
const runTwice = () => Promise.reject(new Error('the route ran again'));
/** Runs until it is aborted. */
const runForever = ({ signal }: HttpRequest) =>
  new Promise<HttpResponse>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
/** Creates a route that ignores its signal and ends when the test says so. */
function createUnstoppable(json: unknown) {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { end: () => end(), run: () => ended.then(() => ({ json })) };
}

describe('a key whose holder was killed', () => {
  it('a key can be claimed 30 seconds after the last renewal of its killed holder, and not before', async () => {
    const { clock, createEnvironment } = createKey();
    const dead = createEnvironment();
    await dead.begin(runForever);
    clock.now += 10_000;
    await dead.wake();
    const other = createEnvironment();
    clock.now += 29_999;
    await expect(other.call(runTwice)).rejects.toMatchObject({
      code: 'idempotency_key_in_use',
      retryAfterMs: expect.any(Number),
    });
    clock.now += 1;
    expect(await other.call(respondWith('second'))).toEqual({ json: 'second' });
    expect(await other.call(runTwice)).toMatchObject({ json: 'second', headers: { 'idempotent-replayed': 'true' } });
  });
});

it('a key whose record has neither a result nor a time is taken over', async () => {
  const { createEnvironment, key } = createKey();
  await createEnvironment().begin(runForever);
  await services.dynamodb.send(
    new UpdateItemCommand({ TableName: table, Key: key, UpdateExpression: 'REMOVE claimUntil' }),
  );
  expect(await createEnvironment().call(respondWith('second'))).toEqual({ json: 'second' });
});

describe('a key whose holder lives', () => {
  it('a key stays in use for as long as its holder runs', async () => {
    const { clock, createEnvironment } = createKey();
    const holder = createEnvironment();
    const other = createEnvironment();
    const { run, end } = createUnstoppable('first');
    const first = await holder.begin(run);
    for (let passed = 0; passed < 120_000; passed += 10_000) {
      clock.now += 10_000;
      await holder.wake();
      expect(await getCode(other.call(runTwice))).toBe('idempotency_key_in_use');
    }
    end();
    expect(await first.answer).toEqual({ json: 'first' });
    expect(await other.call(runTwice)).toMatchObject({ json: 'first' });
    expect(holder.renewals).toHaveLength(12);
  });

  it('a call of less than 10 seconds makes no renewal', async () => {
    const { clock, createEnvironment } = createKey();
    const holder = createEnvironment();
    const { run, end } = createUnstoppable('first');
    const { answer } = await holder.begin(run);
    clock.now += 9_999;
    await holder.wake();
    end();
    await answer;
    clock.now += 10_000;
    await holder.wake();
    expect(holder.renewals).toEqual([]);
  });

  it('a holder that can’t renew retries every 2 seconds, keeps running and returns its response', async () => {
    const { clock, createEnvironment } = createKey();
    const holder = createEnvironment({ away: true });
    const { run, end } = createUnstoppable('first');
    let signal: AbortSignal | undefined;
    const { answer } = await holder.begin((request) => {
      signal = request.signal;
      return run();
    });
    for (clock.now += 10_000; clock.now <= START + 90_000; clock.now += 2_000) await holder.wake();
    expect(holder.renewals).toEqual(Array.from({ length: 41 }, (_, index) => START + 10_000 + index * 2_000));
    expect(signal?.aborted).toBe(false);
    end();
    expect(await answer).toEqual({ json: 'first' });
  });
});

describe('a holder that was taken over', () => {
  async function takeOver(run: Run) {
    const world = createKey({ isFinalFrame: (frame) => frame === 'end' });
    const holder = world.createEnvironment();
    const { answer: first } = await holder.begin(run);
    world.clock.now += 30_000;
    const other = world.createEnvironment();
    return { ...world, holder, first, other };
  }

  it('a holder that was taken over stops at its next renewal', async () => {
    const { holder, first, other } = await takeOver(runForever);
    await other.call(respondWith('second'));
    await holder.wake();
    expect(await getCode(first)).toBe('idempotency_key_in_use');
    expect(await other.call(runTwice)).toMatchObject({ json: 'second' });
  });

  it.each(['before', 'after'])(
    'a holder that was taken over returns nothing %s its successor has ended, and changes nothing',
    async (when) => {
      const { run, end } = createUnstoppable('first');
      const { first, other } = await takeOver(run);
      const successor = createUnstoppable('second');
      const { answer: second } = await other.begin(successor.run);
      if (when === 'after') {
        successor.end();
        await second;
      }
      end();
      expect(await getCode(first)).toBe('idempotency_key_in_use');
      successor.end();
      expect(await second).toEqual({ json: 'second' });
      expect(await other.call(runTwice)).toMatchObject({ json: 'second' });
    },
  );

  it('a holder that was taken over doesn’t end its stream as complete', async () => {
    const { run, end } = createUnstoppable('first');
    async function* frames() {
      yield 'begin';
      await run();
      yield 'end';
      return true;
    }
    const { first, other } = await takeOver(async () => ({ frames: frames() }));
    const answer = await first;
    if (!('frames' in answer)) throw new Error('not a stream');
    const seen: string[] = [];
    const reading = (async () => {
      for await (const frame of answer.frames) seen.push(frame);
    })();
    await other.call(respondWith('second'));
    end();
    expect(await getCode(reading)).toBe('idempotency_key_in_use');
    expect(seen).toEqual(['begin']);
  });
});

it('a route can show the result of a call that still runs', async () => {
  const { createEnvironment } = createKey({ showsRunning: () => true });
  const { run, end } = createUnstoppable('queued');
  const first = await createEnvironment().begin(run);
  const other = createEnvironment();
  expect(await other.call(respondWith('in progress'))).toEqual({ json: 'in progress' });
  expect(await getCode(other.call(runTwice, { a: 2 }))).toBe('idempotency_key_reused');
  end();
  expect(await first.answer).toEqual({ json: 'queued' });
  expect(await other.call(runTwice)).toMatchObject({ json: 'queued' });
});

it('a record without an epoch, written by an earlier version, is replayed', async () => {
  const { createEnvironment, key } = createKey();
  await createEnvironment().call(respondWith('old'));
  const { Attributes } = await services.dynamodb.send(
    new UpdateItemCommand({
      TableName: table,
      Key: key,
      ConditionExpression: 'epoch = :first',
      ExpressionAttributeValues: { ':first': { N: '0' } },
      UpdateExpression: 'REMOVE epoch',
      ReturnValues: 'ALL_NEW',
    }),
  );
  expect(Attributes).not.toHaveProperty('epoch');
  expect(await createEnvironment().call(runTwice)).toMatchObject({ json: 'old' });
});
