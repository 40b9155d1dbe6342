import { describe, expect, it } from 'vitest';
import type { Capability } from '../../../shared/inference/capabilities.ts';
import type { FinishReason, GenerationEvent, GenerationRequest } from '../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../shared/inference/model.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter, type GenerateOptions } from '../../../shared/inference/router.ts';
import { StrictCheck } from '../../../shared/inference/strict-check.ts';
import { collect, makeRequest } from './requests.ts';

const SCHEMA = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
const format = { type: 'jsonSchema', name: 'answer', schema: SCHEMA, strict: true } as const;
const tools = [{ name: 'add', parameters: SCHEMA, strict: true }];
const usage = { inputTokens: 3, cachedInputTokens: 1, outputTokens: 2, reasoningTokens: 0 };

const finish = (reason: FinishReason): GenerationEvent => ({ type: 'finish', reason, usage });
const say = (text: string, reason: FinishReason = 'stop'): GenerationEvent[] => [
  ...[...text].map((letter): GenerationEvent => ({ type: 'text', text: letter })),
  finish(reason),
];
const call = (...texts: string[]): GenerationEvent[] => [
  ...texts.flatMap((text, index): GenerationEvent[] => [
    { type: 'toolCall', index, id: `c${index}`, name: 'add' },
    { type: 'toolArguments', index, fragment: text },
  ]),
  finish('toolCalls'),
];

interface Setting {
  readonly answers: readonly GenerationEvent[][];
  readonly settings?: Record<string, unknown>;
  readonly capabilities?: Capability[];
}

/** Returns a router with one target that enforces no schemas, and the requests that the target has received. */
function buildRouter({ answers, settings = {}, capabilities = ['tools', 'json', 'jsonSchema'] }: Setting) {
  const received: GenerationRequest[] = [];
  const target = { provider: 'openai-compatible', baseUrl: 'http://127.0.0.1:1/v1', model: 'm' };
  const router = createRouter({
    registry: parseModelRegistry(JSON.stringify({ models: { default: { targets: [target], ...settings } } }), 'test'),
    getCapabilities: () => new Set(capabilities),
    createModel: async () => ({
      async *generate(request) {
        received.push(request);
        yield* answers[received.length - 1] ?? [];
      },
    }),
  });
  const generate = (request: Partial<GenerationRequest>, options: Partial<GenerateOptions> = {}) =>
    router.generate(makeRequest(request), {
      signal: new AbortController().signal,
      deadlineAt: Date.now() + 5_000,
      streamed: false,
      ...options,
    });
  return { generate, received };
}

describe('strict schemas on a target that does not enforce them', () => {
  it('an answer that matches is returned as it is', async () => {
    const { generate, received } = buildRouter({ answers: [say('{"a":1}')] });
    const { events, strict } = await generate({ format });
    expect({ events: await collect(events), strict }).toEqual({ events: say('{"a":1}'), strict: 'checked' });
    expect(received[0]?.format).toEqual({ ...format, strict: false });
  });

  it('an answer that does not match is generated again, and the usage counts both', async () => {
    for (const bad of ['{"a":"1"}', '{"a":1,"b":2}', '```json\n{"a":1}\n```', '[]']) {
      const { generate } = buildRouter({ answers: [say(bad), say('{"a":2}')] });
      const { events, strict } = await generate({ format });
      const all = await collect(events);
      expect(strict).toBe('repeated');
      expect(all.slice(0, -1)).toEqual(say('{"a":2}').slice(0, -1));
      expect(all.at(-1)).toMatchObject({
        usage: { inputTokens: 6, cachedInputTokens: 2, outputTokens: 4, reasoningTokens: 0 },
      });
    }
  });

  it('two answers that do not match are an error, after two calls', async () => {
    const { generate, received } = buildRouter({ answers: [say('no'), call('{"a":1}', '{}'), say('{"a":1}')] });
    await expect(generate({ format, tools })).rejects.toMatchObject({ code: 'output_mismatch' });
    expect(received).toHaveLength(2);
  });

  it('the arguments of strict tools are checked', async () => {
    const { generate } = buildRouter({ answers: [call('{"a":'), call('{"a":1}')] });
    const { events, strict } = await generate({ tools });
    expect({ events: (await collect(events)).slice(0, 2), strict }).toEqual({
      events: call('{"a":1}').slice(0, 2),
      strict: 'repeated',
    });
  });

  it('an answer that was cut is not checked', async () => {
    const { generate, received } = buildRouter({ answers: [say('{"a":', 'length')] });
    expect(await collect((await generate({ format })).events)).toEqual(say('{"a":', 'length'));
    expect(received).toHaveLength(1);
  });

  it('a stream is passed on at once, and ends with an error instead of its finish if it does not match', async () => {
    const { generate } = buildRouter({ answers: [say('{"a":1}'), say('no')] });
    const good = await generate({ format }, { streamed: true });
    expect({ events: await collect(good.events), strict: good.strict }).toEqual({
      events: say('{"a":1}'),
      strict: 'checked',
    });
    const bad = await generate({ format }, { streamed: true });
    const seen: GenerationEvent[] = [];
    await expect(
      (async () => {
        for await (const event of bad.events) seen.push(event);
      })(),
    ).rejects.toMatchObject({ code: 'output_mismatch' });
    expect(seen).toEqual(say('no').slice(0, -1));
  });

  it('a stream is held back and repeated if the alias or a queued job wants it', async () => {
    const answers = [say('no'), say('{"a":1}')];
    const held = buildRouter({ answers, settings: { strictOutput: 'hold' } });
    expect((await held.generate({ format }, { streamed: true })).strict).toBe('repeated');
    const queued = buildRouter({ answers });
    expect((await queued.generate({ format }, { streamed: true, heldBack: true })).strict).toBe('repeated');
  });

  it('an alias that refuses gets no such request, and the error names the parameter', async () => {
    const { generate } = buildRouter({ answers: [], settings: { strictOutput: 'refuse' } });
    await expect(generate({ format })).rejects.toMatchObject({ code: 'unsupported_parameter', param: 'format' });
    await expect(generate({ tools })).rejects.toMatchObject({ code: 'unsupported_parameter', param: 'tools' });
  });

  it('a target that enforces schemas is not checked', async () => {
    const capabilities: Capability[] = ['tools', 'strictTools', 'strictJsonSchema'];
    const { generate, received } = buildRouter({ answers: [say('whatever')], capabilities });
    const { events, strict } = await generate({ format, tools });
    expect({ events: await collect(events), strict }).toEqual({ events: say('whatever'), strict: undefined });
    expect(received[0]).toMatchObject({ format, tools });
  });

  it('a call without arguments has none, and neither a text beside a call nor a refusal has the format', () => {
    const check = new StrictCheck({ format: SCHEMA, tools: new Map([['add', { type: 'object' }]]) });
    expect(check.findViolation('stop')).toBeUndefined();
    check.add({ type: 'text', text: 'I will add.' });
    expect(check.findViolation('stop')).toContain('output format');
    check.add({ type: 'toolCall', index: 0, id: 'c', name: 'add' });
    expect(check.findViolation('toolCalls')).toBeUndefined();
  });

  it('an answer that must call a tool matches only with that call', () => {
    const findViolation = (required: 'required' | { name: string }, events: readonly GenerationEvent[]) => {
      const check = new StrictCheck({ tools: new Map(), call: required });
      for (const event of events) check.add(event);
      return check.findViolation('stop');
    };
    expect(findViolation('required', say('no'))).toContain('calls no tool');
    expect(findViolation('required', call('{}'))).toBeUndefined();
    expect(findViolation({ name: 'add' }, call('{}'))).toBeUndefined();
    expect(findViolation({ name: 'other' }, call('{}'))).toContain('other');
  });

  it('a repeated answer is translated, also by a fallback that would have got the caller’s own request', async () => {
    const target = { provider: 'openai-compatible', baseUrl: 'http://127.0.0.1:1/v1' };
    const models = {
      default: { targets: [{ ...target, model: 'lax' }], fallbacks: ['native'] },
      native: { targets: [{ ...target, model: 'native' }] },
    };
    let calls = 0;
    const router = createRouter({
      registry: parseModelRegistry(JSON.stringify({ models }), 'test'),
      getCapabilities: ({ model }) => new Set<Capability>(model === 'lax' ? ['json'] : ['json', 'strictJsonSchema']),
      createModel: async ({ target: { model } }) => ({
        async *generate(request) {
          calls += 1;
          if (calls === 2) throw new UpstreamError('upstream_misconfigured', 'No', { recovery: 'nextTarget' });
          if (model === 'native' && request.original) yield { type: 'native', event: {} };
          yield* say(calls === 1 ? 'no' : '{"a":2}');
        },
      }),
    });
    const original = { protocol: 'chat', body: {}, ignored: [] } as const;
    const options = { signal: new AbortController().signal, deadlineAt: Date.now() + 5_000, streamed: false };
    const { events, strict } = await router.generate(makeRequest({ format, original }), options);
    expect((await collect(events)).slice(0, -1)).toEqual(say('{"a":2}').slice(0, -1));
    expect({ calls, strict }).toEqual({ calls: 3, strict: 'repeated' });
  });

  it('a pattern that takes exponential time, or a schema that is not valid, keeps no function busy', () => {
    for (const schema of [
      { type: 'string', pattern: '^(a+)+$' },
      { type: 'string', pattern: '(' },
      { $ref: '#/$defs/missing' },
    ]) {
      const check = new StrictCheck({ format: schema, tools: new Map() });
      for (const event of say(JSON.stringify(`${'a'.repeat(60)}!`))) check.add(event);
      expect(check.findViolation('stop')).toBeUndefined();
    }
  });

  it('many calls whose schema takes exponential time keep no function busy either', () => {
    const check = new StrictCheck({ tools: new Map([['add', { type: 'string', pattern: '^(a+)+$' }]]) });
    const text = JSON.stringify(`${'a'.repeat(60)}!`);
    for (const event of call(...Array.from({ length: 40 }, () => text))) check.add(event);
    const startedAt = performance.now();
    expect(check.findViolation('toolCalls')).toBeUndefined();
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

describe('what the router does in the place of a target', () => {
  const original = { protocol: 'chat', body: {}, ignored: ['x'] } as const;

  it('the target then doesn’t get the caller’s own request, whose answer could not be changed', async () => {
    const { generate, received } = buildRouter({ answers: [call('{"a":1}'), say('{"a":1}'), say('a')] });
    const plain = [{ name: 'add', parameters: {}, strict: false }];
    for (const request of [{ tools: plain, parallelToolCalls: false }, { format }, {}])
      await collect((await generate({ ...request, original })).events);
    expect(received.map((request) => request.original)).toEqual([undefined, undefined, original]);
  });

  it('an answer in the caller’s own format is not changed, and names what had no effect', async () => {
    const answer: GenerationEvent[] = [{ type: 'native', event: { a: 1 } }, finish('stop')];
    const { generate } = buildRouter({ answers: [answer] });
    const { events, isNative, ignored } = await generate({ original, serviceTier: 'flex', verbosity: 'low' });
    expect({ events: await collect(events), isNative, ignored }).toEqual({
      events: answer,
      isNative: true,
      ignored: ['x'],
    });
  });

  it('of several tool calls only the first is kept if the caller allows only one', async () => {
    const { generate } = buildRouter({ answers: [call('{"a":1}', '{"a":2}')] });
    const { events } = await generate({
      tools: [{ name: 'add', parameters: {}, strict: false }],
      parallelToolCalls: false,
    });
    expect(await collect(events)).toEqual(call('{"a":1}'));
  });

  it('the answer names the tier that served it, except for queued work', async () => {
    const answers = [say('a'), say('b')];
    const { generate } = buildRouter({ answers });
    const getTier = async (options: Partial<GenerateOptions>) => {
      const last = (await collect((await generate({ serviceTier: 'flex' }, options)).events)).at(-1);
      return last?.type === 'finish' ? last.serviceTier : 'no finish';
    };
    expect(await getTier({})).toBe('default');
    expect(await getTier({ queued: true })).toBeUndefined();
  });

  it('of the targets of an alias, those with everything the caller prefers come first', async () => {
    const names = ['plain', 'strict', 'spare'];
    const targets = names.map((model) => ({
      provider: 'openai-compatible',
      baseUrl: 'http://127.0.0.1:1/v1',
      model,
      weight: model === 'plain' ? 1_000 : model === 'strict' ? 0.001 : 0,
    }));
    const called: string[] = [];
    const router = createRouter({
      registry: parseModelRegistry(JSON.stringify({ models: { default: { targets } } }), 'test'),
      getCapabilities: ({ model }) => new Set<Capability>(model === 'plain' ? ['json'] : ['json', 'strictJsonSchema']),
      createModel: async ({ target }) => ({
        async *generate() {
          called.push(target.model);
          yield* say('{"a":1}');
        },
      }),
    });
    const options = { signal: new AbortController().signal, deadlineAt: Date.now() + 5_000, streamed: false };
    for (const request of [makeRequest({ format }), makeRequest()])
      await collect((await router.generate(request, options)).events);
    expect(called).toEqual(['strict', 'plain']);
  });
});
