import { afterEach, describe, expect, it } from 'vitest';
import { FLEET_TIMINGS } from '../../../../shared/gpu/fleet-timings.ts';
import { createProbe, createProbeFactory, type ProbedFleet } from '../../../../shared/gpu/upkeep/probe.ts';
import { type EngineState, type StandInEngine, startStandInEngine } from './stand-in-engine.ts';

const engines = new Set<StandInEngine>();
afterEach(async () => {
  await Promise.all([...engines].map((engine) => engine[Symbol.asyncDispose]()));
  engines.clear();
});
async function start(state: Partial<EngineState>): Promise<StandInEngine> {
  const engine = await startStandInEngine(state);
  engines.add(engine);
  return engine;
}
async function startStopped(): Promise<string> {
  const { url, stop } = await start({});
  await stop();
  return url;
}
const probe = (changes: Partial<ProbedFleet>) =>
  createProbe({ engine: 'vllm', lora: {}, ...changes }, FLEET_TIMINGS.upkeep);

describe('checking models', () => {
  it.each<[engine: ProbedFleet['engine'], state: Partial<EngineState>, start: string | undefined]>([
    ['vllm', { kind: 'vllm', start: '1.76384342e+09' }, '1.76384342e+09'],
    ['vllm', { kind: 'vllm', start: '' }, undefined],
    ['other', { kind: 'vllm', start: '1.76384342e+09' }, '1.76384342e+09'],
    ['other', { kind: 'plain' }, undefined],
    ['sglang', { kind: 'sglang', start: '715827882' }, '715827882'],
    ['sglang', { kind: 'sglang', start: '' }, undefined],
    ['llama.cpp', { kind: 'llama.cpp', start: '48151623' }, '48151623'],
    ['llama.cpp', { kind: 'llama.cpp', start: '' }, '<__media_YoNhud46VdDq__>'],
  ])('the start of engine %s with state %o is %s', async (engine, state, expected) => {
    const { url } = await start(state);
    expect(await probe({ engine }).checkModels(url)).toEqual({
      healthy: true,
      models: ['Qwen/Qwen3-8B'],
      start: expected,
      missingAdapters: [],
    });
  });

  it("llama.cpp's media marker does not replace a start header that could not be read", async () => {
    const { url } = await start({ kind: 'llama.cpp', start: '48151623', failsAt: 'GET /metrics' });
    expect(await probe({ engine: 'llama.cpp' }).checkModels(url)).toMatchObject({ healthy: true, start: undefined });
  });

  it.each([
    ['refused connections', startStopped, 'ECONNREFUSED'],
    ['an engine without models', async () => (await start({ models: [] })).url, 'lists no model'],
    ['an engine that requires a key', async () => (await start({ apiKey: 'theirs' })).url, 'status 401'],
  ])('%s gives an unhealthy result', async (_, urlOf, reason) => {
    expect(await probe({}).checkModels(await urlOf())).toEqual({ healthy: false, reason });
  });

  it("the probe sends the fleet's key", async () => {
    const { url } = await start({ apiKey: 'the key of env:GPU_KEY' });
    const createFleetProbe = createProbeFactory(
      { qwen: { engine: 'vllm', lora: {}, apiKey: 'env:GPU_KEY' } },
      async (reference) => `the key of ${reference}`,
      FLEET_TIMINGS.upkeep,
    );
    expect(await (await createFleetProbe('qwen')).checkModels(url)).toMatchObject({ healthy: true });
  });
});

describe('loading adapters', () => {
  it.each<[engine: ProbedFleet['engine'], kind: EngineState['kind'], names: string[]]>([
    ['vllm', 'vllm', ['Qwen/Qwen3-8B', 'sql']],
    ['sglang', 'sglang', ['Qwen/Qwen3-8B', 'Qwen/Qwen3-8B:sql']],
  ])('an adapter is loaded once by the API of %s and listed as a model', async (engine, kind, names) => {
    const { url, state, requests } = await start({ kind });
    const lora = { sql: '/adapters/sql' };
    for (let times = 0; times < 2; times += 1) {
      expect(await probe({ engine, lora }).checkModels(url)).toMatchObject({ models: names, missingAdapters: [] });
    }
    expect(state.adapters).toEqual(['sql']);
    expect(requests.filter((path) => path.endsWith('load_lora_adapter'))).toHaveLength(1);
  });

  it('an adapter that the engine does not list is found by its refusal to load it again', async () => {
    const { url } = await start({ kind: 'sglang', listsAdapters: false, adapters: ['sql'] });
    const result = await probe({ engine: 'sglang', lora: { sql: '/adapters/sql' } }).checkModels(url);
    expect(result).toMatchObject({ models: ['Qwen/Qwen3-8B', 'Qwen/Qwen3-8B:sql'], missingAdapters: [] });
  });

  it('an adapter that cannot be loaded is missing, and the worker serves the others', async () => {
    const { url } = await start({});
    const result = await probe({ lora: { sql: '/nowhere', chat: '/adapters/chat' } }).checkModels(url);
    expect(result).toMatchObject({ healthy: true, models: ['Qwen/Qwen3-8B', 'chat'], missingAdapters: ['sql'] });
  });

  it('no adapter is loaded into llama.cpp, which loads its own at its start', async () => {
    const { url, requests } = await start({ kind: 'llama.cpp' });
    const result = await probe({ engine: 'llama.cpp', lora: { sql: '/adapters/sql' } }).checkModels(url);
    expect(result).toMatchObject({ models: ['Qwen/Qwen3-8B'], missingAdapters: [] });
    expect(requests.some((path) => path.startsWith('POST'))).toBe(false);
  });
});

describe('checking generation', () => {
  it('an engine that generates a token is healthy', async () => {
    const { url } = await start({});
    expect(await probe({}).checkGeneration(url, 'Qwen/Qwen3-8B')).toBeUndefined();
  });

  it('an engine that generates no token is unhealthy, with the reason', async () => {
    expect(await probe({}).checkGeneration(await startStopped(), 'x')).toEqual({
      healthy: false,
      reason: 'ECONNREFUSED',
    });
    const { url } = await start({ apiKey: 'theirs' });
    expect(await probe({}).checkGeneration(url, 'x')).toEqual({ healthy: false, reason: 'status 401 for a token' });
  });
});
