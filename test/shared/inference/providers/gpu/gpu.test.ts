import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { LambentError } from '../../../../../shared/core/errors.ts';
import { CAPABILITIES } from '../../../../../shared/inference/capabilities.ts';
import { createGpuModel } from '../../../../../shared/inference/providers/gpu/gpu.ts';
import { createRouter } from '../../../../../shared/inference/router.ts';
import type { GpuWorker } from '../../../../upstreams/gpu-worker.ts';
import { startSilentAddress } from '../../../../upstreams/silent-address.ts';
import { createTestRegistry } from '../../../api/service.ts';
import { recordTelemetry } from '../../../core/recorded-telemetry.ts';
import { aLease, aLeaseRequest, FLEET, type FleetTables, startFleetTables } from '../../../gpu/fleets.ts';
import { makeRequest } from '../../requests.ts';
import { ask, type GpuFleet, HEARTBEAT_MS, STALL_MS, startGpuFleet, TARGET } from './gpu-fleet.ts';

const WHOLE = 't0 t1 t2 ';

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

const asked = () => fleet.workers.map(({ served }) => served.length);

describe('a call', () => {
  test('holds a slot of one worker while it is answered, whose prompt is pending until the first token', async () => {
    w1.behave({ tokens: 3, tokenMs: 500 });
    const pending: number[] = [];
    const look = async () => {
      const { leases = {} } = (await fleet.worker('w1')) ?? {};
      pending.push(...Object.values(leases).map(({ pendingTokens }) => pendingTokens));
    };
    const asking = ask(fleet.model('interactive', { stallMs: 10_000 }), {
      onEvent: async (_event, index) => index === 1 && (await look()),
    });
    while (pending.length === 0) {
      await sleep(5);
      await look();
    }
    expect((await asking).text).toBe(WHOLE);
    expect(pending).toEqual([expect.toSatisfy((tokens: number) => tokens > 0), 0]);
    expect(asked()).toEqual([1, 0, 0]);
  });

  test('has given its slot back when its end is told', async () => {
    const leases: string[][] = [];
    const look = async ({ type }: { type: string }) => {
      await sleep(20);
      if (type === 'finish') leases.push(await fleet.leases());
    };
    await ask(fleet.model(), { onEvent: look });
    expect(leases).toEqual([[]]);
  });

  test('whose key cannot be had is refused at once, whether there are workers or not', async () => {
    const fault = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const secret = () => Promise.reject(fault);
    await using empty = await startGpuFleet(tables, 0);
    for (const { options } of [fleet, empty]) {
      const keyed = { ...options, fleet: { ...options.fleet, apiKey: 'env:NO_KEY' }, secret };
      const startedAt = performance.now();
      const { error } = await ask(createGpuModel(TARGET, keyed));
      expect(error).toMatchObject({ code: 'upstream_misconfigured', recovery: 'nextTarget', cause: fault });
      expect(performance.now() - startedAt).toBeLessThan(1_000);
    }
    expect(asked()).toEqual([0, 0, 0]);
  });

  test('whose key cannot be had waits, when it is a job’s: somebody will mend it', async () => {
    const fault = new LambentError('configuration', 'env:NO_KEY is missing or empty');
    const secret = () => Promise.reject(fault);
    const keyed = {
      ...fleet.options,
      tier: 'batch' as const,
      fleet: { ...fleet.options.fleet, apiKey: 'env:NO_KEY' },
      secret,
    };
    expect((await ask(createGpuModel(TARGET, keyed))).error).toMatchObject({ code: 'overloaded', cause: fault });
  });

  test('whose key cannot be looked up just now says nothing of the workers', async () => {
    const secret = () => Promise.reject(new LambentError('upstream_unavailable', 'ssm:/key could not be read'));
    const keyed = { ...fleet.options, fleet: { ...fleet.options.fleet, apiKey: 'ssm:/key' }, secret };
    const { error } = await ask(createGpuModel(TARGET, keyed));
    expect(error).toMatchObject({ code: 'upstream_unavailable', recovery: 'retry' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('always streams, so that closing its connection stops the engine', async () => {
    expect((await ask(fleet.model(), { streamed: false })).text).toBe(WHOLE);
    expect(w1.served[0]?.body).toMatchObject({ stream: true, model: 'Qwen/Qwen3-8B' });
  });

  test.each([
    ['vllm', { priority: 0 }, { priority: 1 }],
    ['sglang', { priority: 1 }, { priority: 0 }],
  ] as const)('tells %s whose turn it is and whose cache, without naming the tenant', async (engine, chat, job) => {
    await ask(fleet.model('interactive', { engine }));
    await ask(fleet.model('batch', { engine }));
    await ask(fleet.model('interactive', { engine }), { request: { tenant: 'other' } });
    const [first, second, third] = fleet.workers.flatMap(({ served }) => served.map(({ body }) => body));
    expect(first).toMatchObject(chat);
    expect(second).toMatchObject(job);
    expect(first?.['cache_salt']).toBe(second?.['cache_salt']);
    expect(third?.['cache_salt']).toEqual(expect.any(String));
    expect(third?.['cache_salt']).not.toBe(first?.['cache_salt']);
    expect(JSON.stringify([first, second])).not.toContain('acme');
  });

  test('tells a caller who passes fields on nothing of another: ours win', async () => {
    await ask(fleet.model(), { request: { unknown: { cache_salt: 'theirs', priority: -5, top_k: 3 } } });
    expect(w1.served[0]?.body).toMatchObject({ priority: 0, top_k: 3 });
    expect(w1.served[0]?.body['cache_salt']).not.toBe('theirs');
  });

  test.each([
    // As vLLM says of a schema that refers to what isn't there.
    'Failed to transform json schema into a grammar: Cannot find field cache_salt in #/$defs/cache_salt',
    "Failed to transform json schema into a grammar: Cannot find field Parameter 'cache_salt' is not supported in #/",
    'Failed to transform json schema into a grammar: Cannot find field priority in #/$defs/priority',
    'Failed to transform json schema into a grammar: Got priority 1 but Priority scheduling is not enabled.',
  ])('goes with its salt and its priority, whatever is quoted of another: %s', async (message) => {
    w1.behave(({ response_format }) => (response_format === undefined ? {} : { status: 400, message }));
    const schema = { $ref: '#/$defs/cache_salt' };
    const model = fleet.model('batch');
    const refused = await ask(model, { request: { format: { type: 'jsonSchema', name: 'n', schema, strict: true } } });
    expect(refused.error).toMatchObject({ code: 'upstream_rejected', message });
    expect((await ask(model, { request: { tenant: 'other' } })).text).toBe(WHOLE);
    expect(w1.served).toHaveLength(2);
    for (const { body } of w1.served) expect(body).toMatchObject({ priority: 1, cache_salt: expect.any(String) });
  });

  test.each([
    "Parameter 'cache_salt' is not supported with this instance of vLLM, which uses engine V0.",
    `[{'type': 'value_error', 'loc': ('body',), 'msg': "Value error, Parameter 'cache_salt' is not supported with this instance of vLLM, which uses engine V0.", 'input': {'model': 'm'}}]`,
  ])('is not made without its salt, and the log says why: %s', async (message) => {
    for (const worker of fleet.workers) {
      worker.behave(({ cache_salt }) => (cache_salt === undefined ? {} : { status: 400, message }));
    }
    const telemetry = recordTelemetry();
    const model = createGpuModel(TARGET, fleet.options);
    for (let round = 0; round < 2; round += 1) {
      expect((await ask(model, { telemetry })).error).toMatchObject({
        code: 'upstream_misconfigured',
        recovery: 'nextTarget',
      });
    }
    expect(asked()).toEqual([2, 2, 2]);
    const warnings = telemetry.lines.filter(({ level }) => level === 'warn');
    expect(warnings).toHaveLength(3);
    expect(warnings[0]).toMatchObject({ level: 'warn', fleet: FLEET, url: w1.url, field: 'cache_salt' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('is the caller’s to mend where a field was theirs that the engine refuses', async () => {
    const message = "Parameter 'cache_salt' is not supported";
    w1.behave(({ cache_salt }) => (cache_salt === undefined ? {} : { status: 400, message }));
    const model = fleet.model('interactive', { engine: 'other' });
    const { error } = await ask(model, { request: { unknown: { cache_salt: 'theirs' } } });
    expect(error).toMatchObject({ code: 'upstream_rejected', message });
  });

  test('does without a field that the engine refuses, and remembers it', async () => {
    w1.behave(({ priority }) =>
      priority === undefined ? {} : { status: 400, message: 'Got priority 1 but Priority scheduling is not enabled.' },
    );
    const model = fleet.model('batch');
    expect((await ask(model)).text).toBe(WHOLE);
    expect((await ask(model)).text).toBe(WHOLE);
    expect(w1.served.map(({ body }) => body['priority'])).toEqual([1, undefined, undefined]);
    expect(w1.served[2]?.body).toHaveProperty('cache_salt');
  });

  test('goes on with a field that it was refused without as well', async () => {
    w1.behave(({ priority }) => ({
      status: 400,
      message:
        priority === undefined ? 'top_p must be in (0, 1]' : 'Got priority 1 but Priority scheduling is not enabled.',
    }));
    const model = fleet.model('batch');
    expect((await ask(model)).error).toMatchObject({ code: 'upstream_rejected' });
    w1.behave({});
    expect((await ask(model)).text).toBe(WHOLE);
    expect(w1.served.map(({ body }) => body['priority'])).toEqual([1, undefined, 1]);
  });
});

describe('a worker that fails before its first token', () => {
  test.each([true, false])(
    'and refuses connections is suspect, and another answers (streamed: %s)',
    async (streamed) => {
      await w1.kill();
      expect((await ask(fleet.model(), { streamed })).text).toBe(WHOLE);
      expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
      expect(asked()).toEqual([0, 1, 0]);
    },
  );

  test('and is gone with its machine, so that nobody refuses, is suspect within seconds, and another answers', async () => {
    using silent = await startSilentAddress();
    await fleet.register('w1', { url: silent.url });
    const startedAt = performance.now();
    expect((await ask(fleet.model('interactive', { stallMs: 20_000 }))).text).toBe(WHOLE);
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  test('and breaks the connection is suspect, and another answers', async () => {
    w1.behave({ cutAfter: 0 });
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  test('and hangs is suspect after a while, and another answers', async () => {
    w1.behave({ hangAfter: 0 });
    const startedAt = performance.now();
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    expect(performance.now() - startedAt).toBeGreaterThan(STALL_MS * 0.9);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  test('and loads its model is suspect, and another answers', async () => {
    w1.behave({ status: 503, message: 'Loading model' });
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
  });

  test.each([429, 404])('and answers %i is well, and another answers', async (status) => {
    w1.behave({ status });
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test.each([true, false])(
    'and answers 500 is suspect as soon as another has answered the same (streamed: %s)',
    async (streamed) => {
      w1.behave({ status: 500 });
      expect((await ask(fleet.model(), { streamed })).text).toBe(WHOLE);
      expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
    },
  );

  test('and answers 500 is well when all others do as much', async () => {
    for (const worker of fleet.workers) worker.behave({ status: 500 });
    expect((await ask(fleet.model())).error).toMatchObject({ code: 'upstream_unavailable' });
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('and has a long prompt to compute is waited for longer', async () => {
    w1.behave({ tokens: 1, tokenMs: 2 * STALL_MS });
    const content = [{ type: 'text' as const, text: 'word '.repeat(8_000) }];
    expect((await ask(fleet.model(), { request: { messages: [{ role: 'user', content }] } })).text).toBe('t0 ');
    expect(asked()).toEqual([1, 0, 0]);
  });

  test('and is given up by the router, which waits no longer for a first token, is suspect when that happens again', async () => {
    w1.behave({ hangAfter: 0 });
    const gpu = fleet.model();
    const router = createRouter({
      registry: createTestRegistry({ firstTokenTimeoutMs: 2_000 }),
      createModel: async () => gpu,
      getCapabilities: () => new Set(CAPABILITIES),
    });
    // It may take its time over a prompt that is so long, and others before it.
    const content = [{ type: 'text' as const, text: 'word '.repeat(12_000) }];
    const request = makeRequest({ messages: [{ role: 'user', content }] });
    const give = () => {
      const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: true };
      return expect(router.generate(request, call)).rejects.toMatchObject({ code: 'upstream_timeout' });
    };
    await fleet.table.deregister(FLEET, 'w2');
    await fleet.table.deregister(FLEET, 'w3');
    await give();
    expect(await fleet.states()).toEqual(['ready']);
    await give();
    expect(asked()).toEqual([2, 0, 0]);
    expect(await fleet.states()).toEqual(['suspect']);
  }, 20_000);

  test.each([true, false])(
    'and holds a tool call back until it understands it is waited for, once it has said whose turn it is (streamed: %s)',
    async (streamed) => {
      w1.behave({ role: true, tokens: 1, tokenMs: 1_500 });
      const model = fleet.model('interactive', { stallMs: 1_000 });
      const tools = [{ name: 'look', parameters: {}, strict: false }];
      expect((await ask(model, { streamed, request: { tools } })).text).toBe('t0 ');
      expect(asked()).toEqual([1, 0, 0]);
    },
    20_000,
  );

  test('as a second one did is not suspect: it is the request that does it', async () => {
    for (const worker of fleet.workers) worker.behave({ hangAfter: 0 });
    const { error } = await ask(fleet.model());
    expect(error).toMatchObject({ code: 'upstream_timeout', recovery: 'nextTarget' });
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
    expect(asked()).toEqual([1, 1, 1]);
  });

  test('is no reason to try them all', async () => {
    await using larger = await startGpuFleet(tables, 5);
    for (const worker of larger.workers) worker.behave({ status: 500 });
    expect((await ask(larger.model())).error).toMatchObject({ code: 'upstream_unavailable', recovery: 'nextTarget' });
    expect(larger.workers.map(({ served }) => served.length)).toEqual([1, 1, 1, 0, 0]);
  });

  test('and is the only one says itself why', async () => {
    for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
    w1.behave({ status: 500 });
    const startedAt = performance.now();
    expect((await ask(fleet.model())).error).toMatchObject({ code: 'upstream_unavailable', recovery: 'nextTarget' });
    expect(asked()).toEqual([1, 0, 0]);
    // A slot of another is not waited for: there is none.
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });

  test.each([
    ['at once', 'a new', 1],
    ['at once', 'a kept', 1],
    ['after a while', 'a kept', 1_200],
  ])(
    'by dying %s of what it was asked on %s connection, the only one, is not taken for one that was away',
    async (_, connection, tokenMs) => {
      for (const id of ['w2', 'w3']) await fleet.table.deregister(FLEET, id);
      const model = fleet.model('interactive', { stallMs: 5_000 });
      if (connection === 'a kept') await ask(model);
      const before = asked()[0] ?? 0;
      w1.behave({ resets: true, tokenMs });
      expect((await ask(model)).error).toMatchObject({ code: 'upstream_cut', recovery: 'nextTarget' });
      expect((asked()[0] ?? 0) - before).toBe(connection === 'a kept' && tokenMs < 1_000 ? 2 : 1);
      expect(await fleet.states()).toEqual(['suspect']);
    },
  );

  test('by dying as another did is most likely the request’s doing, and alone is not', async () => {
    for (const worker of [w1, w2]) worker.behave({ resets: true });
    await w3.kill();
    expect((await ask(fleet.model())).error).toMatchObject({ code: 'upstream_cut', recovery: 'nextTarget' });
    for (const id of ['w1', 'w2', 'w3']) await fleet.register(id, { bootId: 'boot-2' });
    await w2.kill();
    expect((await ask(fleet.model())).error).toMatchObject({ code: 'upstream_unavailable', recovery: 'nextTarget' });
  });

  test('by refusing what it was asked has the last word', async () => {
    w1.behave({ status: 400, message: 'temperature must be below 2' });
    expect((await ask(fleet.model())).error).toMatchObject({ code: 'upstream_rejected', recovery: 'fail' });
    expect(asked()).toEqual([1, 0, 0]);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });
});

describe('a worker that fails in the middle', () => {
  test.each([
    ['is killed', { tokens: 100, tokenMs: 20 }, async () => w1.kill()],
    ['breaks the connection', { cutAfter: 2 }, async () => {}],
    ['hangs', { hangAfter: 2 }, async () => {}],
  ])('and %s cuts a stream, and is suspect', async (_name, conduct, harm) => {
    w1.behave(conduct);
    const { text, error } = await ask(fleet.model(), { onEvent: (_event, index) => index === 1 && harm() });
    expect(text).toMatch(/^t0 /);
    expect(error).toMatchObject({ code: 'upstream_cut' });
    expect(await fleet.states()).toEqual(['suspect', 'ready', 'ready']);
    expect(asked()).toEqual([1, 0, 0]);
  });

  test('costs who waits for a whole answer nothing but time', async () => {
    w1.behave({ cutAfter: 2 });
    expect(await ask(fleet.model(), { streamed: false })).toEqual({ text: WHOLE });
    expect(asked()).toEqual([1, 1, 0]);
  });

  test('stays alone: the next call goes to another at once', async () => {
    w1.behave({ cutAfter: 2 });
    await ask(fleet.model());
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    expect(asked()).toEqual([1, 1, 0]);
  });
});

test('a worker may fall silent in the middle of a tool call, which engines hold back until they understand it', async () => {
  w1.behave({ role: true, tokens: 2, tokenMs: 1_500 });
  const tools = [{ name: 'look', parameters: {}, strict: false }];
  const model = fleet.model('interactive', { stallMs: 1_000 });
  expect((await ask(model, { request: { tools } })).text).toBe('t0 t1 ');
  expect(asked()).toEqual([1, 0, 0]);
}, 20_000);

describe('a worker that starts anew at the same address', () => {
  test('between two calls is asked as before: a closed connection that was kept says nothing of it', async () => {
    const model = fleet.model();
    await ask(model);
    await w1.kill();
    await w1.restart();
    expect((await ask(model)).text).toBe(WHOLE);
    expect(asked()).toEqual([2, 0, 0]);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('ends the calls that it had before: their leases are lost', async () => {
    w1.behave({ tokens: 1_000, tokenMs: 10 });
    const startedAt = performance.now();
    const { error } = await ask(fleet.model(), {
      onEvent: async (_event, index) => index === 2 && (await fleet.register('w1', { bootId: 'boot-2' })),
    });
    expect(error).toMatchObject({ code: 'upstream_cut' });
    expect(performance.now() - startedAt).toBeLessThan(STALL_MS + 3 * HEARTBEAT_MS);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('before its first token lets another answer', async () => {
    w1.behave({ tokens: 1, tokenMs: 5_000 });
    const asking = ask(fleet.model('interactive', { stallMs: 10_000 }));
    await vi.waitUntil(() => w1.served.length === 1, { timeout: 4_000, interval: 10 });
    await fleet.table.deregister(FLEET, 'w1');
    expect((await asking).text).toBe(WHOLE);
    expect(asked()).toEqual([1, 1, 0]);
  });
});

describe('a worker that drains', () => {
  test('ends what it has, and gets nothing new', async () => {
    w1.behave({ tokens: 20, tokenMs: 10 });
    const model = fleet.model();
    const running = ask(model);
    while (asked()[0] === 0) await sleep(5);
    await fleet.table.setState(FLEET, 'w1', 'boot-1', { state: 'draining', reason: 'spot', at: Date.now() });
    expect((await ask(model)).text).toBe(WHOLE);
    expect((await running).text).toContain('t19');
    expect(asked()).toEqual([1, 1, 0]);
  });

  test('and dies goes on to drain', async () => {
    w1.behave({ tokens: 100, tokenMs: 10 });
    const running = ask(fleet.model());
    await sleep(50);
    await fleet.table.setState(FLEET, 'w1', 'boot-1', { state: 'draining', reason: 'spot', at: Date.now() });
    await w1.kill();
    expect((await running).error).toMatchObject({ code: 'upstream_cut' });
    expect(await fleet.states()).toEqual(['draining', 'ready', 'ready']);
  });
});

test('a slow worker is let be, and others are preferred while it works', async () => {
  w1.behave({ tokens: 5, tokenMs: STALL_MS * 0.6 });
  const model = fleet.model();
  const slow = ask(model);
  await sleep(30);
  for (let count = 0; count < 4; count += 1) await ask(model, { request: { conversationKey: String(count) } });
  expect(asked()[0]).toBe(1);
  expect((await slow).text).toBe('t0 t1 t2 t3 t4 ');
  expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
});

describe('an abort', () => {
  test.each([
    ['a cancel', new LambentError('overloaded', 'cancelled')],
    ['a deadline', new LambentError('deadline_exceeded', 'too late')],
  ])('by %s closes the connection at once, and gives the slot back', async (_name, reason) => {
    w1.behave({ tokens: 1_000, tokenMs: 5 });
    const abort = new AbortController();
    let abortedAt = Number.POSITIVE_INFINITY;
    const { error } = await ask(fleet.model(), {
      signal: abort.signal,
      onEvent: (_event, index) => {
        if (index !== 5) return;
        abortedAt = performance.now();
        abort.abort(reason);
      },
    });
    expect(error).toBe(reason);
    await sleep(100);
    expect(w1.tokensAfter(abortedAt + 50)).toBe(0);
    expect(await fleet.states()).toEqual(['ready', 'ready', 'ready']);
  });

  test('before the first token does too', async () => {
    w1.behave({ tokens: 1_000, tokenMs: 5_000 });
    const abort = new AbortController();
    const asking = ask(fleet.model('interactive', { stallMs: 10_000 }), { signal: abort.signal });
    await vi.waitUntil(() => w1.served.length === 1, { timeout: 4_000, interval: 10 });
    abort.abort(new LambentError('deadline_exceeded', 'too late'));
    expect((await asking).error).toMatchObject({ code: 'deadline_exceeded' });
    await sleep(200);
    expect(w1.tokensAfter(0)).toBe(0);
    expect(asked()).toEqual([1, 0, 0]);
  });

  test('while a slot is waited for ends the wait', async () => {
    for (const id of ['w1', 'w2', 'w3']) await fleet.table.deregister(FLEET, id);
    const abort = new AbortController();
    setTimeout(() => abort.abort(new LambentError('deadline_exceeded', 'too late')), 30);
    const startedAt = performance.now();
    expect((await ask(fleet.model(), { signal: abort.signal })).error).toMatchObject({ code: 'deadline_exceeded' });
    expect(performance.now() - startedAt).toBeLessThan(120);
  });

  test('by a reader who leaves closes the connection and gives the slot back', async () => {
    w1.behave({ tokens: 1_000, tokenMs: 5 });
    await expect(
      (async () => {
        const { error } = await ask(fleet.model(), {
          onEvent: (_event, index) => {
            if (index === 3) throw new Error('gone');
          },
        });
        throw error;
      })(),
    ).rejects.toThrow('gone');
    await sleep(50);
    const before = w1.tokensAfter(0);
    await sleep(50);
    expect(w1.tokensAfter(0)).toBe(before);
  });
});

describe('when all slots are taken', () => {
  const take = (id: string, count: number, expiresInMs: number) =>
    Promise.all(
      Array.from({ length: count }, (_, index) =>
        fleet.table.lease(
          FLEET,
          id,
          aLeaseRequest({
            id: `${id}-${index}`,
            lease: aLease({ expiresAt: Date.now() + expiresInMs }),
            now: Date.now(),
          }),
        ),
      ),
    );
  const takeAll = async (count: number, expiresInMs = 60_000) => {
    for (const id of ['w1', 'w2', 'w3']) await take(id, count, expiresInMs);
  };
  const freeAll = async () => {
    for (const [id, { leases = {} } = {}] of await Promise.all(
      ['w1', 'w2', 'w3'].map(async (id) => [id, await fleet.worker(id)] as const),
    )) {
      for (const lease of Object.keys(leases)) await fleet.table.release(FLEET, id, lease);
    }
  };

  test('a call is refused after a while, with the time after which to come again', async () => {
    await takeAll(4);
    const { error } = await ask(fleet.model());
    expect(error).toMatchObject({ code: 'overloaded', recovery: 'nextTarget', retryAfterMs: expect.any(Number) });
    await freeAll();
  });

  test('batch work leaves the reserve, which interactive work uses', async () => {
    await takeAll(3);
    expect((await ask(fleet.model('batch'))).error).toMatchObject({ code: 'overloaded' });
    expect((await ask(fleet.model('interactive'))).text).toBe(WHOLE);
    await freeAll();
  });

  test('a call gets the first that comes free', async () => {
    await takeAll(4);
    const asking = ask(fleet.model());
    await sleep(50);
    await fleet.table.release(FLEET, 'w2', 'w2-0');
    expect((await asking).text).toBe(WHOLE);
    expect(asked()).toEqual([0, 1, 0]);
    await freeAll();
  });

  test('those of the dead come back when their leases have run out', async () => {
    await takeAll(4, 80);
    expect((await ask(fleet.model())).text).toBe(WHOLE);
    await freeAll();
  });
});

test('a table that can not be reached is an outage, not a fault of the request', async () => {
  const { slots } = fleet.options;
  const broken = { ...slots, acquire: () => Promise.reject(new Error('ECONNREFUSED')) };
  const model = createGpuModel(TARGET, { ...fleet.options, slots: broken });
  expect((await ask(model)).error).toMatchObject({ code: 'upstream_unavailable' });
  expect(w3.served).toEqual([]);
  expect(w2.served).toEqual([]);
});
