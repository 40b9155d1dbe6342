import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpRequest } from '../../../shared/access/route.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createClaims } from '../../../shared/idempotency/idempotency-records.ts';
import { idempotent } from '../../../shared/idempotency/idempotent.ts';
import { CLAIM_TIMINGS } from '../../../shared/idempotency/record-lease.ts';
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
  'before the answer is written',
  'when it is written',
  'when the job has been read',
  'at the end',
] as const;
type Step = (typeof STEPS)[number];
let words = 0;

/**
 * One key that nobody has used, and a response that its first call makes.
 * @param deletedAt where in that call somebody deletes the response
 */
function aWorld({ deletedAt, reference }: { deletedAt?: Step; reference?: Reference } = {}) {
  words += 1;
  const word = `word-${words}`;
  const blobs = createMemoryBlobs();
  const jobs = createMemoryStore(() => START);
  const bodies = createBodies(aVault(), blobs);
  const claims = createClaims(services.dynamodb, table);
  const remove = () => deleteJob({ jobs, bodies }, tenant, id);
  const at = async (step: Step) => {
    if (step === deletedAt) await remove();
  };
  const idempotency = {
    timings: CLAIM_TIMINGS,
    claims: {
      ...claims,
      async finish(...args: Parameters<typeof claims.finish>) {
        await at('at the end');
        return claims.finish(...args);
      },
    },
    bodies: {
      ...bodies,
      async write(...args: Parameters<typeof bodies.write>) {
        await at('before the answer is written');
        const ref = await bodies.write(...args);
        await at('when it is written');
        return ref;
      },
    },
    jobs: {
      async read(...args: Parameters<typeof jobs.read>) {
        const job = await jobs.read(...args);
        await at('when the job has been read');
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
    /** The first step of a deletion, whose process is killed then. */
    bury: () => jobs.delete(tenant, id),
    stream: async (): Promise<HttpResponse> => ({ frames: frames(), stored: id }),
    /** All bodies, opened. */
    async text() {
      const opened = [...blobs.held.values()].map((sealed) => Buffer.from(sealed.map((byte) => byte ^ 0xff)));
      return opened.map((bytes) => bytes.toString('latin1')).join();
    },
    made: () => made,
    /** What lies anywhere of the answer. */
    kept: () => [...blobs.held.keys()].filter((key) => key.includes('#replay#') || key.includes('#output#')),
    call(run: () => Promise<HttpResponse> = make) {
      const route = idempotent(
        { scope: 'inference', run },
        { name: 'test', open: async () => idempotency, ...(reference === undefined ? {} : { reference }) },
      );
      return route.run(aCall(word));
    },
  };
}

function aCall(word: string): HttpRequest {
  const { logger, metrics } = recordTelemetry();
  return {
    requestId: 'request',
    pathParameters: {},
    query: {},
    headers: { 'idempotency-key': word },
    body: { a: 1 },
    principal: { tenant, keyId: 'key', scopes: ['inference'] },
    signal: new AbortController().signal,
    deadlineAt: START + 330_000,
    telemetry: { logger: { ...logger, warn: (message) => expect.unreachable(message) }, metrics },
  };
}

async function framesOf(answer: HttpResponse): Promise<string[]> {
  if (!('frames' in answer)) throw new Error('not a stream');
  const frames: string[] = [];
  for await (const frame of answer.frames) frames.push(frame);
  return frames;
}

describe('a stored response that was made with a key', () => {
  it('is given again while it is there; once deleted it is refused, made no second time, and gone at rest', async () => {
    const world = aWorld();
    expect(await world.call()).toMatchObject({ json: { text: 'canary' } });
    expect(await world.call()).toMatchObject({
      json: { id, text: 'canary' },
      headers: { 'idempotent-replayed': 'true' },
    });
    expect(world.kept()).toHaveLength(1);
    await world.remove();
    expect(world.kept()).toEqual([]);
    await expect(world.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
    expect(world.made()).toBe(1);
  });

  it('is so as a stream, too', async () => {
    const world = aWorld();
    expect(await framesOf(await world.call(world.stream))).toEqual(['canary', 'end']);
    expect(await framesOf(await world.call(world.stream))).toEqual(['canary', 'end']);
    await world.remove();
    expect(world.kept()).toEqual([]);
    await expect(world.call(world.stream)).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
    expect(world.made()).toBe(1);
  });

  it.each(STEPS)('is refused and gone at rest when it is deleted in the middle of its call: %s', async (deletedAt) => {
    const world = aWorld({ deletedAt });
    expect(await world.call()).toMatchObject({ json: { text: 'canary' } });
    expect(world.kept()).toEqual([]);
    await expect(world.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
    expect(world.made()).toBe(1);
  });

  it('is given again to nobody while its deletion has only begun', async () => {
    const world = aWorld();
    await world.call();
    await world.bury();
    expect(world.kept()).toHaveLength(1);
    await expect(world.call()).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
  });
});

describe('an answer of which only ids are kept', () => {
  it('is shown as it is now, and refused when it is gone', async () => {
    const shelf = new Map([['item_1', 'canary']]);
    const reference: Reference = {
      idsOf: () => [...shelf.keys()],
      async show(_request, ids) {
        const texts = ids.map((each) => shelf.get(each));
        if (texts.includes(undefined)) throw new LambentError('not_found', 'gone');
        return texts;
      },
    };
    const world = aWorld({ reference });
    const add = async () => ({ json: ['canary'] });
    expect(await world.call(add)).toEqual({ json: ['canary'] });
    shelf.set('item_1', 'wren');
    expect(await world.call(add)).toEqual({ json: ['wren'], headers: { 'idempotent-replayed': 'true' } });
    expect(await world.text()).not.toContain('canary');
    shelf.clear();
    await expect(world.call(add)).rejects.toMatchObject({ code: 'idempotent_answer_not_kept' });
  });
});
