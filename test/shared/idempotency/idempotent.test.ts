import { createHash } from 'node:crypto';
import { GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { idempotent } from '../../../shared/idempotency/idempotent.ts';
import type { IdempotentOptions } from '../../../shared/idempotency/idempotent-options.ts';
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
  const blobs = createMemoryBlobs();
  const bodies = createBodies(aVault(), blobs);

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
    function call(run: Run, body: unknown = { a: 1 }, telemetry = recordTelemetry()): Promise<HttpResponse> {
      const route = idempotent({ run }, { name: 'test', open: async () => idempotency, ...options });
      return route.run({ ...makeRequest(word, body), telemetry });
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
  return { clock, blobs, createEnvironment, key: { pk: { S: `acme#idem#${hash}` }, sk: { S: 'idem' } } };
}

type Run = (request: HttpRequest) => Promise<HttpResponse>;

function makeRequest(word: string, body: unknown): HttpRequest {
  return {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers: { 'idempotency-key': word },
    body,
    principal: { tenant: 'acme', keyId: 'key', scopes: ['inference'], policy: UNRESTRICTED },
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

describe('the operation of a key', () => {
  /** Calls with a route that fails, and returns the operation that it was given. */
  async function failWith(environment: { call(run: Run, body?: unknown): Promise<HttpResponse> }, error: Error) {
    let operation: HttpRequest['operation'];
    const answer = environment.call((request) => {
      operation = request.operation;
      return Promise.reject(error);
    });
    await expect(answer).rejects.toThrow(error.message);
    return operation;
  }

  it('goes on in the next call if a failed one may have stored its result', async () => {
    const { createEnvironment } = createKey();
    const first = await failWith(createEnvironment(), new Error('connection lost'));
    expect(first).toMatchObject({ attempt: 1, isRepeated: false });
    const second = await failWith(createEnvironment(), new LambentError('overloaded', 'overloaded'));
    expect(second).toEqual({ id: first?.id, attempt: 2, isRepeated: true });
    expect(await failWith(createEnvironment(), new Error('lost'))).toMatchObject({ id: first?.id, attempt: 3 });
  });

  it('ends with a failed call that stored nothing, and then the key is free for another body', async () => {
    const { createEnvironment } = createKey();
    const first = await failWith(createEnvironment(), new LambentError('overloaded', 'overloaded'));
    let second: HttpRequest['operation'];
    const answer = await createEnvironment().call(
      async ({ operation }) => {
        second = operation;
        return { json: 'second' };
      },
      { a: 2 },
    );
    expect(answer).toEqual({ json: 'second' });
    expect(second).toMatchObject({ attempt: 1, isRepeated: false });
    expect(second?.id).not.toBe(first?.id);
  });

  it('follows from the key and the body if an earlier version made the record', async () => {
    const { createEnvironment, key } = createKey();
    const lost = new Error('connection lost');
    const ids: unknown[] = [];
    for (let round = 0; round < 2; round += 1) {
      await failWith(createEnvironment(), lost);
      await services.dynamodb.send(
        new UpdateItemCommand({ TableName: table, Key: key, UpdateExpression: 'REMOVE operation' }),
      );
      ids.push((await failWith(createEnvironment(), lost))?.id);
    }
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(ids[1]).toBe(ids[0]);
  });

  it('is known to a route that shows the result of a running call', async () => {
    const { createEnvironment } = createKey({ showsRunning: () => true });
    const seen: HttpRequest['operation'][] = [];
    await createEnvironment().begin((request) => {
      seen.push(request.operation);
      return runForever(request);
    });
    await createEnvironment().call(async ({ operation, body }) => {
      seen.push(operation);
      return { json: body };
    });
    expect(seen[1]).toEqual({ ...seen[0], isRepeated: true });
  });
});

it('a response whose record could not be finished is logged, and replayed by every later call', async () => {
  const { createEnvironment } = createKey();
  const telemetry = recordTelemetry();
  expect(await createEnvironment({ away: true }).call(respondWith('first'), undefined, telemetry)).toEqual({
    json: 'first',
  });
  expect(telemetry.lines).toMatchObject([{ message: 'idempotent response not recorded' }]);
  for (let repetition = 0; repetition < 2; repetition += 1)
    expect(await createEnvironment().call(runTwice)).toMatchObject({
      json: 'first',
      headers: { 'idempotent-replayed': 'true' },
    });
});

it('a stream whose record could not be finished is replayed with its headers', async () => {
  const { createEnvironment } = createKey();
  async function* frames() {
    yield 'one';
    yield 'two';
    return true;
  }
  const route = async () => ({ headers: { 'content-type': 'text/event-stream' }, frames: frames() });
  const first = await createEnvironment({ away: true }).call(route);
  expect(first.headers).toEqual({ 'content-type': 'text/event-stream' });
  expect(await readFrames(first)).toEqual(['one', 'two']);
  const second = await createEnvironment().call(runTwice);
  expect(second.headers).toMatchObject({ 'content-type': 'text/event-stream' });
  expect(await readFrames(second)).toEqual(['one', 'two']);
});

it.each([
  ['that must not be stored', false, 'short'],
  ['that is too long to be recorded', true, 'x'.repeat(16_000_001)],
])('a stream %s is refused to a repetition, and nothing of it is stored', async (_, mayStore, frame) => {
  const { createEnvironment, blobs } = createKey({ mayStore: () => mayStore });
  async function* frames() {
    yield frame;
    return true;
  }
  expect(await readFrames(await createEnvironment().call(async () => ({ frames: frames() })))).toEqual([frame]);
  expect(await getCode(createEnvironment().call(runTwice))).toBe('idempotent_answer_not_kept');
  expect(blobs.held.size).toBe(0);
});

it('a route gets the request as it came', async () => {
  const { createEnvironment } = createKey();
  const { signal: _, ...rest } = makeRequest('', { a: 1 });
  let seen: Partial<HttpRequest> = {};
  await createEnvironment().call(async (request) => {
    seen = request;
    return { json: 'first' };
  });
  expect(seen).toMatchObject({ pathParameters: rest.pathParameters, body: rest.body, principal: rest.principal });
});

describe('a claim', () => {
  const claim = { owner: 'call-1', until: START + 30_000, expiresAt: START / 1000 + 86_400, operation: 'operation-1' };
  const fingerprint = Uint8Array.of(1);

  it('is ours if a request is repeated whose response was lost, until the operation has ended', async () => {
    const records = createIdempotencyRecords(services.dynamodb, table);
    const key = { tenant: 'acme', id: 'idem#repeated' };
    const first = await records.claim(key, { ...claim, fingerprint }, START);
    expect(first).toMatchObject({ claimed: true, record: { epoch: 0, operation: 'operation-1' } });
    expect(await records.claim(key, { ...claim, fingerprint }, START)).toEqual(first);
    const other = { ...claim, owner: 'call-2', operation: 'operation-2', fingerprint };
    expect(await records.claim(key, other, START)).toMatchObject({ claimed: false, record: { owner: 'call-1' } });
    await records.finish(key, 'call-1', { kept: 'table' });
    expect(await records.claim(key, { ...claim, fingerprint }, START)).toMatchObject({ claimed: false });
  });

  it('is recognized in the same way when it takes a key over', async () => {
    const records = createIdempotencyRecords(services.dynamodb, table);
    const key = { tenant: 'acme', id: 'idem#taken-over' };
    const { record } = await records.claim(key, { ...claim, fingerprint }, START);
    const later = { ...claim, owner: 'call-2', until: START + 90_000, fingerprint };
    const second = await records.takeOver(key, record, later, START + 30_000);
    expect(second).toMatchObject({ claimed: true, record: { owner: 'call-2', epoch: 1 } });
    expect(await records.takeOver(key, record, later, START + 30_000)).toEqual(second);
  });
});

it("a request's fingerprint is sealed under the name that every version uses", async () => {
  const { createEnvironment, key } = createKey();
  await createEnvironment().call(respondWith('first'));
  const { Item } = await services.dynamodb.send(new GetItemCommand({ TableName: table, Key: key }));
  const [name] = Buffer.from(Item?.['fingerprint']?.B ?? [])
    .toString('latin1')
    .split('|');
  const id = String(key.pk.S).slice('acme#'.length);
  expect(Object.fromEntries(JSON.parse(name ?? ''))).toEqual({
    ...{ tenant: 'acme', kind: 'idempotent-answer', id, epoch: 0, field: 'fingerprint' },
  });
});

async function readFrames(answer: HttpResponse): Promise<string[]> {
  if (!('frames' in answer)) throw new Error('not a stream');
  const frames: string[] = [];
  for await (const frame of answer.frames) frames.push(frame);
  return frames;
}
