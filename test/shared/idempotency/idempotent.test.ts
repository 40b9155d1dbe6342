import { createHash } from 'node:crypto';
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { createClaims } from '../../../shared/idempotency/idempotency-records.ts';
import { type IdempotentOptions, idempotent } from '../../../shared/idempotency/idempotent.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/record-lease.ts';
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

/** Whatever needs nobody's answer any more has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));
const codeOf = (of: Promise<unknown>) =>
  of.then(JSON.stringify, (error: unknown) => Reflect.get(Object(error), 'code'));

let words = 0;

/** What all function environments share: the table, what is stored, the time, and one key that nobody has used. */
function aWorld(options: Partial<IdempotentOptions> = {}) {
  words += 1;
  const word = `word-${words}`;
  const clock = { now: START };
  const bodies = createBodies(aVault(), createMemoryBlobs());

  /** An environment with a heartbeat of its own: one that is never woken is dead. */
  function anEnvironment({ away = false }: { away?: boolean } = {}) {
    const sleepers = new Set<{ at: number; wake: () => void }>();
    const claims = createClaims(services.dynamodb, table);
    const renewals: number[] = [];
    const idempotency = {
      claims: {
        ...claims,
        async renew(...args: Parameters<typeof claims.renew>) {
          try {
            return await (away ? gone() : claims.renew(...args));
          } finally {
            renewals.push(clock.now);
          }
        },
        finish: (...args: Parameters<typeof claims.finish>) => (away ? gone() : claims.finish(...args)),
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
      return route.run(aCall(word, body));
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
      /** Lets the heartbeat that is due happen. */
      async wake() {
        for (const sleeper of [...sleepers]) {
          if (sleeper.at > clock.now) continue;
          const before = renewals.length;
          sleepers.delete(sleeper);
          sleeper.wake();
          await waitUntil('a renewal', () => renewals.length > before);
        }
        await settled();
      },
    };
  }
  const hash = createHash('sha256')
    .update(JSON.stringify(['test', {}, word]))
    .digest('hex');
  return { clock, anEnvironment, key: { pk: { S: `acme#idem#${hash}` }, sk: { S: 'idem' } } };
}

type Run = (request: HttpRequest) => Promise<HttpResponse>;

function aCall(word: string, body: unknown): HttpRequest {
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

const answering = (json: unknown) => async () => ({ json });
const gone = () => Promise.reject(new Error('away'));
const unasked = () => Promise.reject(new Error('asked again'));
/** Runs until it is told to stop. */
const hanging = ({ signal }: HttpRequest) =>
  new Promise<HttpResponse>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
/** Runs on whatever it is told, until the test ends it. */
function deaf(json: unknown) {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { end: () => end(), run: () => ended.then(() => ({ json })) };
}

describe('a key whose holder was killed', () => {
  it('is taken over half a minute after the holder was last heard of, and not before', async () => {
    const { clock, anEnvironment } = aWorld();
    const dead = anEnvironment();
    await dead.begin(hanging);
    clock.now += 10_000;
    await dead.wake();
    const other = anEnvironment();
    clock.now += 29_999;
    await expect(other.call(unasked)).rejects.toMatchObject({
      code: 'idempotency_key_in_use',
      retryAfterMs: expect.any(Number),
    });
    clock.now += 1;
    expect(await other.call(answering('second'))).toEqual({ json: 'second' });
    expect(await other.call(unasked)).toMatchObject({ json: 'second', headers: { 'idempotent-replayed': 'true' } });
  });
});

describe('a key whose holder lives', () => {
  it('is in use for as long as that takes, and then answers', async () => {
    const { clock, anEnvironment } = aWorld();
    const holder = anEnvironment();
    const other = anEnvironment();
    const { run, end } = deaf('first');
    const first = await holder.begin(run);
    for (let passed = 0; passed < 120_000; passed += 10_000) {
      clock.now += 10_000;
      await holder.wake();
      expect(await codeOf(other.call(unasked))).toBe('idempotency_key_in_use');
    }
    end();
    expect(await first.answer).toEqual({ json: 'first' });
    expect(await other.call(unasked)).toMatchObject({ json: 'first' });
    expect(holder.renewals).toHaveLength(12);
  });

  it('costs no renewal when it answers within 10 seconds, nor any afterwards', async () => {
    const { clock, anEnvironment } = aWorld();
    const holder = anEnvironment();
    const { run, end } = deaf('first');
    const { answer } = await holder.begin(run);
    clock.now += 9_999;
    await holder.wake();
    end();
    await answer;
    clock.now += 10_000;
    await holder.wake();
    expect(holder.renewals).toEqual([]);
  });

  it('stops when it can not be renewed, before another may have it', async () => {
    const { clock, anEnvironment } = aWorld();
    const holder = anEnvironment({ away: true });
    const { answer } = await holder.begin(hanging);
    let stopped = false;
    answer.catch(() => {
      stopped = true;
    });
    for (clock.now += 10_000; clock.now < START + 28_000; clock.now += 2_000) {
      await holder.wake();
      expect(stopped).toBe(false);
    }
    await holder.wake();
    expect(await codeOf(answer)).toBe('idempotency_key_in_use');
    expect(clock.now).toBeLessThan(START + 30_000);
  });

  it('gives no answer, though it has one, once another may have the key', async () => {
    const { clock, anEnvironment } = aWorld();
    const holder = anEnvironment({ away: true });
    const { run, end } = deaf('first');
    const { answer } = await holder.begin(run);
    for (clock.now += 10_000; clock.now <= START + 28_000; clock.now += 2_000) await holder.wake();
    end();
    expect(await codeOf(answer)).toBe('idempotency_key_in_use');
  });
});

describe('a holder that was taken over', () => {
  async function takenOver(run: Run) {
    const world = aWorld({ mayEnd: (frame) => frame === 'end' });
    const holder = world.anEnvironment();
    const { answer: first } = await holder.begin(run);
    world.clock.now += 30_000;
    const other = world.anEnvironment();
    return { ...world, holder, first, other };
  }

  it('stops as soon as it is refused', async () => {
    const { holder, first, other } = await takenOver(hanging);
    await other.call(answering('second'));
    await holder.wake();
    expect(await codeOf(first)).toBe('idempotency_key_in_use');
    expect(await other.call(unasked)).toMatchObject({ json: 'second' });
  });

  it.each(['before', 'after'])('answers nothing %s its successor has, and changes nothing of it', async (when) => {
    const { run, end } = deaf('first');
    const { first, other } = await takenOver(run);
    const successor = deaf('second');
    const { answer: second } = await other.begin(successor.run);
    if (when === 'after') {
      successor.end();
      await second;
    }
    end();
    expect(await codeOf(first)).toBe('idempotency_key_in_use');
    successor.end();
    expect(await second).toEqual({ json: 'second' });
    expect(await other.call(unasked)).toMatchObject({ json: 'second' });
  });

  it('does not end its stream as if it were whole', async () => {
    const { run, end } = deaf('first');
    async function* frames() {
      yield 'begin';
      await run();
      yield 'end';
      return true;
    }
    const { first, other } = await takenOver(async () => ({ frames: frames() }));
    const answer = await first;
    if (!('frames' in answer)) throw new Error('not a stream');
    const seen: string[] = [];
    const reading = (async () => {
      for await (const frame of answer.frames) seen.push(frame);
    })();
    await other.call(answering('second'));
    end();
    expect(await codeOf(reading)).toBe('idempotency_key_in_use');
    expect(seen).toEqual(['begin']);
  });
});

it('lets a route show what its first call has made so far', async () => {
  const { anEnvironment } = aWorld({ findsEarlier: () => true });
  const { run, end } = deaf('queued');
  const first = await anEnvironment().begin(run);
  const other = anEnvironment();
  expect(await other.call(answering('in progress'))).toEqual({ json: 'in progress' });
  expect(await codeOf(other.call(unasked, { a: 2 }))).toBe('idempotency_key_reused');
  end();
  expect(await first.answer).toEqual({ json: 'queued' });
  expect(await other.call(unasked)).toMatchObject({ json: 'queued' });
});

it('reads what a version wrote that numbered no attempts', async () => {
  const { anEnvironment, key } = aWorld();
  await anEnvironment().call(answering('old'));
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
  expect(await anEnvironment().call(unasked)).toMatchObject({ json: 'old' });
});
