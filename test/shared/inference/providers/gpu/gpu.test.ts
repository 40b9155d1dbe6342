import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LambentError } from '../../../../../shared/core/errors.ts';
import { deriveTenantSalt } from '../../../../../shared/gpu/placement/prompt.ts';
import { CAPABILITIES } from '../../../../../shared/inference/capabilities.ts';
import type { GenerationRequest } from '../../../../../shared/inference/generation.ts';
import { createGpuModel } from '../../../../../shared/inference/providers/gpu/gpu.ts';
import { createRouter } from '../../../../../shared/inference/router.ts';
import type { GpuWorker, ServedRequest, WorkerBehavior } from '../../../../upstreams/gpu-worker.ts';
import { startSilentAddress } from '../../../../upstreams/silent-address.ts';
import { waitUntil } from '../../../../wait.ts';
import { createTestRegistry } from '../../../api/service.ts';
import { recordTelemetry } from '../../../core/recorded-telemetry.ts';
import { createLease, createLeaseRequest, FLEET, type FleetTables, startFleetTables } from '../../../gpu/fleets.ts';
import { makeRequest } from '../../requests.ts';
import { type GpuFleet, generate, STALL_MS, startGpuFleet, TARGET } from './gpu-fleet.ts';

const ANSWER = 't0 t1 t2 ';

let tables: FleetTables;
let fleet: GpuFleet;
let w1: GpuWorker;
let w2: GpuWorker;
let w3: GpuWorker;
beforeAll(async () => {
  tables = await startFleetTables();
});
afterAll(() => tables[Symbol.asyncDispose]());
beforeEach(async () => {
  fleet = await startGpuFleet(tables, 3);
  [w1, w2, w3] = fleet.workers as [GpuWorker, GpuWorker, GpuWorker];
});
afterEach(async () => {
  expect(await fleet.leases()).toEqual([]);
  await fleet[Symbol.asyncDispose]();
});

const isProbe = ({ body }: ServedRequest) => body['max_tokens'] === 1;
/** Returns the number of callers' requests that each worker got. */
const countRequests = () => fleet.workers.map(({ served }) => served.filter((request) => !isProbe(request)).length);
const countProbes = () => fleet.workers.map(({ served }) => served.filter(isProbe).length);

/** Returns a function that expects a call to end by the router's first-token timeout. */
function createTimeoutCalls() {
  const gpu = fleet.model();
  const router = createRouter({
    registry: createTestRegistry({ firstTokenTimeoutMs: 2_000 }),
    createModel: async () => gpu,
    getCapabilities: () => new Set(CAPABILITIES),
  });
  // Long enough that the worker's own time limit is later than the router's timeout.
  const content = [{ type: 'text' as const, text: 'word '.repeat(12_000) }];
  const request = makeRequest({ messages: [{ role: 'user', content }] });
  return () => {
    const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: true };
    return expect(router.generate(request, call)).rejects.toMatchObject({ code: 'upstream_timeout' });
  };
}

/** The behavior of a healthy worker on which the requests of some tenants hang. */
function hangForTenants(...tenants: string[]) {
  const salts = tenants.map((tenant) => deriveTenantSalt(tenant, FLEET));
  return (body: ServedRequest['body']): WorkerBehavior =>
    body['max_tokens'] !== 1 && salts.includes(String(body['cache_salt'])) ? { hangAfter: 0 } : {};
}

describe('a call of a GPU model', () => {
  it('a call leases one slot, and its prompt tokens are pending until the first token', async () => {
    w1.behave({ tokens: 3, tokenMs: 500 });
    const pending: number[] = [];
    const recordPending = async () => {
      const { leases = {} } = (await fleet.worker('w1')) ?? {};
      pending.push(...Object.values(leases).map(({ pendingTokens }) => pendingTokens));
    };
    const generating = generate(fleet.model('interactive', { stallMs: 10_000 }), {
      onEvent: async (_event, index) => index === 1 && (await recordPending()),
    });
    while (pending.length === 0) {
      await sleep(5);
      await recordPending();
    }
    expect((await generating).text).toBe(ANSWER);
    expect(pending).toEqual([expect.toSatisfy((tokens: number) => tokens > 0), 0]);
    expect(countRequests()).toEqual([1, 0, 0]);
  });

  it('the slot is released when the finish event is yielded', async () => {
    const leases: string[][] = [];
    const recordLeases = async ({ type }: { type: string }) => {
      await sleep(20);
      if (type === 'finish') leases.push(await fleet.leases());
    };
    await generate(fleet.model(), { onEvent: recordLeases });
    expect(leases).toEqual([[]]);
  });

  it('an interactive call fails at once if the fleet’s key is missing', async () => {
    const fault = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const secret = () => Promise.reject(fault);
    await using empty = await startGpuFleet(tables, 0);
    for (const { options } of [fleet, empty]) {
      const keyed = { ...options, fleet: { ...options.fleet, apiKey: 'env:NO_KEY' }, secret };
      const { error } = await generate(createGpuModel(TARGET, keyed));
      expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget', cause: fault });
    }
    expect(countRequests()).toEqual([0, 0, 0]);
  });

  it('a batch call fails with overloaded, so that its job is retried, if the fleet’s key is missing', async () => {
    const fault = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const secret = () => Promise.reject(fault);
    const keyed = {
      ...fleet.options,
      tier: 'batch' as const,
      fleet: { ...fleet.options.fleet, apiKey: 'env:NO_KEY' },
      secret,
    };
    expect((await generate(createGpuModel(TARGET, keyed))).error).toMatchObject({ code: 'overloaded', cause: fault });
  });

  it('no worker becomes suspect if the key cannot be read at the moment', async () => {
    const secret = () => Promise.reject(new LambentError('upstream_unavailable', 'ssm:/key could not be read'));
    const keyed = { ...fleet.options, fleet: { ...fleet.options.fleet, apiKey: 'ssm:/key' }, secret };
    const { error } = await generate(createGpuModel(TARGET, keyed));
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('the engine’s response is always streamed', async () => {
    expect((await generate(fleet.model(), { streamed: false })).text).toBe(ANSWER);
    expect(w1.served[0]?.body).toMatchObject({ stream: true, model: 'Qwen/Qwen3-8B' });
  });

  it.each([
    ['vllm', { priority: 0 }, { priority: 1 }],
    ['sglang', { priority: 1 }, { priority: 0 }],
  ] as const)(
    'a request to %s has a priority and a cache salt that does not name the tenant',
    async (engine, chat, job) => {
      await generate(fleet.model('interactive', { engine }));
      await generate(fleet.model('batch', { engine }));
      await generate(fleet.model('interactive', { engine }), { request: { tenant: 'other' } });
      const [first, second, third] = fleet.workers.flatMap(({ served }) => served.map(({ body }) => body));
      expect(first).toMatchObject(chat);
      expect(second).toMatchObject(job);
      expect(first?.['cache_salt']).toBe(second?.['cache_salt']);
      expect(third?.['cache_salt']).toEqual(expect.any(String));
      expect(third?.['cache_salt']).not.toBe(first?.['cache_salt']);
      expect(JSON.stringify([first, second])).not.toContain('acme');
    },
  );

  it('priority and cache salt cannot be set by the caller’s own fields', async () => {
    await generate(fleet.model(), { request: { unknown: { cache_salt: 'theirs', priority: -5, top_k: 3 } } });
    expect(w1.served[0]?.body).toMatchObject({ priority: 0, top_k: 3 });
    expect(w1.served[0]?.body['cache_salt']).not.toBe('theirs');
  });

  it.each([
    // vLLM's error for a schema with an invalid reference quotes the schema.
    'Failed to transform json schema into a grammar: Cannot find field cache_salt in #/$defs/cache_salt',
    "Failed to transform json schema into a grammar: Cannot find field Parameter 'cache_salt' is not supported in #/",
    'Failed to transform json schema into a grammar: Cannot find field priority in #/$defs/priority',
    'Failed to transform json schema into a grammar: Got priority 1 but Priority scheduling is not enabled.',
  ])('fields are still sent after an error that merely quotes them: %s', async (message) => {
    w1.behave(({ response_format }) => (response_format === undefined ? {} : { status: 400, message }));
    const schema = { $ref: '#/$defs/cache_salt' };
    const model = fleet.model('batch');
    const rejected = await generate(model, {
      request: { format: { type: 'jsonSchema', name: 'n', schema, strict: true } },
    });
    expect(rejected.error).toMatchObject({ code: 'upstream_rejected', message });
    expect((await generate(model, { request: { tenant: 'other' } })).text).toBe(ANSWER);
    expect(w1.served).toHaveLength(2);
    for (const { body } of w1.served) expect(body).toMatchObject({ priority: 1, cache_salt: expect.any(String) });
  });

  it.each([
    "Parameter 'cache_salt' is not supported with this instance of vLLM, which uses engine V0.",
    `[{'type': 'value_error', 'loc': ('body',), 'msg': "Value error, Parameter 'cache_salt' is not supported with this instance of vLLM, which uses engine V0.", 'input': {'model': 'm'}}]`,
  ])('no request is sent without the salt if the engine refuses it, and a warning is logged: %s', async (message) => {
    for (const worker of fleet.workers) {
      worker.behave(({ cache_salt }) => (cache_salt === undefined ? {} : { status: 400, message }));
    }
    const telemetry = recordTelemetry();
    const model = createGpuModel(TARGET, fleet.options);
    for (let round = 0; round < 2; round += 1) {
      expect((await generate(model, { telemetry })).error).toMatchObject({
        code: 'upstream_misconfigured',
        recovery: 'nextTarget',
      });
    }
    expect(countRequests()).toEqual([2, 2, 2]);
    const warnings = telemetry.lines.filter(({ level }) => level === 'warn');
    expect(warnings).toHaveLength(3);
    expect(warnings[0]).toMatchObject({ level: 'warn', fleet: FLEET, url: w1.url, field: 'cache_salt' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('a refusal of the caller’s own field is reported to the caller', async () => {
    const message = "Parameter 'cache_salt' is not supported";
    w1.behave(({ cache_salt }) => (cache_salt === undefined ? {} : { status: 400, message }));
    const model = fleet.model('interactive', { engine: 'other' });
    const { error } = await generate(model, { request: { unknown: { cache_salt: 'theirs' } } });
    expect(error).toMatchObject({ code: 'upstream_rejected', message });
  });

  it('a field that the engine refuses is left out from then on', async () => {
    w1.behave(({ priority }) =>
      priority === undefined ? {} : { status: 400, message: 'Got priority 1 but Priority scheduling is not enabled.' },
    );
    const model = fleet.model('batch');
    expect((await generate(model)).text).toBe(ANSWER);
    expect((await generate(model)).text).toBe(ANSWER);
    expect(w1.served.map(({ body }) => body['priority'])).toEqual([1, undefined, undefined]);
    expect(w1.served[2]?.body).toHaveProperty('cache_salt');
  });

  it('a field is sent again if the request was also refused without it', async () => {
    w1.behave(({ priority }) => ({
      status: 400,
      message:
        priority === undefined ? 'top_p must be in (0, 1]' : 'Got priority 1 but Priority scheduling is not enabled.',
    }));
    const model = fleet.model('batch');
    expect((await generate(model)).error).toMatchObject({ code: 'upstream_rejected' });
    w1.behave({});
    expect((await generate(model)).text).toBe(ANSWER);
    expect(w1.served.map(({ body }) => body['priority'])).toEqual([1, undefined, 1]);
  });
});

describe('a session', () => {
  const ask = (text: string, changes: Partial<GenerationRequest>) =>
    generate(fleet.model(), {
      request: { messages: [{ role: 'user', content: [{ type: 'text', text }] }], ...changes },
    });
  const countOnW2 = () => countRequests()[1];

  it.each<[string, Partial<GenerationRequest>]>([
    ['the client', { inSession: true }],
    ['prompt_cache_key', { hints: { promptCacheKey: 'k' } }],
  ])('that %s names stays on its worker, even if its prompt begins differently', async (_, named) => {
    const session = { conversationKey: `acme key ${randomUUID()}`, ...named };
    await fleet.table.deregister(FLEET, 'w1');
    await ask('word '.repeat(500), session);
    await fleet.register('w1', {});
    const before = countOnW2();
    expect(before).toBe(1);
    await ask('another '.repeat(500), session);
    expect(countOnW2()).toBe(2);
    await ask('a third '.repeat(500), { ...named, conversationKey: 'acme key other' });
    await ask('a fourth '.repeat(500), { conversationKey: session.conversationKey });
    expect(countOnW2()).toBe(2);
  });
});

describe('a failure before the first token', () => {
  it.each([true, false])(
    'a worker that refuses connections becomes suspect and another one answers (streamed: %s)',
    async (streamed) => {
      await w1.kill();
      expect((await generate(fleet.model(), { streamed })).text).toBe(ANSWER);
      expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
      expect(countRequests()).toEqual([0, 1, 0]);
    },
  );

  it('a worker whose address does not respond becomes suspect before stallMs and another one answers', async () => {
    using silent = await startSilentAddress();
    await fleet.register('w1', { url: silent.url });
    // Far longer than the test may take.
    expect((await generate(fleet.model('interactive', { stallMs: 600_000 }))).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  it('a worker that closes the connection becomes suspect and another one answers', async () => {
    w1.behave({ cutAfter: 0 });
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  it('a worker that hangs becomes suspect and another one answers', async () => {
    w1.behave({ hangAfter: 0 });
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  it('requests of one tenant that hang take no healthy worker from the other tenants', async () => {
    for (const worker of fleet.workers) worker.behave(hangForTenants('acme'));
    const model = fleet.model();
    const hanging = await Promise.all([generate(model), generate(model)]);
    for (const { error } of hanging) expect(error).toMatchObject({ code: 'upstream_timeout' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
    expect((await generate(model, { request: { tenant: 'other' } })).text).toBe(ANSWER);
  });

  it('a stream of one tenant that stops takes no healthy worker from the other tenants', async () => {
    w1.behave(({ max_tokens }) => (max_tokens === 1 ? {} : { hangAfter: 2 }));
    expect((await generate(fleet.model())).error).toMatchObject({ code: 'upstream_cut' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('a worker with no free slot for the probe stays ready if it answers once the silent request is closed', async () => {
    for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
    const isClosed = () => w1.served.find((request) => !isProbe(request))?.closed ?? Promise.resolve();
    w1.behave(({ max_tokens }) => (max_tokens === 1 ? { after: isClosed() } : { hangAfter: 0 }));
    expect((await generate(fleet.model())).error).toMatchObject({ code: 'upstream_timeout' });
    expect(countProbes()).toEqual([1, 0, 0]);
    expect(await fleet.states()).toEqual(['ready']);
  });

  it('a worker gets a probe for each silence, and none while it sends tokens', async () => {
    // A probe is sent after half of `stallMs`. On a busy machine, tokens come late, and not too late here.
    const stallMs = 5 * STALL_MS;
    w1.behave(({ max_tokens }) => (max_tokens === 1 ? {} : { tokens: 2, tokenMs: 0.6 * stallMs }));
    const model = fleet.model('interactive', { stallMs });
    expect((await generate(model)).text).toBe('t0 t1 ');
    expect(countProbes()).toEqual([2, 0, 0]);
    w1.behave({});
    expect((await generate(model)).text).toBe(ANSWER);
    expect(countProbes()).toEqual([2, 0, 0]);
  });

  it('a worker that is still loading its model becomes suspect and another one answers', async () => {
    w1.behave({ status: 503, message: 'Loading model' });
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  it.each([429, 404])('a worker that responds with %i stays ready and another one answers', async (status) => {
    w1.behave({ status });
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it.each([true, false])(
    'a worker that responds with 500 becomes suspect once another one answers the same request (streamed: %s)',
    async (streamed) => {
      w1.behave({ status: 500 });
      expect((await generate(fleet.model(), { streamed })).text).toBe(ANSWER);
      expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
    },
  );

  it('no worker becomes suspect if all respond with 500', async () => {
    for (const worker of fleet.workers) worker.behave({ status: 500 });
    expect((await generate(fleet.model())).error).toMatchObject({ code: 'upstream_unavailable' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('a worker gets more time for a long prompt', async () => {
    w1.behave({ tokens: 1, tokenMs: 2 * STALL_MS });
    const content = [{ type: 'text' as const, text: 'word '.repeat(8_000) }];
    expect((await generate(fleet.model(), { request: { messages: [{ role: 'user', content }] } })).text).toBe('t0 ');
    expect(countRequests()).toEqual([1, 0, 0]);
  });

  it('a worker becomes suspect when the router’s first-token timeout ends two calls of it in a row', async () => {
    w1.behave({ hangAfter: 0 });
    const expectTimeout = createTimeoutCalls();
    await fleet.table.deregister(FLEET, 'w2');
    await fleet.table.deregister(FLEET, 'w3');
    await expectTimeout();
    expect(await fleet.states()).toEqual(['ready']);
    await expectTimeout();
    expect(countRequests()).toEqual([2, 0, 0]);
    expect(await fleet.states()).toEqual(['suspect']);
  });

  it.each([true, false])(
    'a worker that has sent the assistant role gets more time for a tool call (streamed: %s)',
    async (streamed) => {
      w1.behave({ role: true, tokens: 1, tokenMs: 1_500 });
      const model = fleet.model('interactive', { stallMs: 1_000 });
      const tools = [{ name: 'look', parameters: {}, strict: false }];
      expect((await generate(model, { streamed, request: { tools } })).text).toBe('t0 ');
      expect(countRequests()).toEqual([1, 0, 0]);
    },
  );

  it('the router’s first-token timeout never suspects a worker that answers a probe', async () => {
    w1.behave(hangForTenants('acme'));
    for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
    const expectTimeout = createTimeoutCalls();
    for (let call = 0; call < 3; call += 1) await expectTimeout();
    expect(await fleet.states()).toEqual(['ready']);
  });

  it('two hanging workers become suspect in one call if a third one answers', async () => {
    for (const worker of [w1, w2]) worker.behave({ hangAfter: 0 });
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(await fleet.states()).toEqual(['suspect', 'suspect', 'ready']);
  });

  it('only the first of several hanging workers becomes suspect', async () => {
    for (const worker of fleet.workers) worker.behave({ hangAfter: 0 });
    const { error } = await generate(fleet.model());
    expect(error).toMatchObject({ code: 'upstream_timeout', recovery: 'nextTarget' });
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
    expect(countRequests()).toEqual([1, 1, 1]);
  });

  it('at most three workers are tried', async () => {
    await using larger = await startGpuFleet(tables, 5);
    for (const worker of larger.workers) worker.behave({ status: 500 });
    expect((await generate(larger.model())).error).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'nextTarget',
    });
    expect(larger.workers.map(({ served }) => served.length)).toEqual([1, 1, 1, 0, 0]);
  });

  it('the failure of the only worker is reported without waiting for a slot', async () => {
    for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
    w1.behave({ status: 500 });
    expect((await generate(fleet.model())).error).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'nextTarget',
    });
    expect(countRequests()).toEqual([1, 0, 0]);
  });

  it.each([
    ['at once', 'new', 1],
    ['at once', 'reused', 1],
    ['after a while', 'reused', 1_200],
  ])(
    'a connection reset by the only worker, %s and on a %s connection, is reported as upstream_cut',
    async (_, connection, tokenMs) => {
      for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
      const model = fleet.model('interactive', { stallMs: 5_000 });
      if (connection === 'reused') await generate(model);
      const before = countRequests()[0] ?? 0;
      w1.behave({ resets: true, tokenMs });
      expect((await generate(model)).error).toMatchObject({ code: 'upstream_cut', recovery: 'nextTarget' });
      expect((countRequests()[0] ?? 0) - before).toBe(connection === 'reused' && tokenMs < 1_000 ? 2 : 1);
      expect(await fleet.states()).toEqual(['suspect']);
    },
  );

  it('connection resets by two workers are reported as upstream_cut, and a reset by one is not', async () => {
    for (const worker of [w1, w2]) worker.behave({ resets: true });
    await w3.kill();
    expect((await generate(fleet.model())).error).toMatchObject({ code: 'upstream_cut', recovery: 'nextTarget' });
    for (const id of ['w1', 'w2', 'w3']) await fleet.register(id, { bootId: 'boot-2' });
    await w2.kill();
    expect((await generate(fleet.model())).error).toMatchObject({
      code: 'upstream_unavailable',
      recovery: 'nextTarget',
    });
  });

  it('a request that a worker rejects is not sent to another worker', async () => {
    w1.behave({ status: 400, message: 'temperature must be below 2' });
    expect((await generate(fleet.model())).error).toMatchObject({ code: 'upstream_rejected', recovery: 'fail' });
    expect(countRequests()).toEqual([1, 0, 0]);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });
});

describe('a failure after the first token', () => {
  it.each([
    ['is killed', { tokens: 100, tokenMs: 20 }, async () => w1.kill()],
    ['breaks the connection', { cutAfter: 2 }, async () => {}],
    ['hangs', { hangAfter: 2 }, async () => w1.behave({ hangAfter: 0 })],
  ])(
    'the stream of a worker that %s fails with upstream_cut, and the worker becomes suspect',
    async (_name, behavior, harm) => {
      w1.behave(behavior);
      const { text, error } = await generate(fleet.model(), { onEvent: (_event, index) => index === 1 && harm() });
      expect(text).toMatch(/^t0 /);
      expect(error).toMatchObject({ code: 'upstream_cut' });
      expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
      expect(countRequests()).toEqual([1, 0, 0]);
    },
  );

  it('a call that is not streamed gets its answer from another worker', async () => {
    w1.behave({ cutAfter: 2 });
    expect(await generate(fleet.model(), { streamed: false })).toEqual({ text: ANSWER });
    expect(countRequests()).toEqual([1, 1, 0]);
  });

  it('a call that follows a failed one goes to another worker', async () => {
    w1.behave({ cutAfter: 2 });
    await generate(fleet.model());
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    expect(countRequests()).toEqual([1, 1, 0]);
  });
});

it('a worker may be silent for longer in the middle of a tool call', async () => {
  w1.behave({ role: true, tokens: 2, tokenMs: 1_500 });
  const tools = [{ name: 'look', parameters: {}, strict: false }];
  const model = fleet.model('interactive', { stallMs: 1_000 });
  expect((await generate(model, { request: { tools } })).text).toBe('t0 t1 ');
  expect(countRequests()).toEqual([1, 0, 0]);
});

describe('a worker that restarts at the same address', () => {
  it('a call after a restart succeeds although the kept-alive connection was closed', async () => {
    const model = fleet.model();
    await generate(model);
    await w1.kill();
    await w1.restart();
    expect((await generate(model)).text).toBe(ANSWER);
    expect(countRequests()).toEqual([2, 0, 0]);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('a restart ends running calls because their leases are lost', async () => {
    w1.behave({ tokens: 100_000, tokenMs: 10 });
    const { error } = await generate(fleet.model(), {
      onEvent: async (_event, index) => index === 2 && (await fleet.register('w1', { bootId: 'boot-2' })),
    });
    expect(error).toMatchObject({ code: 'upstream_cut' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('another worker answers if the first one is deregistered before its first token', async () => {
    w1.behave({ tokens: 1, tokenMs: 60_000 });
    const generating = generate(fleet.model('interactive', { stallMs: 120_000 }));
    await waitUntil('w1 has the request', () => w1.served.length === 1);
    await fleet.table.deregister(FLEET, 'w1');
    expect((await generating).text).toBe(ANSWER);
    expect(countRequests()).toEqual([1, 1, 0]);
  });
});

describe('a draining worker', () => {
  it('a draining worker finishes its calls and gets no new ones', async () => {
    w1.behave({ tokens: 20, tokenMs: 10 });
    const model = fleet.model();
    const running = generate(model);
    await waitUntil('w1 has the request', () => w1.served.length === 1);
    await fleet.table.setState(FLEET, 'w1', 'boot-1', { state: 'draining', reason: 'spot', at: Date.now() });
    expect((await generate(model)).text).toBe(ANSWER);
    expect((await running).text).toContain('t19');
    expect(countRequests()).toEqual([1, 1, 0]);
  });

  it('a draining worker that dies stays draining', async () => {
    w1.behave({ tokens: 100_000, tokenMs: 10 });
    const running = generate(fleet.model());
    await waitUntil('w1 has sent a token', () => w1.countTokensSince(0) > 0);
    await fleet.table.setState(FLEET, 'w1', 'boot-1', { state: 'draining', reason: 'spot', at: Date.now() });
    await w1.kill();
    expect((await running).error).toMatchObject({ code: 'upstream_cut' });
    expect(await fleet.states()).toEqual(['draining', 'ready', 'ready']);
  });
});

it('a slow worker stays ready, and new calls go to other workers', async () => {
  // All tokens together take longer than stallMs.
  w1.behave({ tokens: 5, tokenMs: 800 });
  const model = fleet.model('interactive', { stallMs: 3_000 });
  const slow = generate(model);
  await waitUntil('w1 has the request', () => w1.served.length === 1);
  for (let count = 0; count < 4; count += 1) await generate(model, { request: { conversationKey: String(count) } });
  expect(countRequests()[0]).toBe(1);
  expect((await slow).text).toBe('t0 t1 t2 t3 t4 ');
  expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
});

describe('aborting a call', () => {
  it.each([
    ['a cancellation', new LambentError('overloaded', 'cancelled')],
    ['a deadline', new LambentError('deadline_exceeded', 'too late')],
  ])('%s closes the connection at once and releases the slot', async (_name, reason) => {
    w1.behave({ tokens: 100_000, tokenMs: 5 });
    const abort = new AbortController();
    const { error } = await generate(fleet.model(), {
      signal: abort.signal,
      onEvent: (_event, index) => {
        if (index !== 5) return;
        abort.abort(reason);
      },
    });
    expect(error).toBe(reason);
    await w1.served[0]?.closed;
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  it('an abort before the first token stops the engine', async () => {
    w1.behave({ tokens: 1_000, tokenMs: 5_000 });
    const abort = new AbortController();
    const generating = generate(fleet.model('interactive', { stallMs: 10_000 }), { signal: abort.signal });
    await waitUntil('w1 has the request', () => w1.served.length === 1);
    abort.abort(new LambentError('deadline_exceeded', 'too late'));
    expect((await generating).error).toMatchObject({ code: 'deadline_exceeded' });
    await sleep(200);
    expect(w1.countTokensSince(0)).toBe(0);
    expect(countRequests()).toEqual([1, 0, 0]);
  });

  it('an abort ends the wait for a slot', async () => {
    for (const id of ['w1', 'w2', 'w3']) await fleet.table.deregister(FLEET, id);
    const abort = new AbortController();
    setTimeout(() => abort.abort(new LambentError('deadline_exceeded', 'too late')), 30);
    // The fleet's own waitMs would end in another error.
    expect((await generate(fleet.model(), { signal: abort.signal })).error).toMatchObject({
      code: 'deadline_exceeded',
    });
  });

  it('a reader that stops early closes the connection and releases the slot', async () => {
    w1.behave({ tokens: 1_000, tokenMs: 5 });
    await expect(
      (async () => {
        const { error } = await generate(fleet.model(), {
          onEvent: (_event, index) => {
            if (index === 3) throw new Error('gone');
          },
        });
        throw error;
      })(),
    ).rejects.toThrow('gone');
    await w1.served[0]?.closed;
    const before = w1.countTokensSince(0);
    await sleep(50);
    expect(w1.countTokensSince(0)).toBe(before);
  });
});

describe('a fleet without free slots', () => {
  const leaseSlots = (id: string, count: number, expiresInMs: number) =>
    Promise.all(
      Array.from({ length: count }, (_, index) =>
        fleet.table.lease(
          FLEET,
          id,
          createLeaseRequest({
            id: `${id}-${index}`,
            lease: createLease({ expiresAt: Date.now() + expiresInMs }),
            now: Date.now(),
          }),
        ),
      ),
    );
  const fillAll = async (count: number, expiresInMs = 60_000) => {
    for (const id of ['w1', 'w2', 'w3']) await leaseSlots(id, count, expiresInMs);
  };
  const freeAll = async () => {
    for (const [id, { leases = {} } = {}] of await Promise.all(
      ['w1', 'w2', 'w3'].map(async (id) => [id, await fleet.worker(id)] as const),
    )) {
      for (const lease of Object.keys(leases)) await fleet.table.release(FLEET, id, lease);
    }
  };

  it('a call is refused after waitMs with a retry delay', async () => {
    await fillAll(4);
    const { error } = await generate(fleet.model());
    expect(error).toMatchObject({ code: 'overloaded', recovery: 'nextTarget', retryAfterMs: expect.any(Number) });
    await freeAll();
  });

  it('interactive work can use the reserve and batch work cannot', async () => {
    await fillAll(3);
    expect((await generate(fleet.model('batch'))).error).toMatchObject({ code: 'overloaded' });
    expect((await generate(fleet.model('interactive'))).text).toBe(ANSWER);
    await freeAll();
  });

  it('a waiting call gets the first free slot', async () => {
    await fillAll(4);
    const generating = generate(fleet.model());
    await sleep(50);
    await fleet.table.release(FLEET, 'w2', 'w2-0');
    expect((await generating).text).toBe(ANSWER);
    expect(countRequests()).toEqual([0, 1, 0]);
    await freeAll();
  });

  it('slots whose leases expire are free again', async () => {
    await fillAll(4, 80);
    expect((await generate(fleet.model())).text).toBe(ANSWER);
    await freeAll();
  });
});

it('a call fails with upstream_unavailable if the fleet table cannot be reached', async () => {
  const { slots } = fleet.options;
  const broken = { ...slots, acquire: () => Promise.reject(new Error('ECONNREFUSED')) };
  const model = createGpuModel(TARGET, { ...fleet.options, slots: broken });
  expect((await generate(model)).error).toMatchObject({ code: 'upstream_unavailable' });
  expect(w3.served).toEqual([]);
  expect(w2.served).toEqual([]);
});
