import { beforeEach, describe, expect, it } from 'vitest';
import { LIMIT_PRESETS, type Limits } from '../../../shared/access/limit-policy.ts';
import type { Policy } from '../../../shared/access/policy.ts';
import {
  createGovernedRouter,
  type GovernedOptions,
  type GovernedRouter,
} from '../../../shared/api/governed-router.ts';
import { LimitsStage } from '../../../shared/api/limits-stage.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import type { Capability } from '../../../shared/inference/capabilities.ts';
import { createEmbed } from '../../../shared/inference/embedding.ts';
import type { GenerationEvent, GenerationRequest, Usage } from '../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { mapCategories } from '../../../shared/inference/moderation.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import { Stopped } from '../../../shared/jobs/lease.ts';
import { listCaps } from '../../../shared/limits/caps.ts';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { boundRequest } from '../../../shared/limits/estimate.ts';
import { encodeErrorBody } from '../../../shared/openai/errors.ts';
import { errorHeadersFor, httpStatusFor, publicMessageFor } from '../../../shared/wire/error-responses.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { collect, makeRequest } from '../inference/requests.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';

const NOW = Date.UTC(2026, 10, 30, 12, 0, 30);
const PRICE = { inputPerMillion: 1, outputPerMillion: 10 };
const USAGE: Usage = { inputTokens: 20, cachedInputTokens: 0, outputTokens: 30, reasoningTokens: 0 };

const FLAGGED = {
  ...{ flagged: true, categories: mapCategories(() => true) },
  ...{ scores: mapCategories(() => 1), inputTypes: mapCategories(() => []) },
};
const FLAGGING_MODERATOR = {
  ...{ name: 'moderator', destination: { provider: 'bedrock', model: 'abc123' }, onFailure: 'refuse' as const },
  load: async () => ({ moderate: async (inputs: readonly unknown[]) => inputs.map(() => FLAGGED) }),
};

let store: MemoryCounters;
let now: number;
let sent: GenerationRequest[];
let answer: () => AsyncIterable<GenerationEvent>;
/** Models of targets that fail, those of which single attempts fail, and those that were called. */
let failing: string[];
let breaking: string[];
let called: string[];
let failure: UpstreamError;
let capabilities: ReadonlySet<Capability>;

beforeEach(() => {
  store = new MemoryCounters();
  now = NOW;
  sent = [];
  failing = [];
  breaking = [];
  called = [];
  failure = new UpstreamError('upstream_timeout', 'failed', { recovery: 'nextTarget' });
  capabilities = new Set();
  answer = async function* () {
    yield { type: 'text', text: 'Hello' };
    yield { type: 'finish', reason: 'stop', usage: USAGE };
  };
});

const getCapabilities = () => capabilities;

/** Returns the tokens of the prompt of a request that one attempt reserves, or two if its answer may be repeated. */
function boundPrompt(request: Partial<GenerationRequest> = {}): bigint {
  const models = { default: { targets: [{ provider: 'bedrock', model: 'm' }] } };
  const registry = parseModelRegistry(JSON.stringify({ models }), 'test');
  const caps = listCaps(ofKey({ tokensPerDay: 99_999 }), 'default', 'answers');
  return boundRequest(makeRequest(request), registry, caps, undefined).amounts.inputTokens;
}

function createLimitedRouter(
  counters: CounterStore = store,
  whenDown: 'refuse' | 'pass' = 'refuse',
  fallback: Readonly<Record<string, unknown>> = {},
) {
  const target = (model: string, price: object) => ({ provider: 'bedrock', model, price });
  const models = {
    default: { targets: [target('cheap', PRICE)], fallbacks: ['dear'], maxOutputTokens: 1_000 },
    dear: {
      ...{ targets: [target('dear', { inputPerMillion: 2, outputPerMillion: 20 })], maxOutputTokens: 2_000 },
      ...fallback,
    },
  };
  const guardrails = { filters: { id: 'abc', version: '1' } };
  const moderations = { moderator: { guardrail: 'filters' } };
  const registry = parseModelRegistry(JSON.stringify({ models, guardrails, moderations }), 'test');
  const router = createRouter({
    registry,
    getCapabilities,
    createModel: async ({ target }) => ({
      generate(request) {
        sent.push(request);
        called.push(target.model);
        const broken = breaking.indexOf(target.model);
        if (broken >= 0) breaking.splice(broken, 1);
        if (broken >= 0 || failing.includes(target.model)) throw failure;
        return answer();
      },
    }),
  });
  const stage = new LimitsStage({ store: counters, registry, getCapabilities, whenDown, now: () => now });
  return createGovernedRouter(router, {
    registry: { guardrails: {} },
    openVault: () => expect.unreachable(),
    loadLimits: async () => stage,
    loadModerators: async () => () => FLAGGING_MODERATOR,
  });
}

async function generate(
  policy: Policy,
  request: Partial<GenerationRequest> = {},
  options: Partial<GovernedOptions> = {},
  router = createLimitedRouter(),
) {
  const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, streamed: false };
  const caller = { tenant: 'acme', keyId: 'k1', policy };
  return router.generate(makeRequest({ model: 'default', ...request }), { ...call, caller, ...options });
}

async function refuse(...args: Parameters<typeof generate>): Promise<LambentError> {
  const thrown = await generate(...args).catch((error: unknown) => error);
  if (!(thrown instanceof LambentError)) throw new Error('not refused');
  return thrown;
}

/** Clients that don't know `x-should-retry` repeat a call after `retry-after`. */
function expectNoRetry(error: LambentError): void {
  const headers = errorHeadersFor(error);
  expect(headers).toMatchObject({ 'x-should-retry': 'false' });
  expect(Object.keys(headers).filter((name) => name.startsWith('retry-after'))).toEqual([]);
}

const ofKey = (limits: Limits): Policy => ({ key: { limits } });
const readKey = () => store.read('key#acme#k1');

describe('a limited call', () => {
  it('has the headers of the limit with the least left', async () => {
    const policy = {
      key: { limits: { requestsPerMinute: 9, tokensPerDay: 99_999 } },
      project: { limits: { requestsPerMinute: 5 } },
    };
    const { headers } = await generate(policy);
    expect(headers).toMatchObject({
      'x-ratelimit-limit-requests': '5',
      'x-ratelimit-remaining-requests': '4',
      'x-ratelimit-reset-requests': '30s',
      'x-ratelimit-limit-tokens': '99999',
      'x-ratelimit-reset-tokens': '11h59m30s',
    });
    const anthropic = await generate(policy, {}, { headerStyle: 'anthropic' });
    expect(anthropic.headers).toMatchObject({
      'anthropic-ratelimit-requests-remaining': '3',
      'anthropic-ratelimit-requests-reset': '2026-11-30T12:01:00.000Z',
    });
    expect(anthropic.headers).not.toHaveProperty('x-ratelimit-limit-requests');
  });

  it('counts what its answer has used, to the token and the picodollar', async () => {
    await collect((await generate(ofKey({ tokensPerDay: 99_999, dollarsPerMonth: 1 }))).events);
    expect(await readKey()).toMatchObject({ 'k.t.d20787': 50n, 'k.c.y2026-11': 20n * 1_000_000n + 30n * 10_000_000n });
  });

  it('reserves its longest answer at the price of the dearest target, and the prompt of each target', async () => {
    await generate(ofKey({ dollarsPerMonth: 1 }), { maxOutputTokens: 1_500 });
    const counters = await readKey();
    const input = (counters['b.29934000.f.i.default'] ?? 0n) / 2n;
    expect(input).toBeGreaterThan(0n);
    // The fallback may answer with 1,500 tokens, although the model itself has at most 1,000.
    expect(counters['b.29934000.f.o.default']).toBe(1_500n);
    expect(counters['k.c.y2026-11']).toBe(input * (1_000_000n + 2_000_000n) + 1_500n * 20_000_000n);
  });

  it.each([
    ['too slow', 'upstream_timeout', {}, true],
    ['cut', 'upstream_cut', {}, true],
    ['cut by Bedrock', 'upstream_cut', { upstream: 'ModelStreamErrorException' }, true],
    ['whose connection broke', 'upstream_unavailable', { upstream: 'ECONNRESET' }, true],
    ['not readable', 'upstream_malformed', {}, true],
    ['whose connection was stale', 'upstream_unavailable', { upstream: 'ECONNRESET', retryAfterMs: 0 }, false],
    ['whose connection was refused', 'upstream_unavailable', { upstream: 'ECONNREFUSED' }, false],
    ['refused with 503', 'upstream_unavailable', { upstream: '503' }, false],
    ['refused with 504', 'upstream_timeout', { upstream: '504' }, false],
  ] as const)('with an attempt that was %s counts the prompt of it only if it may be charged', async (...row) => {
    const [, code, details, isCounted] = row;
    failing = ['cheap'];
    failure = new UpstreamError(code, 'failed', { recovery: 'nextTarget', ...details });
    const policy = ofKey({ tokensPerDay: 99_999, dollarsPerDay: 1 });
    await collect((await generate(policy, {}, { streamed: true })).events);
    expect(called).toEqual(['cheap', 'dear']);
    const lost = isCounted ? boundPrompt() : 0n;
    expect(await readKey()).toMatchObject({
      'k.t.d20787': 50n + lost,
      'k.c.d20787': 20n * 2_000_000n + 30n * 20_000_000n + lost * 1_000_000n,
    });
  });

  it('reserves two answers if the first may have to be repeated', async () => {
    const registry = parseModelRegistry(
      JSON.stringify({ models: { default: { targets: [{ provider: 'bedrock', model: 'm' }] } } }),
      'test',
    );
    const bound = (strict: boolean) =>
      boundRequest(
        makeRequest({ format: { type: 'jsonSchema', name: 'a', schema: {}, strict }, maxOutputTokens: 100 }),
        registry,
        listCaps(ofKey({ tokensPerDay: 9_999 }), 'default', 'answers'),
        undefined,
      ).amounts;
    expect(bound(false).outputTokens).toBe(100n);
    expect(bound(true)).toEqual({ ...bound(true), outputTokens: 200n, inputTokens: 2n * bound(false).inputTokens });
  });

  it.each([
    [{ tokensPerMinute: 2_000 }, 500],
    [{ tokensPerMinute: 2_000, answerTokens: 70 }, 70],
    // The model itself has at most 1,000, although its fallback has more.
    [{ tokensPerDay: 1_000_000 }, 1_000],
    [{ requestsPerMinute: 1 }, undefined],
    [{ alerts: [{ name: 'low', per: 'day', dollars: 0.0001 }] }, undefined],
  ] as const)('without a maximum of output tokens gets one that fits its limits: %j', async (limits, maximum) => {
    await collect((await generate(ofKey(limits))).events);
    expect(sent[0]?.maxOutputTokens).toBe(maximum);
  });

  it('with a maximum that it did not name falls back to a model that refuses more', async () => {
    failing = ['cheap'];
    const router = createLimitedRouter(store, 'refuse', { maxOutputTokens: 500, outputLimit: 'refuse' });
    const policy = ofKey({ dollarsPerDay: 1 });
    await collect((await generate(policy, {}, {}, router)).events);
    expect(sent.map(({ maxOutputTokens }) => maxOutputTokens)).toEqual([1_000, 500]);
    await expect(generate(policy, { maxOutputTokens: 600 }, {}, router)).rejects.toBe(failure);
  });

  it('the lowest maximum of the key, the project and the account applies to an answer', async () => {
    const of = (answerTokens?: number) => ({
      limits: { tokensPerMinute: 20_000, ...(answerTokens && { answerTokens }) },
    });
    await collect((await generate({ key: of(300), project: of(), account: of(200) })).events);
    await collect((await generate({ key: of(100), project: of(150), account: of(200) })).events);
    expect(sent.map(({ maxOutputTokens }) => maxOutputTokens)).toEqual([200, 100]);
  });

  it('a stream that its client leaves counts with its prompt and what was sent', async () => {
    answer = async function* () {
      for (;;) yield { type: 'text', text: 'x'.repeat(40) };
    };
    const { events } = await generate(ofKey({ tokensPerDay: 99_999 }), {}, { streamed: true });
    let read = 0;
    for await (const _ of events) if (++read === 3) break;
    const counters = await readKey();
    expect(counters['k.t.d20787']).toBeGreaterThan(30n);
    expect(counters['k.t.d20787']).toBeLessThan(100n);
    expect(counters['b.29934000.s.n.default']).toBe(0n);
  });

  it.each([false, true])('that is cancelled before its answer counts with its prompt: queued %s', async (queued) => {
    const cancel = new AbortController();
    answer = async function* () {
      cancel.abort(new Stopped('cancelled'));
      yield* [];
      throw new Error('The connection was closed');
    };
    const policy = ofKey({ requestsPerDay: 9, tokensPerDay: 99_999, dollarsPerDay: 1 });
    const messages = makeRequest({}).messages.map((each) => ({
      ...each,
      content: [{ type: 'text' as const, text: 'x'.repeat(4_000) }],
    }));
    const options = { signal: cancel.signal, streamed: true, queued };
    await expect(generate(policy, { messages }, options)).rejects.toThrow();
    expect(sent).toHaveLength(1);
    const counters = await readKey();
    expect(counters['k.r.d20787']).toBe(1n);
    const tokens = counters['k.t.d20787'] ?? 0n;
    expect(tokens).toBeGreaterThan(1_000n);
    expect(tokens).toBeLessThan(1_500n);
    expect(counters['k.c.d20787']).toBe(tokens * 1_000_000n);
  });

  it.each([
    ['cut before any text of a model that may reason', {}, [], 500n],
    ['cut within text that follows no reasoning', {}, ['text'], 1n],
    ['cut within text, after reasoning that the request asks for', { reasoningEffort: 'low' }, ['text'], 500n],
    ['cut within reasoning that is shown', { reasoningEffort: 'low' }, ['reasoning'], 1n],
    ['cut before any text, without reasoning', { reasoningEffort: 'none' }, [], 0n],
  ] as const)('that is %s counts with what its upstream may have charged', async (_, request, shown, tokens) => {
    capabilities = new Set(['reasoning']);
    answer = async function* () {
      yield { type: 'toolCall', index: 0, id: 'a', name: 'b' };
      for (const type of shown) yield { type, text: 'Hi' };
      throw new Error('The connection was closed');
    };
    const policy = ofKey({ tokensPerDay: 99_999 });
    const { events } = await generate(policy, { maxOutputTokens: 500, ...request }, { streamed: true });
    await collect(events).catch(() => {});
    const counters = await readKey();
    expect((counters['k.t.d20787'] ?? 0n) - boundPrompt()).toBe(tokens);
  });

  it.each([
    ['a stream', { streamed: true }, [], 0n],
    ['an answer that is not streamed', { streamed: false }, [], 500n],
    ['a stream of a model that may reason', { streamed: true }, ['reasoning'], 500n],
  ] as const)('%s that breaks off before it begins counts with what its upstream may have made', async (...row) => {
    const [, options, offered, tokens] = row;
    capabilities = new Set(offered);
    failing = ['cheap'];
    failure = new UpstreamError('upstream_cut', 'cut', { recovery: 'nextTarget' });
    const policy = ofKey({ tokensPerDay: 99_999, dollarsPerDay: 1 });
    await collect((await generate(policy, { maxOutputTokens: 500 }, options)).events);
    expect(called).toEqual(['cheap', 'dear']);
    const prompt = boundPrompt();
    expect(await readKey()).toMatchObject({
      'k.t.d20787': 50n + prompt + tokens,
      'k.c.d20787': 20n * 2_000_000n + 30n * 20_000_000n + prompt * 1_000_000n + tokens * 10_000_000n,
    });
  });

  it('an answer that moderation refuses before any of it is sent counts with what its model has made', async () => {
    answer = async function* () {
      yield { type: 'text', text: 'x'.repeat(400) };
      yield { type: 'reasoning', text: 'Then' };
      yield { type: 'finish', reason: 'stop', usage: USAGE };
    };
    const policy = ofKey({ tokensPerDay: 99_999, dollarsPerDay: 1 });
    const moderation = { model: 'moderator', input: 'score', output: 'block' } as const;
    const { events } = await generate(policy, { moderation, maxOutputTokens: 500 }, { streamed: true });
    expect(await collect(events)).toMatchObject([{ type: 'finish', reason: 'contentFilter' }]);
    const tokens = (await readKey())['k.t.d20787'] ?? 0n;
    expect(tokens).toBeGreaterThan(100n);
    expect(tokens).toBeLessThan(150n);
  });

  describe('that is moderated', () => {
    const moderation = { model: 'moderator', input: 'score', output: 'score' } as const;
    const policy: Policy = {
      key: { limits: { requestsPerDay: 9, tokensPerDay: 99_999, requestsInFlight: 1 } },
      project: { limits: { models: { moderator: { requestsPerDay: 5 } } } },
    };

    it('counts each moderation as a request of the moderation model', async () => {
      const { headers, events } = await generate(policy, { moderation });
      await collect(events);
      expect(headers).toMatchObject({ 'x-ratelimit-remaining-requests': '6' });
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 3n, 'k.t.d20787': 50n, 'k.f.now': 0n });
      await collect((await generate(policy, { moderation })).events);
      expect(publicMessageFor(await refuse(policy, { moderation }))).toMatch(
        /requestsPerDay of the project for this model: limit 5, left [01], requested 2/,
      );
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 6n, 'k.f.now': 0n });
    });

    it('counts no moderation that was not made', async () => {
      answer = () => {
        throw new UpstreamError('upstream_rejected', 'no', { recovery: 'fail' });
      };
      await refuse(policy, { moderation });
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 2n });
      // The moderation is reserved before the call itself, which its own limit refuses.
      await refuse(ofKey({ requestsPerDay: 9, tokensPerDay: 1 }), { moderation });
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 2n });
    });

    it('reserves and counts each side where it is moderated, if the request is moderated before', async () => {
      const one: Policy = { ...policy, project: { limits: { models: { moderator: { requestsPerDay: 2 } } } } };
      const alone = { ...moderation, output: 'skip', isAlone: true } as const;
      const [report] = await collect((await generate(one, { moderation: alone })).events);
      if (report?.type !== 'finish' || report.moderation === undefined) throw new Error('There is no report');
      expect(report.moderation.input).toMatchObject({ flagged: true });
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 1n });
      expect((await readKey())['k.t.d20787'] ?? 0n).toBe(0n);
      const later = { ...moderation, input: 'skip', inputResult: report.moderation.input } as const;
      const events = await collect((await generate(one, { moderation: later })).events);
      expect(events.at(-1)).toMatchObject({ moderation: { input: report.moderation.input } });
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 3n, 'k.t.d20787': 50n, 'k.f.now': 0n });
      expect(await refuse(one, { moderation: alone })).toMatchObject({ code: 'rate_limit_exceeded' });
    });

    it('counts each piece of a long text', async () => {
      const text = 'x'.repeat(50_000);
      const messages = makeRequest({}).messages.map((each) => ({
        ...each,
        content: [{ type: 'text' as const, text }],
      }));
      await collect((await generate(policy, { moderation, messages, maxOutputTokens: 50 })).events);
      expect(await readKey()).toMatchObject({ 'k.r.d20787': 5n });
    });
  });

  it('a call that is cancelled while its model may reason counts with its longest answer', async () => {
    capabilities = new Set(['reasoning']);
    const cancel = new AbortController();
    answer = async function* () {
      cancel.abort(new Stopped('cancelled'));
      yield* [];
      throw new Error('The connection was closed');
    };
    const policy = ofKey({ tokensPerDay: 99_999 });
    await expect(generate(policy, { maxOutputTokens: 500 }, { signal: cancel.signal })).rejects.toThrow();
    expect((await readKey())['k.t.d20787']).toBeGreaterThan(500n);
  });

  it('a call that times out before its answer counts with its prompt', async () => {
    answer = () => {
      throw new LambentError('deadline_exceeded', 'The deadline of the request has passed');
    };
    await refuse(ofKey({ requestsPerDay: 9, tokensPerDay: 99_999 }));
    const counters = await readKey();
    expect(counters['k.r.d20787']).toBe(1n);
    expect(counters['k.t.d20787']).toBeGreaterThan(0n);
  });

  it('an answer whose settlement is not deferred ends after it', async () => {
    const write: CounterStore['write'] = async (change) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return store.write(change);
    };
    const slow = { write, read: store.read.bind(store), list: store.list.bind(store) };
    const { events } = await generate(ofKey({ tokensPerDay: 99_999 }), {}, {}, createLimitedRouter(slow));
    await collect(events);
    expect(await readKey()).toMatchObject({ 'k.t.d20787': 50n });
  });

  it('settles after its response, unless the next call may need what it gives back', async () => {
    const work: (() => Promise<void>)[] = [];
    const defer = (each: () => Promise<void>) => void work.push(each);
    const call = async (policy: Policy, keyId: string) => {
      const caller = { tenant: 'acme', keyId, policy };
      await collect((await generate(policy, { maxOutputTokens: 100 }, { caller, defer })).events);
      const counters = await store.read(`key#acme#${keyId}`);
      return counters['b.29934000.f.n.default'] ?? counters['b.29934000.fk.n.default'];
    };
    expect(await call(ofKey({ tokensPerDay: 9_999 }), 'wide')).toBe(1n);
    expect(await call(ofKey({ tokensPerDay: 200 }), 'tight')).toBe(0n);
    expect(await call(ofKey({ requestsInFlight: 1 }), 'single')).toBe(0n);
    expect(await call({ project: { limits: { tokensPerDay: 150 } } }, 'shared')).toBe(0n);
    expect(work).toHaveLength(1);
    await work[0]?.();
    const counters = await store.read('key#acme#wide');
    expect(counters).toMatchObject({ 'b.29934000.f.n.default': 0n, 'k.t.d20787': 50n });
  });

  it('a call that all targets refuse counts as a request only, and not at all if it is queued', async () => {
    answer = () => {
      throw new UpstreamError('upstream_rejected', 'no', { recovery: 'fail' });
    };
    const policy = ofKey({ requestsPerDay: 9, tokensPerDay: 99_999 });
    expect((await refuse(policy)).code).toBe('upstream_rejected');
    expect(await readKey()).toMatchObject({ 'k.r.d20787': 1n, 'k.t.d20787': 0n });
    await refuse(policy, {}, { queued: true });
    expect(await readKey()).toMatchObject({ 'k.r.d20787': 1n, 'k.t.d20787': 0n });
  });
});

describe('a call whose attempts break off', () => {
  beforeEach(() => {
    failure = new UpstreamError('upstream_cut', 'cut', { recovery: 'retry', retryAfterMs: 0 });
  });

  const ask = async (policy: Policy, options: Partial<GovernedOptions> = {}, router?: GovernedRouter) =>
    collect((await generate(policy, { maxOutputTokens: 100 }, { streamed: true, ...options }, router)).events);

  it('reserves each retry at the same target, and settles all of it', async () => {
    breaking = ['cheap', 'cheap'];
    let reserved = 0n;
    answer = async function* () {
      reserved = (await readKey())['k.t.d20787'] ?? 0n;
      yield { type: 'finish', reason: 'stop', usage: USAGE };
    };
    await ask(ofKey({ requestsPerDay: 1, tokensPerDay: 99_999, dollarsPerDay: 1, streamsInFlight: 1 }));
    expect(called).toEqual(['cheap', 'cheap', 'cheap']);
    // Before the call, the prompt was reserved for one attempt at each of the two targets.
    expect(reserved).toBe(3n * boundPrompt() + 100n);
    const counters = await readKey();
    const prompts = 2n * boundPrompt();
    expect(counters).toMatchObject({ 'k.r.d20787': 1n, 'k.t.d20787': prompts + 50n, 'k.s.now': 0n });
    expect(counters['k.c.d20787']).toBe((prompts + 20n) * 1_000_000n + 30n * 10_000_000n);
    expect(Object.entries(counters).filter(([name, value]) => name.startsWith('b.') && value !== 0n)).toEqual([]);
  });

  it('makes no attempt that a limit does not allow, and fails with the error of the last one', async () => {
    failing = ['cheap', 'dear'];
    const tokensPerDay = Number(3n * boundPrompt() + 100n);
    await expect(ask(ofKey({ tokensPerDay }))).rejects.toBe(failure);
    expect(called).toEqual(['cheap', 'cheap', 'cheap']);
    expect(await readKey()).toMatchObject({ 'k.t.d20787': 3n * boundPrompt() });
  });

  it('counts as a try of its job if a limit does not allow its second answer', async () => {
    breaking = ['cheap'];
    capabilities = new Set(['json']);
    const format = { type: 'jsonSchema', name: 'n', schema: { type: 'object' }, strict: true } as const;
    // Two answers at two targets are reserved. The first answer breaks the schema.
    const policy = ofKey({ tokensPerDay: Number(2n * boundPrompt({ format }) + 200n) });
    const refusal = await refuse(policy, { maxOutputTokens: 100, format }, { queued: true });
    expect(called).toEqual(['cheap', 'cheap']);
    expect(refusal.details).toMatchObject({ limit: 'key.tokensPerDay' });
    expect(refusal.details.isUnasked).toBeUndefined();
  });

  it('counts as no request of a fallback that its own limits do not allow', async () => {
    breaking = ['cheap'];
    const models = { dear: { requestsPerDay: 1 } };
    const policy = { ...ofKey({ tokensPerDay: Number(2n * boundPrompt() + 100n) }), project: { limits: { models } } };
    await expect(ask(policy, { streamed: false })).rejects.toBe(failure);
    expect(called).toEqual(['cheap']);
    await generate({ project: policy.project }, { model: 'dear' });
    expect(called).toEqual(['cheap', 'dear']);
  });

  it('reserves nothing more after attempts that cost nothing', async () => {
    failure = new UpstreamError('upstream_unavailable', 'busy', { recovery: 'retry', retryAfterMs: 0 });
    breaking = ['cheap', 'cheap'];
    let writes = 0;
    const counted: CounterStore = {
      ...{ read: store.read.bind(store), list: store.list.bind(store) },
      write(write) {
        writes += 1;
        return store.write(write);
      },
    };
    await ask(ofKey({ tokensPerDay: 99_999, streamsInFlight: 1 }), {}, createLimitedRouter(counted));
    expect(called).toHaveLength(3);
    expect(writes).toBe(2);
  });

  it('reserves a retry also under the limits of the model that it falls back to', async () => {
    failing = ['cheap'];
    breaking = ['dear', 'dear'];
    const policy: Policy = { project: { limits: { models: { dear: { tokensPerDay: 99_999 } } } } };
    let left = 0n;
    answer = async function* () {
      left = (await readKey())['L.m.t.d20787.dear'] ?? 0n;
      yield { type: 'finish', reason: 'stop', usage: USAGE };
    };
    await ask(policy);
    expect(called).toEqual(['cheap', 'cheap', 'cheap', 'dear', 'dear', 'dear']);
    expect((await readKey())['L.m.t.d20787.dear']).toBe(left + boundPrompt() + 100n - 50n);
  });

  it('reserves the longest answer again if a lost one may have been made', async () => {
    breaking = ['cheap'];
    const policy = ofKey({ tokensPerDay: Number(2n * boundPrompt() + 199n) });
    await expect(ask(policy, { streamed: false })).rejects.toBe(failure);
    await ask(ofKey({ tokensPerDay: 99_999 }), { streamed: false });
    expect(called).toEqual(['cheap', 'cheap']);
  });

  it('reserves the retries of embeddings', async () => {
    const models = { vectors: { targets: [{ provider: 'bedrock', model: 'm' }], embeddings: {} } };
    const registry = parseModelRegistry(JSON.stringify({ models }), 'test');
    const stage = new LimitsStage({ store, registry, getCapabilities, whenDown: 'refuse', now: () => now });
    let attempts = 0;
    const embed = createEmbed({
      registry,
      createModel: async () => ({
        embed() {
          attempts += 1;
          throw failure;
        },
      }),
    });
    const policy = ofKey({ tokensPerDay: 100 });
    const options = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000 };
    const caller = { tenant: 'acme', keyId: 'k1', policy };
    // With the margin of its estimate, 50 tokens.
    const request = { tenant: 'acme', model: 'vectors', inputs: ['x'.repeat(160)], encoding: 'float' } as const;
    await expect(stage.embed(request, { ...options, caller }, embed)).rejects.toBe(failure);
    expect(attempts).toBe(2);
    expect(await readKey()).toMatchObject({ 'k.t.d20787': 100n });
  });

  it('leaves retries of dead functions, which are logged as usage of no further call', async () => {
    breaking = ['cheap', 'cheap'];
    const policy = { ...ofKey({ tokensPerDay: 99_999 }), account: { limits: { streamsInFlight: 1 } } };
    // Its events are never read, as if the function had died.
    await generate(policy, { maxOutputTokens: 100 }, { streamed: true });
    now += 17 * 60_000;
    const telemetry = recordTelemetry();
    await ask(policy, { telemetry, streamed: false });
    const settled = telemetry.lines.filter(({ message }) => message === 'settlement');
    expect(settled.map(({ calls, inputTokens, outputTokens }) => [calls, inputTokens, outputTokens])).toEqual([
      [1, 2 * Number(boundPrompt()), 100],
      [0, Number(boundPrompt()), 0],
    ]);
    // They took one place in flight.
    expect(await readKey()).toMatchObject({ 'L.a.s.now': 1n });
  });
});

describe('a refused call', () => {
  it('names the limit, its owner and the time to wait', async () => {
    const policy: Policy = { project: { limits: { models: { default: { requestsPerMinute: 1 } } } } };
    await generate(policy);
    const error = await refuse(policy);
    expect(httpStatusFor(error)).toBe(429);
    expect(error.code).toBe('rate_limit_exceeded');
    expect(publicMessageFor(error)).toBe(
      'Rate limit reached for `default` on requestsPerMinute of the project for this model: limit 1, left 0, requested 1. Please try again in 30s.',
    );
    expect(errorHeadersFor(error)).toMatchObject({ 'retry-after': '30', 'x-ratelimit-remaining-requests': '0' });
    expect(sent).toHaveLength(1);
  });

  it('is not to be repeated if it is larger than the limit', async () => {
    const error = await refuse(ofKey({ tokensPerMinute: 100 }), { maxOutputTokens: 200 });
    expect(publicMessageFor(error)).toContain(
      'Request too large for `default` by tokensPerMinute of this key: limit 100, requested 2',
    );
    expectNoRetry(error);
  });

  it('is not to be repeated if it is larger than the budget, and says nothing of its renewal', async () => {
    const error = await refuse(ofKey({ dollarsPerMonth: 0.001 }), { maxOutputTokens: 2_000 });
    expect(error.code).toBe('insufficient_quota');
    expect(publicMessageFor(error)).toMatch(
      /^Request too large for `default` by dollarsPerMonth of this key: limit \$0\.001, requested \$0\.04\d*\. Lower the maximum/,
    );
    expectNoRetry(error);
  });

  it.each([
    ['requestsPerMinute', false, 'rate_limit_exceeded'],
    ['tokensPerDay', true, 'rate_limit_exceeded'],
    ['dollarsPerMonth', false, 'insufficient_quota'],
    ['dollarsPerDay', true, 'insufficient_quota'],
  ] as const)('by a %s of 0 says that no call is permitted (queued: %s)', async (name, queued, code) => {
    const error = await refuse({ project: { limits: { [name]: 0 } } }, {}, { queued });
    expect(error).toMatchObject({ code, retryable: false, details: { limit: `project.${name}` } });
    expect(publicMessageFor(error)).toBe(`Calls of \`default\` are not permitted: ${name} of the project is 0.`);
    expectNoRetry(error);
  });

  it('a call that a budget refuses is refused as without quota, until the budget is renewed', async () => {
    const policy = ofKey({ dollarsPerDay: 0.05 });
    await generate(policy, { maxOutputTokens: 2_000 });
    const error = await refuse(policy, { maxOutputTokens: 2_000 });
    expect(error.code).toBe('insufficient_quota');
    expect(publicMessageFor(error)).toContain(
      'You exceeded your current quota: dollarsPerDay of this key: limit $0.05',
    );
    expect(publicMessageFor(error)).toContain('It is available again at 2026-12-01T00:00:00.000Z.');
    expect(errorHeadersFor(error)).toMatchObject({ 'x-should-retry': 'false' });
    now += 12 * 3_600_000;
    await generate(policy, { maxOutputTokens: 2_000 });
  });

  it('a queued call waits for its budget, but fails if it is larger than that', async () => {
    const policy = ofKey({ dollarsPerDay: 0.05 });
    await generate(policy, { maxOutputTokens: 2_000 });
    const waiting = await refuse(policy, { maxOutputTokens: 2_000 }, { queued: true });
    expect(waiting).toMatchObject({ code: 'rate_limit_exceeded', retryable: true, details: { isUnasked: true } });
    expect(waiting.details.limit).toBe('key.dollarsPerDay');
    expect(await refuse(ofKey({ dollarsPerDay: 0.001 }), { maxOutputTokens: 2_000 }, { queued: true })).toMatchObject({
      code: 'insufficient_quota',
      retryable: false,
      details: { limit: 'key.dollarsPerDay', isUnasked: true },
    });
    expect(await refuse(ofKey({ tokensPerDay: 9 }), { maxOutputTokens: 9 }, { queued: true })).toMatchObject({
      code: 'rate_limit_exceeded',
      retryable: false,
      details: { limit: 'key.tokensPerDay', isUnasked: true },
    });
  });

  it.each([
    [{ requestsPerMinute: 0 }, 'rate_limit_exceeded', 'requests'],
    [{ tokensPerDay: 1 }, 'rate_limit_exceeded', 'tokens'],
    [{ requestsInFlight: 0 }, 'rate_limit_exceeded', 'rate_limit_error'],
    [{ dollarsPerDay: 0 }, 'insufficient_quota', 'insufficient_quota'],
  ] as const)('by %j has the type of an error of OpenAI', async (limits, code, type) => {
    expect(encodeErrorBody(await refuse(ofKey(limits))).error).toMatchObject({ code, type });
  });

  it('the preset of a sandbox refuses each call', async () => {
    expect(await refuse(ofKey(LIMIT_PRESETS.sandbox))).toMatchObject({ code: 'rate_limit_exceeded' });
    await generate(ofKey(LIMIT_PRESETS.dev));
  });
});

describe('while the table is not available', () => {
  const down: CounterStore = {
    write: () => Promise.reject(new Error('down')),
    read: () => Promise.reject(new Error('down')),
    list: (prefixes) => store.list(prefixes),
  };

  it('limited calls are refused by default', async () => {
    const error = await refuse(ofKey({ requestsPerDay: 9 }), {}, {}, createLimitedRouter(down));
    expect(error).toMatchObject({ code: 'overloaded' });
    expect(sent).toHaveLength(0);
  });

  it('limited calls pass by a setting, and are counted', async () => {
    const telemetry = recordTelemetry();
    await collect(
      (await generate(ofKey({ requestsPerDay: 9 }), {}, { telemetry }, createLimitedRouter(down, 'pass'))).events,
    );
    expect(sent).toHaveLength(1);
    expect(telemetry.lines).toContainEqual(expect.objectContaining({ LimitsUnavailable: 1 }));
  });

  it('calls that are counted only for spend alerts pass', async () => {
    const alerts = [{ name: 'low', per: 'day' as const, dollars: 1 }];
    await generate(ofKey({ alerts }), {}, {}, createLimitedRouter(down));
    expect(sent).toHaveLength(1);
    await refuse(ofKey({ alerts, dollarsPerDay: 9 }), {}, {}, createLimitedRouter(down));
    expect(sent).toHaveLength(1);
  });

  it('an answer does not fail because it can not be settled', async () => {
    const once: CounterStore = {
      ...down,
      write: (write) => (write.atMost === undefined ? down.write(write) : store.write(write)),
    };
    const telemetry = recordTelemetry();
    const { events } = await generate(ofKey({ requestsPerDay: 9 }), {}, { telemetry }, createLimitedRouter(once));
    expect(await collect(events)).toHaveLength(2);
    expect(telemetry.lines).toContainEqual(expect.objectContaining({ message: 'reservation not settled' }));
  });
});

it('the next call of a key settles what its dead function has left, and logs it once', async () => {
  const policy = ofKey({ streamsInFlight: 1, tokensPerDay: 99_999 });
  // Its events are never read, as if the function had died.
  await generate(policy, { maxOutputTokens: 100 }, { streamed: true });
  await refuse(policy, {}, { streamed: true });
  now += 17 * 60_000;
  const telemetry = recordTelemetry();
  await collect((await generate(policy, {}, { telemetry })).events);
  await collect((await generate(policy, {}, { telemetry, streamed: true })).events);
  const lines = telemetry.lines.filter(({ message }) => message === 'settlement');
  expect(lines).toEqual([
    expect.objectContaining({
      record: 'settlement',
      estimated: true,
      tenant: 'acme',
      keyId: 'k1',
      model: 'default',
      calls: 1,
      outputTokens: 100,
      startedAt: '2026-11-30T12:00:00.000Z',
    }),
  ]);
});

it('an alert that a token of a user triggers names the user, and no key', async () => {
  const telemetry = recordTelemetry();
  const keyId = 'user_0123456789abcdef0123456789ab';
  const alerts = [{ name: 'low', per: 'month' as const, dollars: 0.0001 }];
  const policy = { key: { limits: { alerts } } };
  await collect((await generate(policy, {}, { telemetry, caller: { tenant: 'acme', keyId, policy } })).events);
  const [act] = telemetry.lines.filter(({ record }) => record === 'act');
  expect(JSON.parse(String(act?.['details']))).toEqual({
    ...{ level: 'key', user: keyId, per: 'month', dollars: 0.0001, window: '2026-11' },
  });
});

it('a call that passes a spend alert logs it as an act, and counts it', async () => {
  const alerts = [{ name: 'low', per: 'month' as const, dollars: 0.0001 }];
  const telemetry = recordTelemetry();
  const policy = { key: { limits: { alerts } }, account: { limits: { alerts } } };
  for (let calls = 0; calls < 3; calls += 1) await collect((await generate(policy, {}, { telemetry })).events);
  const acts = telemetry.lines.filter(({ record }) => record === 'act');
  expect(acts).toHaveLength(2);
  expect(acts[0]).toMatchObject({ act: 'spend_alert.triggered', objectId: 'low' });
  expect(acts.map(({ project, details }) => ({ project, ...JSON.parse(String(details)) }))).toEqual(
    expect.arrayContaining([
      { project: 'acme', level: 'key', api_key: 'k1', per: 'month', dollars: 0.0001, window: '2026-11' },
      { project: undefined, level: 'account', per: 'month', dollars: 0.0001, window: '2026-11' },
    ]),
  );
  expect(telemetry.lines.filter(({ SpendAlerts }) => SpendAlerts === 1)).toHaveLength(2);
});

describe('limits of a model that is a fallback', () => {
  const ofDear = (limits: Limits): Policy => ({ project: { limits: { models: { dear: limits } } } });
  const ask = async (policy: Policy) => collect((await generate(policy, { maxOutputTokens: 100 })).events);
  beforeEach(() => {
    failing = ['cheap'];
  });

  it('the limits of a model hold for the calls of other models that fall back to it', async () => {
    await ask(ofDear({ requestsPerDay: 1 }));
    // It fails as if the fallback had failed, too.
    expect(await refuse(ofDear({ requestsPerDay: 1 }))).toMatchObject({ code: 'upstream_timeout' });
    expect(called).toEqual(['cheap', 'dear', 'cheap']);
  });

  it('the limits of a fallback count what its answers have used, to the token', async () => {
    // A call reserves more than 100 tokens, and uses 50.
    const policy = ofDear({ tokensPerDay: 230 });
    for (let calls = 0; calls < 3; calls += 1) await ask(policy);
    await refuse(policy, { maxOutputTokens: 100 });
    expect(called.filter((model) => model === 'dear')).toHaveLength(3);
    failing = [];
    await ask(policy);
  });

  it('the limits of a fallback are checked against the most that its own attempt can use', async () => {
    // The call may cost more at the model itself, which also has the prompt of the fallback reserved.
    const router = createLimitedRouter(store, 'refuse', {
      ...{ maxOutputTokens: 200, targets: [{ provider: 'bedrock', model: 'dear', price: PRICE }] },
    });
    const ofFallback = (left: bigint) =>
      ofDear({
        tokensPerDay: Number(boundPrompt() + 200n + left),
        dollarsPerDay: Number(boundPrompt() * 1_000_000n + 200n * 10_000_000n + left * 1_000_000n) / 1e12,
      });
    await expect(generate(ofFallback(-1n), { maxOutputTokens: 1_000 }, {}, router)).rejects.toBe(failure);
    await collect((await generate(ofFallback(0n), { maxOutputTokens: 1_000 }, {}, router)).events);
    expect(called).toEqual(['cheap', 'cheap', 'dear']);
  });

  it('the limits of a fallback must allow a second answer, if the first may break its schema', async () => {
    const format = { type: 'jsonSchema', name: 'n', schema: { type: 'object' }, strict: true } as const;
    capabilities = new Set(['json']);
    const both = Number(boundPrompt({ format }) + 200n);
    const request = { format, maxOutputTokens: 100 };
    await expect(generate(ofDear({ tokensPerDay: both - 1 }), request)).rejects.toBe(failure);
    expect(called).toEqual(['cheap']);
    // Both answers break the schema.
    await expect(generate(ofDear({ tokensPerDay: both }), request)).rejects.toMatchObject({ code: 'output_mismatch' });
    expect(called).toEqual(['cheap', 'cheap', 'dear', 'cheap', 'dear']);
  });

  it('the limits of a fallback make no request while the model itself answers', async () => {
    failing = [];
    const unused: CounterStore = {
      write: () => expect.unreachable(),
      read: () => expect.unreachable(),
      list: (prefixes) => store.list(prefixes),
    };
    const { events } = await generate(ofDear({ requestsPerDay: 1 }), {}, {}, createLimitedRouter(unused));
    expect(await collect(events)).toHaveLength(2);
  });

  it('the limits of a fallback get back the places of dead functions, whose calls are logged once', async () => {
    const policy = { ...ofKey({ requestsInFlight: 1 }), ...ofDear({ requestsInFlight: 1 }) };
    // Its events are never read, as if the function had died.
    await generate(policy, { maxOutputTokens: 100 });
    now += 17 * 60_000;
    const telemetry = recordTelemetry();
    await collect((await generate(ofKey({ requestsPerDay: 9 }), {}, { telemetry })).events);
    await ask(policy);
    expect(telemetry.lines.filter(({ message }) => message === 'settlement')).toMatchObject([
      { model: 'default', calls: 1 },
    ]);
  });
});
