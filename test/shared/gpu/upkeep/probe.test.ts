import { afterEach, describe, expect, test } from 'vitest';
import { FLEET_TIMINGS } from '../../../../shared/gpu/fleet-timings.ts';
import { createProbe, createProbeFactory, type ProbedFleet } from '../../../../shared/gpu/upkeep/probe.ts';
import { type EngineState, type StandInEngine, startStandInEngine } from './stand-in-engine.ts';

const open = new Set<StandInEngine>();
afterEach(async () => {
  await Promise.all([...open].map((engine) => engine[Symbol.asyncDispose]()));
  open.clear();
});
async function start(state: Partial<EngineState>): Promise<StandInEngine> {
  const engine = await startStandInEngine(state);
  open.add(engine);
  return engine;
}
async function nobody(): Promise<string> {
  const { url, stop } = await start({});
  await stop();
  return url;
}
const probe = (changes: Partial<ProbedFleet>) =>
  createProbe({ engine: 'vllm', lora: {}, ...changes }, FLEET_TIMINGS.upkeep);

describe('a look', () => {
  test.each<[engine: ProbedFleet['engine'], state: Partial<EngineState>, start: string | undefined]>([
    ['vllm', { kind: 'vllm', start: '1.76384342e+09' }, '1.76384342e+09'],
    ['vllm', { kind: 'vllm', start: '' }, undefined],
    ['other', { kind: 'vllm', start: '1.76384342e+09' }, '1.76384342e+09'],
    ['other', { kind: 'plain' }, undefined],
    ['sglang', { kind: 'sglang', start: '715827882' }, '715827882'],
    ['sglang', { kind: 'sglang', start: '' }, undefined],
    ['llama.cpp', { kind: 'llama.cpp', start: '48151623' }, '48151623'],
    ['llama.cpp', { kind: 'llama.cpp', start: '' }, '<__media_YoNhud46VdDq__>'],
  ])('tells the start of %s %o: %s', async (engine, state, expected) => {
    const { url } = await start(state);
    expect(await probe({ engine }).checkModels(url)).toEqual({
      healthy: true,
      models: ['Qwen/Qwen3-8B'],
      start: expected,
      missingAdapters: [],
    });
  });

  test("takes no other sign of llama.cpp's start for the one that it could not be asked for", async () => {
    const { url } = await start({ kind: 'llama.cpp', start: '48151623', failsAt: 'GET /metrics' });
    expect(await probe({ engine: 'llama.cpp' }).checkModels(url)).toMatchObject({ healthy: true, start: undefined });
  });

  test.each([
    ['no connection', nobody, 'ECONNREFUSED'],
    ['no model', async () => (await start({ models: [] })).url, 'lists no model'],
    ['no key', async () => (await start({ apiKey: 'theirs' })).url, 'status 401'],
  ])('finds %s', async (_, urlOf, reason) => {
    expect(await probe({}).checkModels(await urlOf())).toEqual({ healthy: false, reason });
  });

  test("shows the engine its fleet's key", async () => {
    const { url } = await start({ apiKey: 'the key of env:GPU_KEY' });
    const probeOf = createProbeFactory(
      { qwen: { engine: 'vllm', lora: {}, apiKey: 'env:GPU_KEY' } },
      async (reference) => `the key of ${reference}`,
      FLEET_TIMINGS.upkeep,
    );
    expect(await (await probeOf('qwen')).checkModels(url)).toMatchObject({ healthy: true });
  });
});

describe('adapters', () => {
  test.each<[engine: ProbedFleet['engine'], kind: EngineState['kind'], names: string[]]>([
    ['vllm', 'vllm', ['Qwen/Qwen3-8B', 'sql']],
    ['sglang', 'sglang', ['Qwen/Qwen3-8B', 'Qwen/Qwen3-8B:sql']],
  ])('are loaded by the API of %s, once, and are names of its models', async (engine, kind, names) => {
    const { url, state, asked } = await start({ kind });
    const lora = { sql: '/adapters/sql' };
    for (let times = 0; times < 2; times += 1) {
      expect(await probe({ engine, lora }).checkModels(url)).toMatchObject({ models: names, missingAdapters: [] });
    }
    expect(state.adapters).toEqual(['sql']);
    expect(asked.filter((path) => path.endsWith('load_lora_adapter'))).toHaveLength(1);
  });

  test('that are loaded and not listed are known by the refusal to load them twice', async () => {
    const { url } = await start({ kind: 'sglang', listsAdapters: false, adapters: ['sql'] });
    const found = await probe({ engine: 'sglang', lora: { sql: '/adapters/sql' } }).checkModels(url);
    expect(found).toMatchObject({ models: ['Qwen/Qwen3-8B', 'Qwen/Qwen3-8B:sql'], missingAdapters: [] });
  });

  test('that cannot be loaded are missing, and the worker serves the rest', async () => {
    const { url } = await start({});
    const found = await probe({ lora: { sql: '/nowhere', chat: '/adapters/chat' } }).checkModels(url);
    expect(found).toMatchObject({ healthy: true, models: ['Qwen/Qwen3-8B', 'chat'], missingAdapters: ['sql'] });
  });

  test('are not asked of llama.cpp, which has its own from its start', async () => {
    const { url, asked } = await start({ kind: 'llama.cpp' });
    const found = await probe({ engine: 'llama.cpp', lora: { sql: '/adapters/sql' } }).checkModels(url);
    expect(found).toMatchObject({ models: ['Qwen/Qwen3-8B'], missingAdapters: [] });
    expect(asked.some((path) => path.startsWith('POST'))).toBe(false);
  });
});

describe('a token', () => {
  test('shows that an engine works', async () => {
    const { url } = await start({});
    expect(await probe({}).checkGeneration(url, 'Qwen/Qwen3-8B')).toBeUndefined();
  });

  test('that does not come shows that it does not', async () => {
    expect(await probe({}).checkGeneration(await nobody(), 'x')).toEqual({ healthy: false, reason: 'ECONNREFUSED' });
    const { url } = await start({ apiKey: 'theirs' });
    expect(await probe({}).checkGeneration(url, 'x')).toEqual({ healthy: false, reason: 'status 401 for a token' });
  });
});
