import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createIdempotencyRecords } from '../../../shared/idempotency/idempotency-records.ts';
import { idempotent } from '../../../shared/idempotency/idempotent.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/key-lease.ts';
import type { Reference } from '../../../shared/idempotency/replay.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { deleteJob } from '../../../shared/jobs/control.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import type { HttpResponse } from '../../../shared/lambda/http-responder.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { aJob, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault, type Services, startServices } from '../jobs/services.ts';

let services: Services;
let table: string;
beforeAll(async () => {
  services = await startServices();
  table = await services.newTable();
});
afterAll(() => services[Symbol.asyncDispose]());

const { tenant, id } = aJob();
const STEPS = [
  'before its HTTP response is recorded',
  'after its HTTP response is recorded',
  'after its job is read',
  'before the record is finished',
] as const;
type Step = (typeof STEPS)[number];
let count = 0;

/**
 * Creates an unused key, and a route that stores a response.
 * @param deletedAt the step of the first call at which the response is deleted
 */
function createKey({ deletedAt, reference }: { deletedAt?: Step; reference?: Reference } = {}) {
  count += 1;
  const word = `word-${count}`;
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => START);
  const bodies = createBodies(aVault(), blobs);
  const records = createIdempotencyRecords(services.dynamodb, table);
  const remove = () => deleteJob({ jobs, bodies }, tenant, id);
  const at = async (step: Step) => {
    if (step === deletedAt) await remove();
  };
  const idempotency = {
    timings: CLAIM_TIMINGS,
    records: {
      ...records,
      async finish(...args: Parameters<typeof records.finish>) {
        await at('before the record is finished');
        return records.finish(...args);
      },
    },
    bodies: {
      ...bodies,
      async write(...args: Parameters<typeof bodies.write>) {
        await at('before its HTTP response is recorded');
        const ref = await bodies.write(...args);
        await at('after its HTTP response is recorded');
        return ref;
      },
    },
    jobs: {
      async read(...args: Parameters<typeof jobs.read>) {
        const job = await jobs.read(...args);
        await at('after its job is read');
        return job;
      },
    },
    vault: aVault(),
    now: () => START,
  };
  let made = 0;
  async function make(): Promise<HttpResponse> {
    made += 1;
    await jobs.create(aJob());
    return { json: { id, text: 'canary' }, stored: id };
  }
  async function* frames(): AsyncGenerator<string, boolean> {
    made += 1;
    yield 'canary';
    await jobs.create(aJob());
    yield 'end';
    return true;
  }
  return {
    remove,
    /** Performs the first step of a deletion, as if its process were killed then. */
    beginDeletion: () => jobs.delete(tenant, id),
    stream: async (): Promise<HttpResponse> => ({ frames: frames(), stored: id }),
    /** Returns all stored bodies as text. */
    async readAll() {
      const opened = [...blobs.held.values()].map((sealed) => Buffer.from(sealed.map((byte) => byte ^ 0xff)));
      return opened.map((bytes) => bytes.toString('latin1')).join();
    },
    made: () => made,
    /** Returns the names of the stored responses. */
    listStored: () => [...blobs.held.keys()].filter((key) => key.includes('#replay#') || key.includes('#output#')),
    call(run: () => Promise<HttpResponse> = make) {
      const route = idempotent(
        { run },
        { name: 'test', open: async () => idempotency, ...(reference === undefined ? {} : { reference }) },
      );
      return route.run(makeRequest(word));
    },
  };
}

function makeRequest(word: string): HttpRequest {
  const { logger, metrics } = recordTelemetry();
  return {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers: { 'idempotency-key': word },
    body: { a: 1 },
    principal: { tenant, keyId: 'key', scopes: ['inference'], policy: UNRESTRICTED },
    signal: new AbortController().signal,
    deadlineAt: START + 330_000,
    telemetry: { logger: { ...logger, warn: (message) => expect.unreachable(message) }, metrics },
  };
}

async function readFrames(answer: HttpResponse): Promise<string[]> {
  if (!('frames' in answer)) throw new Error('not a stream');
  const frames: string[] = [];
  for await (const frame of answer.frames) frames.push(frame);
  return frames;
}

describe('a stored response that was created with a key', () => {
  it('a stored response is replayed until it is deleted; afterwards it is refused and no copy remains', async () => {
    const key = createKey();
    expect(await key.call()).toMatchObject({ json: { text: 'canary' } });
    expect(await key.call()).toMatchObject({
      json: { id, text: 'canary' },
      headers: { 'idempotent-replayed': 'true' },
    });
    expect(key.listStored()).toHaveLength(1);
    await key.remove();
    expect(key.listStored()).toEqual([]);
    await expect(key.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
    expect(key.made()).toBe(1);
  });

  it('a stored stream is replayed until it is deleted; afterwards it is refused and no copy remains', async () => {
    const key = createKey();
    expect(await readFrames(await key.call(key.stream))).toEqual(['canary', 'end']);
    expect(await readFrames(await key.call(key.stream))).toEqual(['canary', 'end']);
    await key.remove();
    expect(key.listStored()).toEqual([]);
    await expect(key.call(key.stream)).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
    expect(key.made()).toBe(1);
  });

  it.each(STEPS)(
    'a response that is deleted during its call, %s, is refused and no copy remains',
    async (deletedAt) => {
      const key = createKey({ deletedAt });
      expect(await key.call()).toMatchObject({ json: { text: 'canary' } });
      expect(key.listStored()).toEqual([]);
      await expect(key.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
      expect(key.made()).toBe(1);
    },
  );

  it('a response whose deletion has begun is not replayed', async () => {
    const key = createKey();
    await key.call();
    await key.beginDeletion();
    expect(key.listStored()).toHaveLength(1);
    await expect(key.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
  });
});

describe('a response of which only ids are recorded', () => {
  it('a response of which only ids are recorded shows the current state, and is refused after a deletion', async () => {
    const store = new Map([['item_1', 'canary']]);
    const reference: Reference = {
      idsOf: () => [...store.keys()],
      async show(_request, ids) {
        const texts = ids.map((each) => store.get(each));
        if (texts.includes(undefined)) throw new LambentError('not_found', 'gone');
        return texts;
      },
    };
    const key = createKey({ reference });
    const add = async () => ({ json: ['canary'] });
    expect(await key.call(add)).toEqual({ json: ['canary'] });
    store.set('item_1', 'wren');
    expect(await key.call(add)).toEqual({ json: ['wren'], headers: { 'idempotent-replayed': 'true' } });
    expect(await key.readAll()).not.toContain('canary');
    store.clear();
    await expect(key.call(add)).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
  });
});
