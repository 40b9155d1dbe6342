import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type ErrorCode, LambentError } from '../../../shared/core/errors.ts';
import { createTelemetry } from '../../../shared/core/telemetry.ts';
import { CAPABILITIES, type Capability } from '../../../shared/inference/capabilities.ts';
import type { GenerationEvent } from '../../../shared/inference/generation.ts';
import { type Model, type ModelCall, type Recovery, UpstreamError } from '../../../shared/inference/model.ts';
import { type ModelRegistry, parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter, type GenerateOptions, type Router } from '../../../shared/inference/router.ts';
import { collect, makeAnswer, makeRequest } from './requests.ts';

type Behavior = (call: ModelCall) => AsyncIterable<GenerationEvent>;

/** A model whose calls behave as listed, one after another. The last behavior repeats. */
class ScriptedModel implements Model {
  calls = 0;
  readonly #behaviors: readonly Behavior[];
  constructor(...behaviors: Behavior[]) {
    this.#behaviors = behaviors;
  }
  generate(_request: unknown, call: ModelCall): AsyncIterable<GenerationEvent> {
    const behavior = this.#behaviors[Math.min(this.calls, this.#behaviors.length - 1)];
    this.calls += 1;
    if (behavior === undefined) throw new Error('The model has no behavior');
    return behavior(call);
  }
}

const answerWith = (text: string): Behavior =>
  async function* () {
    yield* makeAnswer(text);
  };
const failWith = (code: ErrorCode, recovery: Recovery, retryAfterMs?: number): Behavior =>
  // biome-ignore lint/correctness/useYield: it fails before its first event
  async function* () {
    throw new UpstreamError(code, `scripted ${code}`, {
      recovery,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  };
const stall: Behavior = async function* ({ signal }) {
  yield* await new Promise<GenerationEvent[]>((_, reject) =>
    signal.addEventListener('abort', () => reject(new Error('socket closed'))),
  );
};

function buildRegistry(
  models: Record<string, { targets: string[]; weights?: number[]; [setting: string]: unknown }>,
): ModelRegistry {
  const entries = Object.entries(models).map(([name, { targets, weights, ...settings }]) => [
    name,
    {
      ...settings,
      targets: targets.map((model, index) => ({
        provider: 'openai-compatible',
        baseUrl: 'http://127.0.0.1:1/v1',
        model,
        weight: weights?.[index] ?? 1,
      })),
    },
  ]);
  return parseModelRegistry(JSON.stringify({ models: Object.fromEntries(entries) }), 'test');
}

interface Setting {
  registry: ModelRegistry;
  models: Record<string, Model>;
  capabilities?: Record<string, Capability[]>;
  now?: () => number;
}

function buildRouter({ registry, models, capabilities = {}, now }: Setting): Router {
  return createRouter({
    registry,
    createModel: async ({ target }) => {
      const model = models[target.model];
      if (model === undefined) throw new LambentError('configuration', `no model ${target.model}`);
      return model;
    },
    getCapabilities: ({ model }) => new Set(capabilities[model] ?? CAPABILITIES),
    random: () => 0,
    ...(now === undefined ? {} : { now }),
  });
}

const makeOptions = (changes: { streamed?: boolean; deadlineInMs?: number; signal?: AbortSignal } = {}) => ({
  signal: changes.signal ?? new AbortController().signal,
  deadlineAt: Date.now() + (changes.deadlineInMs ?? 5_000),
  streamed: changes.streamed ?? true,
});

async function readText(
  router: Router,
  request = makeRequest(),
  options: GenerateOptions = makeOptions(),
): Promise<string> {
  const events = await collect((await router.generate(request, options)).events);
  return events.map((event) => (event.type === 'text' ? event.text : '')).join('');
}

describe('the router', () => {
  it('the router yields the complete answer, first event included', async () => {
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'] } }),
      models: { a: new ScriptedModel(answerWith('hi')) },
    });
    const { events } = await router.generate(makeRequest(), makeOptions());
    expect(await collect(events)).toEqual(makeAnswer('hi'));
  });

  it('an unknown model is refused with model_not_found, even if it has the name of an object member', async () => {
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: {} });
    for (const model of ['nope', 'constructor', '__proto__']) {
      await expect(router.generate(makeRequest({ model }), makeOptions())).rejects.toMatchObject({
        code: 'model_not_found',
        param: 'model',
      });
    }
  });

  it('the router retries a target that is briefly unavailable, after the pause that the target requested', async () => {
    const model = new ScriptedModel(
      failWith('rate_limit_exceeded', 'retry', 60),
      failWith('upstream_unavailable', 'retry', 1),
      answerWith('third'),
    );
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const answer = readText(router);
    await vi.advanceTimersByTimeAsync(59);
    expect(model.calls).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(model.calls).toBe(2);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await answer).toBe('third');
  });

  it('the router moves on from a target that asks for a long pause if there is another target', async () => {
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'], fallbacks: ['small'] }, small: { targets: ['b'] } }),
      models: {
        a: new ScriptedModel(failWith('rate_limit_exceeded', 'retry', 3_000)),
        b: new ScriptedModel(answerWith('small')),
      },
    });
    expect(await readText(router)).toBe('small');
  });

  it('the router fails at once with a Retry-After that is longer than a request may wait', async () => {
    const model = new ScriptedModel(failWith('rate_limit_exceeded', 'retry', 20_000));
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    const failure = readText(router, makeRequest(), makeOptions({ deadlineInMs: 290_000 }));
    await expect(failure).rejects.toMatchObject({ code: 'rate_limit_exceeded', retryAfterMs: 20_000 });
    expect(model.calls).toBe(1);
  });

  it('the router limits the sum of the pauses, at all targets of a request', async () => {
    const models = {
      a: new ScriptedModel(failWith('upstream_unavailable', 'retry', 40)),
      b: new ScriptedModel(failWith('upstream_unavailable', 'retry', 40)),
    };
    const aliases = {
      default: { targets: ['a'], fallbacks: ['other'], maxRetryWaitMs: 90 },
      other: { targets: ['b'] },
    };
    const failure = readText(buildRouter({ registry: buildRegistry(aliases), models }));
    await expect(failure).rejects.toMatchObject({ code: 'upstream_unavailable', retryAfterMs: 40 });
    expect([models.a.calls, models.b.calls]).toEqual([3, 1]);
  });

  it('the router reports the shortest Retry-After of its targets', async () => {
    const models = {
      a: new ScriptedModel(failWith('rate_limit_exceeded', 'retry', 60_000)),
      b: new ScriptedModel(failWith('upstream_unavailable', 'retry', 20_000)),
    };
    const aliases = { default: { targets: ['a'], fallbacks: ['other'] }, other: { targets: ['b'] } };
    const failure = readText(buildRouter({ registry: buildRegistry(aliases), models }));
    await expect(failure).rejects.toMatchObject({ code: 'upstream_unavailable', retryAfterMs: 20_000 });
  });

  it('the router fails with the upstream’s Retry-After if the pause would exceed the deadline', async () => {
    const model = new ScriptedModel(failWith('rate_limit_exceeded', 'retry', 60_000));
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    await expect(router.generate(makeRequest(), makeOptions())).rejects.toMatchObject({
      code: 'rate_limit_exceeded',
      retryAfterMs: 60_000,
    });
    expect(model.calls).toBe(1);
  });

  it('the router tries no other target if the request is invalid', async () => {
    const other = new ScriptedModel(answerWith('never'));
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'], fallbacks: ['small'] }, small: { targets: ['b'] } }),
      models: { a: new ScriptedModel(failWith('context_length_exceeded', 'fail')), b: other },
    });
    await expect(router.generate(makeRequest(), makeOptions())).rejects.toMatchObject({
      code: 'context_length_exceeded',
    });
    expect(other.calls).toBe(0);
  });

  it('the router retries a model timeout exactly once', async () => {
    const model = new ScriptedModel(failWith('upstream_timeout', 'retryOnce', 1));
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    await expect(router.generate(makeRequest(), makeOptions())).rejects.toMatchObject({ code: 'upstream_timeout' });
    expect(model.calls).toBe(2);
  });

  it('the router moves to the next target if the first token takes too long', async () => {
    const router = buildRouter({
      registry: buildRegistry({
        default: { targets: ['a'], firstTokenTimeoutMs: 40, fallbacks: ['small'] },
        small: { targets: ['b'] },
      }),
      models: { a: new ScriptedModel(stall), b: new ScriptedModel(answerWith('in time')) },
    });
    expect(await readText(router)).toBe('in time');
  });

  it('an answer ends at the deadline of the request, before and after its first token', async () => {
    const afterOne: Behavior = async function* (call) {
      yield { type: 'text', text: 'one' };
      yield* stall(call);
    };
    for (const behavior of [stall, afterOne]) {
      const router = buildRouter({
        registry: buildRegistry({ default: { targets: ['a'], timeoutMs: 60 } }),
        models: { a: new ScriptedModel(behavior) },
      });
      await expect(readText(router)).rejects.toMatchObject({ code: 'deadline_exceeded' });
    }
  });

  it('a cancelled request fails with the reason of the cancellation', async () => {
    const cancel = new AbortController();
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'] } }),
      models: { a: new ScriptedModel(stall) },
    });
    const answer = readText(router, makeRequest(), makeOptions({ signal: cancel.signal }));
    await sleep(10);
    cancel.abort(new LambentError('internal', 'cancelled by test'));
    await expect(answer).rejects.toThrow('cancelled by test');
  });

  it("the router doesn't retry after the first token: a truncated stream fails with upstream_cut", async () => {
    const cutShort: Behavior = async function* () {
      yield { type: 'text', text: 'half' };
    };
    const model = new ScriptedModel(cutShort);
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    await expect(readText(router)).rejects.toMatchObject({ code: 'upstream_cut' });
    expect(model.calls).toBe(1);
  });

  it('the upstream is closed when the reader stops early', async () => {
    let closed = false;
    const endless: Behavior = async function* () {
      try {
        for (;;) yield { type: 'text', text: 'more' };
      } finally {
        closed = true;
      }
    };
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'] } }),
      models: { a: new ScriptedModel(endless) },
    });
    for await (const _ of (await router.generate(makeRequest(), makeOptions())).events) break;
    expect(closed).toBe(true);
  });

  it('no circuit breaker opens for a model that manages its own health, however often it fails', async () => {
    const model = Object.assign(
      new ScriptedModel(...Array(7).fill(failWith('upstream_unavailable', 'nextTarget')), answerWith('well')),
      {
        managesOwnHealth: true,
      },
    );
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    for (let call = 1; call <= 7; call += 1) {
      await expect(readText(router)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    }
    expect(await readText(router)).toBe('well');
  });

  it('no circuit breaker opens for a model that manages its own health if its answers are truncated', async () => {
    const cuts: Behavior = async function* () {
      yield { type: 'text', text: 'half' };
      throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
    };
    const model = Object.assign(new ScriptedModel(...Array(7).fill(cuts), answerWith('well')), {
      managesOwnHealth: true,
    });
    const router = buildRouter({ registry: buildRegistry({ default: { targets: ['a'] } }), models: { a: model } });
    for (let call = 1; call <= 7; call += 1)
      await expect(readText(router)).rejects.toMatchObject({ code: 'upstream_cut' });
    expect(await readText(router)).toBe('well');
  });

  it('an overloaded target is not retried, and its Retry-After is passed on if it is the last target', async () => {
    const full = new ScriptedModel(failWith('overloaded', 'nextTarget', 5_000));
    const registry = buildRegistry({
      default: { targets: ['full'], fallbacks: ['hosted'] },
      hosted: { targets: ['b'] },
    });
    const models = { full, b: new ScriptedModel(answerWith('hosted')) };
    expect(await readText(buildRouter({ registry, models }))).toBe('hosted');
    expect(full.calls).toBe(1);
    const alone = buildRouter({ registry: buildRegistry({ default: { targets: ['full'] } }), models: { full } });
    await expect(readText(alone)).rejects.toMatchObject({ code: 'overloaded', retryAfterMs: 5_000 });
    expect(full.calls).toBe(2);
  });

  it('the circuit breaker opens after five failures in a row, and closes after a success', async () => {
    let now = 1_000_000;
    const down = failWith('upstream_unavailable', 'nextTarget');
    const model = new ScriptedModel(down, down, down, down, down, answerWith('back'));
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'] } }),
      models: { a: model },
      now: () => now,
    });
    const options = () => ({ ...makeOptions(), deadlineAt: now + 60_000 });
    for (let call = 0; call < 5; call += 1)
      await expect(router.generate(makeRequest(), options())).rejects.toMatchObject({ code: 'upstream_unavailable' });
    await expect(router.generate(makeRequest(), options())).rejects.toMatchObject({
      code: 'overloaded',
      retryAfterMs: 10_000,
    });
    expect(model.calls).toBe(5);
    now += 10_001;
    expect(await readText(router, makeRequest(), options())).toBe('back');
    expect(await readText(router, makeRequest(), options())).toBe('back');
  });

  /** A router of one target that is down for the tenants `bad`, and a function that sends a tenant's requests. */
  function createTenantsRouter(bad: Set<string>) {
    const clock = { now: 1_000_000 };
    const model: Model = {
      generate({ tenant }, call) {
        const behavior = bad.has(tenant) ? failWith('upstream_unavailable', 'nextTarget') : answerWith('fine');
        return behavior(call);
      },
    };
    const registry = buildRegistry({ default: { targets: ['a'] } });
    const router = buildRouter({ registry, models: { a: model }, now: () => clock.now });
    /** Returns the answer, or the code of the error. */
    const ask = (tenant: string): Promise<string> =>
      readText(router, makeRequest({ tenant }), { ...makeOptions(), deadlineAt: clock.now + 60_000 }).catch(
        (thrown: unknown) => (thrown instanceof LambentError ? thrown.code : String(thrown)),
      );
    const askTimes = async (count: number, tenant: string) => {
      for (let call = 0; call < count; call += 1) await ask(tenant);
    };
    /** Returns the milliseconds after which a refused request may be repeated. */
    const getRetryAfterMs = (tenant: string): Promise<unknown> =>
      readText(router, makeRequest({ tenant })).catch(({ retryAfterMs }: LambentError) => retryAfterMs);
    return { clock, ask, askTimes, getRetryAfterMs };
  }

  it('the circuit breaker opens only for the tenant whose requests fail', async () => {
    const { ask, askTimes, clock } = createTenantsRouter(new Set(['bad']));
    await askTimes(5, 'bad');
    expect(await ask('bad')).toBe('overloaded');
    expect(await ask('good')).toBe('fine');
    // Another tenant's success leaves the circuit of the failing tenant as it is.
    expect(await ask('bad')).toBe('overloaded');
    clock.now += 10_001;
    expect(await ask('bad')).toBe('upstream_unavailable');
    expect(await ask('bad')).toBe('overloaded');
    expect(await ask('good')).toBe('fine');
  });

  it('the circuit breaker opens for all tenants if requests of two tenants fail', async () => {
    const bad = new Set(['bad', 'worse']);
    const { ask, askTimes, clock } = createTenantsRouter(bad);
    await askTimes(4, 'bad');
    expect(await ask('worse')).toBe('upstream_unavailable');
    expect(await ask('good')).toBe('overloaded');
    // After its time, one call decides for all tenants.
    clock.now += 10_001;
    expect(await ask('bad')).toBe('upstream_unavailable');
    expect(await ask('good')).toBe('overloaded');
    clock.now += 20_001;
    bad.clear();
    expect(await ask('worse')).toBe('fine');
    expect(await ask('good')).toBe('fine');
  });

  it('a tenant cannot keep the circuit breaker open for all tenants by failing whenever it allows a call', async () => {
    const { ask, askTimes, clock } = createTenantsRouter(new Set(['unlucky', 'bad']));
    await ask('unlucky');
    await askTimes(4, 'bad');
    expect(await ask('good')).toBe('overloaded');
    clock.now += 120_001;
    expect(await ask('bad')).toBe('upstream_unavailable');
    expect(await ask('good')).toBe('fine');
  });

  it('failures of concurrent calls open the circuit breaker once, for its first time', async () => {
    const { ask, getRetryAfterMs } = createTenantsRouter(new Set(['bad', 'worse']));
    await Promise.all(Array.from({ length: 32 }, (_, call) => ask(call % 2 === 0 ? 'bad' : 'worse')));
    expect(await getRetryAfterMs('good')).toBe(10_000);
  });

  it('the failures of one tenant do not count for all tenants if another’s requests succeed in between', async () => {
    const { ask, askTimes } = createTenantsRouter(new Set(['bad', 'worse']));
    await askTimes(4, 'bad');
    expect(await ask('good')).toBe('fine');
    await askTimes(4, 'worse');
    expect(await ask('good')).toBe('fine');
  });

  it.each([
    { reasons: true, last: 'upstream_timeout' },
    { reasons: false, last: 'overloaded' },
  ])('late first tokens open the circuit breaker unless the model reasons ($reasons)', async ({ reasons, last }) => {
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'], firstTokenTimeoutMs: 1 } }),
      models: { a: new ScriptedModel(stall) },
      capabilities: { a: reasons ? ['reasoning'] : [] },
    });
    const codes: unknown[] = [];
    for (let call = 0; call < 6; call += 1) {
      await router.generate(makeRequest(), makeOptions()).catch(({ code }: LambentError) => codes.push(code));
    }
    expect(codes).toEqual([...Array(5).fill('upstream_timeout'), last]);
  });

  it.each(['unsupported_value', 'invalid_value'] as const)(
    'requests that a target does not support (%s) go to the fallback, and open no circuit breaker',
    async (code) => {
      const picky = new ScriptedModel(failWith(code, 'nextTarget'));
      const router = buildRouter({
        registry: buildRegistry({ default: { targets: ['picky'], fallbacks: ['small'] }, small: { targets: ['b'] } }),
        models: { picky, b: new ScriptedModel(answerWith('fallback')) },
      });
      for (let call = 0; call < 7; call += 1) expect(await readText(router)).toBe('fallback');
      expect(picky.calls).toBe(7);
    },
  );

  it('the first-token timeout does not apply to an answer that the target cannot stream', async () => {
    const late: Behavior = async function* ({ signal }) {
      await sleep(60, undefined, { signal });
      yield* makeAnswer('whole');
    };
    const whole = Object.assign(new ScriptedModel(late), { answersAtOnce: () => true });
    const registry = buildRegistry({ default: { targets: ['whole'], firstTokenTimeoutMs: 20 } });
    expect(await readText(buildRouter({ registry, models: { whole } }))).toBe('whole');
    const streaming = new ScriptedModel(late);
    await expect(readText(buildRouter({ registry, models: { whole: streaming } }))).rejects.toMatchObject({
      code: 'upstream_timeout',
    });
  });

  it('a request goes only to targets with the required capabilities, or its error names the parameter', async () => {
    const settings = {
      registry: buildRegistry({ default: { targets: ['plain', 'biased'] } }),
      models: { plain: new ScriptedModel(answerWith('plain')), biased: new ScriptedModel(answerWith('biased')) },
      capabilities: { plain: ['stop'], biased: ['logitBias'] } satisfies Record<string, Capability[]>,
    };
    const router = buildRouter(settings);
    expect(await readText(router, makeRequest({ logitBias: { 7: 1 } }))).toBe('biased');
    expect(await readText(router, makeRequest({ stop: ['x'] }))).toBe('plain');
    await expect(
      router.generate(makeRequest({ topLogprobs: 2, parameterNames: { topLogprobs: 'logprobs' } }), makeOptions()),
    ).rejects.toMatchObject({
      code: 'unsupported_parameter',
      param: 'logprobs',
    });
  });

  it("a fallback is skipped if it refuses the output limit or doesn't pass on unknown fields", async () => {
    const router = buildRouter({
      registry: buildRegistry({
        default: { targets: ['a'], maxOutputTokens: 4_000, passUnknown: true, fallbacks: ['small'] },
        small: { targets: ['b'], maxOutputTokens: 1_000, outputLimit: 'refuse' },
      }),
      models: {
        a: new ScriptedModel(failWith('upstream_unavailable', 'nextTarget')),
        b: new ScriptedModel(answerWith('small')),
      },
    });
    for (const request of [makeRequest({ maxOutputTokens: 2_000 }), makeRequest({ unknown: { top_k: 4 } })]) {
      await expect(router.generate(request, makeOptions())).rejects.toMatchObject({ code: 'upstream_unavailable' });
    }
    expect(await readText(router, makeRequest({ maxOutputTokens: 500 }))).toBe('small');
  });

  it('the router reports a retryable failure rather than a misconfiguration', async () => {
    const router = buildRouter({
      registry: buildRegistry({ default: { targets: ['a'], fallbacks: ['small'] }, small: { targets: ['missing'] } }),
      models: { a: new ScriptedModel(failWith('rate_limit_exceeded', 'retry', 10_000)) },
    });
    await expect(router.generate(makeRequest(), makeOptions())).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  });

  it('a target that only an operator can repair is logged and counted while its fallback answers', async () => {
    const router = buildRouter({
      registry: buildRegistry({
        default: { targets: ['denied'], fallbacks: ['keyless', 'small'] },
        keyless: { targets: ['missing'] },
        small: { targets: ['throttled', 'b'], weights: [1, 1e-9] },
      }),
      models: {
        denied: new ScriptedModel(failWith('upstream_misconfigured', 'nextTarget')),
        throttled: new ScriptedModel(failWith('insufficient_quota', 'nextTarget')),
        b: new ScriptedModel(answerWith('from the fallback')),
      },
    });
    const written: string[] = [];
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((line) => written.push(String(line)) > 0);
    onTestFinished(() => write.mockRestore());
    const telemetry = createTelemetry({ AWS_LAMBDA_FUNCTION_NAME: 'lambent-dev-chat', LOG_LEVEL: 'info' }).forRequest(
      {},
    );
    expect(await readText(router, makeRequest(), { ...makeOptions(), telemetry })).toBe('from the fallback');
    telemetry.metrics.flush();
    const lines = written.map((line) => JSON.parse(line));
    expect(lines.filter(({ level }) => level === 'ERROR' || level === 'error')).toMatchObject([
      { message: 'target not usable', model: 'default', upstreamModel: 'denied', code: 'upstream_misconfigured' },
      { message: 'target not usable', model: 'keyless', upstreamModel: 'missing', code: 'configuration' },
    ]);
    expect(lines.filter(({ message }) => message === 'attempt failed')).toMatchObject([{ upstreamModel: 'throttled' }]);
    const counted = lines.filter(({ TargetsUnusable }) => TargetsUnusable !== undefined);
    expect(counted).toMatchObject([{ TargetsUnusable: 1, Stage: 'lambent-dev' }, { TargetsUnusable: 1 }]);
    expect(written.join('')).not.toContain('scripted');
    written.length = 0;
    telemetry.logger.summarize('request', {});
    expect(JSON.parse(written[0] ?? '')).toMatchObject({ upstreamModel: 'b', sentTo: 'openai-compatible:127.0.0.1:1' });
  });

  it("fallbacks that refer to each other don't loop", async () => {
    const down = () => new ScriptedModel(failWith('upstream_unavailable', 'nextTarget'));
    const router = buildRouter({
      registry: buildRegistry({
        default: { targets: ['a'], fallbacks: ['other'] },
        other: { targets: ['b'], fallbacks: ['default'] },
      }),
      models: { a: down(), b: down() },
    });
    await expect(router.generate(makeRequest(), makeOptions())).rejects.toMatchObject({ code: 'upstream_unavailable' });
  });
});

describe('the weighted choice of a target', () => {
  const registry = buildRegistry({ default: { targets: ['heavy', 'light', 'resting'], weights: [9, 1, 0] } });
  const names = ['heavy', 'light', 'resting'];
  const models = Object.fromEntries(names.map((name) => [name, new ScriptedModel(answerWith(name))]));

  it('a conversation gets the same target in every environment', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), async (conversationKey) => {
        const [one, other] = [buildRouter({ registry, models }), buildRouter({ registry, models })];
        expect(await readText(one, makeRequest({ conversationKey }))).toBe(
          await readText(other, makeRequest({ conversationKey })),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('many conversations are distributed by weight, and a target with weight 0 gets none', async () => {
    const router = buildRouter({ registry, models });
    const counts: Record<string, number> = {};
    for (let index = 0; index < 2_000; index += 1) {
      const text = await readText(router, makeRequest({ conversationKey: `conversation ${index}` }));
      counts[text] = (counts[text] ?? 0) + 1;
    }
    // 2,000 draws at 0.1: four standard deviations are ±54.
    expect(counts['light']).toBeGreaterThan(146);
    expect(counts['light']).toBeLessThan(254);
    expect(counts['resting']).toBeUndefined();
  });
});
