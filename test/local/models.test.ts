import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GUIDE_MODEL } from '../../local/bedrock/guide.ts';
import { type Discovery, discoverModels } from '../../local/models.ts';
import { type ModelRegistry, parseModelRegistry } from '../../shared/inference/registry.ts';

let folder: string;
let servers: { close(): void }[];
/** A URL at which nothing listens, since its server has just been closed. */
let closedUrl: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
  servers = [];
  closedUrl = await server(() => ({}));
  servers.pop()?.close();
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const open of servers) open.close();
  await rm(folder, { recursive: true });
});

/** Starts a server that answers with JSON, with a status, or never. */
async function server(answer: (request: IncomingMessage) => object | number | 'never'): Promise<string> {
  const http = createServer((request, response) => {
    const result = answer(request);
    if (result === 'never') return;
    response.statusCode = typeof result === 'number' ? result : 200;
    response.end(typeof result === 'number' ? 'no' : JSON.stringify(result));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  servers.push({
    close: () => {
      http.closeAllConnections();
      http.close();
    },
  });
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}

/** Discovers models with only the variables of `env`, and without Ollama unless they name one. */
async function discover(
  env: Record<string, string> = {},
  options: Partial<Parameters<typeof discoverModels>[0]> = {},
): Promise<Discovery & { registry: ModelRegistry }> {
  const found = await discoverModels({
    env: { HOME: folder, OLLAMA_HOST: closedUrl, ...env },
    stateDir: join(folder, 'state'),
    cwd: folder,
    fetchTimeoutMs: 1_000,
    credentials: () => Promise.reject(new Error('no credentials')),
    ...options,
  });
  return { ...found, registry: parseModelRegistry(await readFile(found.file, 'utf8'), found.file) };
}

/** Returns an alias's first target. */
const targetOf = ({ models }: ModelRegistry, alias: string) => models[alias]?.targets[0];

describe('discoverModels without any settings', () => {
  it('serves the guide as default, and describes in one line how to get a language model', async () => {
    const { registry, description, bedrock } = await discover();
    expect(targetOf(registry, 'default')).toMatchObject({ provider: 'bedrock', model: GUIDE_MODEL });
    expect(bedrock).toBe('local');
    for (const way of ['OPENAI_API_KEY', 'AWS', 'Ollama', 'MODELS_FILE']) expect(description).toContain(way);
    expect(description).not.toContain('\n');
  });

  it('writes the same registry each time', async () => {
    const first = await discover();
    const second = await discover();
    expect(second.registry).toEqual(first.registry);
    expect(second.file).toBe(first.file);
  });
});

describe('GPU workers of this machine', () => {
  const workers = [{ id: 'gpu-1', url: 'http://127.0.0.1:8000/v1', slots: 8 }];
  const gpuWorkers = async () => workers;

  it('are served as gpu besides the models that are found', async () => {
    const { registry } = await discover({}, { gpuWorkers });
    expect(targetOf(registry, 'gpu')).toMatchObject({ provider: 'gpu', fleet: 'local' });
    expect(registry.fleets['local']?.workers).toEqual(workers);
    expect(targetOf(registry, 'default')).toMatchObject({ model: GUIDE_MODEL });
  });

  it('are not served if there are none', async () => {
    const { registry } = await discover();
    expect(Object.keys(registry.models)).not.toContain('gpu');
    expect(registry.fleets).toEqual({});
  });

  it('are not served if a model of the name gpu is found', async () => {
    const url = await server(() => ({ object: 'list', data: [{ id: 'gpu', object: 'model' }] }));
    const { registry } = await discover({ OPENAI_BASE_URL: `${url}/v1` }, { gpuWorkers });
    expect(targetOf(registry, 'gpu')).toMatchObject({ provider: 'openai-compatible' });
  });
});

describe('MODELS_FILE', () => {
  const models = (provider: object) => JSON.stringify({ models: { default: { targets: [provider] } } });

  it('replaces all other sources, and is relative to the current directory', async () => {
    await writeFile(
      join(folder, 'mine.json'),
      models({ provider: 'openai-compatible', model: 'm', baseUrl: closedUrl }),
    );
    const found = await discover({ MODELS_FILE: 'mine.json', OPENAI_API_KEY: 'sk-x' });
    expect(found.file).toBe(join(folder, 'mine.json'));
    expect(found.bedrock).toBe('local');
    expect(found.description).toContain('MODELS_FILE');
  });

  it.each([
    ['anthropic.claude-sonnet-4-6', 'aws'],
    [GUIDE_MODEL, 'local'],
  ])('with the Bedrock model %s calls Bedrock at: %s', async (model, bedrock) => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model }));
    const credentials = async () => undefined;
    expect((await discover({ MODELS_FILE: 'mine.json' }, { credentials })).bedrock).toBe(bedrock);
  });

  it('with models on Bedrock is an error without AWS credentials', async () => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model: 'amazon.nova-lite-v1:0' }));
    await expect(discover({ MODELS_FILE: 'mine.json' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/mine\.json.*AWS credentials.*no credentials/),
    });
  });

  it('that is missing or not valid is an error that names it', async () => {
    await expect(discover({ MODELS_FILE: 'nothing.json' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('nothing.json'),
    });
    await writeFile(join(folder, 'bad.json'), models({ provider: 'bedrock', modell: 'x' }));
    await expect(discover({ MODELS_FILE: 'bad.json' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('modell'),
    });
  });
});

describe('an OpenAI-compatible endpoint', () => {
  const listing = (...ids: string[]) => ({ object: 'list', data: ids.map((id) => ({ id, object: 'model' })) });

  it('is served with the chat models that it lists, and the registry refers to the key without containing it', async () => {
    const keys: unknown[] = [];
    const url = await server((request) => {
      keys.push([request.url, request.headers.authorization]);
      return listing('text-embedding-3-small', 'zephyr', 'gpt-4o-mini', 'alpha', 'whisper-1');
    });
    const { registry, description, bedrock, file } = await discover({
      OPENAI_BASE_URL: `${url}/v1/`,
      OPENAI_API_KEY: 'sk-secret',
    });
    expect(keys).toEqual([['/v1/models', 'Bearer sk-secret']]);
    expect(Object.keys(registry.models).sort()).toEqual(['alpha', 'default', 'gpt-4o-mini', 'guide', 'zephyr']);
    expect(targetOf(registry, 'default')).toMatchObject({
      provider: 'openai-compatible',
      model: 'gpt-4o-mini',
      baseUrl: `${url}/v1`,
      apiKey: 'env:OPENAI_API_KEY',
    });
    expect(await readFile(file, 'utf8')).not.toContain('sk-secret');
    expect(description).toContain('gpt-4o-mini');
    expect(bedrock).toBe('local');
  });

  it('without a preferred model has its first model, in alphabetical order, as default', async () => {
    const url = await server(() => listing('b', 'a'));
    expect(targetOf((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).toMatchObject({ model: 'a' });
  });

  it('needs no key', async () => {
    const url = await server(() => listing('a'));
    expect(targetOf((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).not.toHaveProperty('apiKey');
  });

  it('is served with OPENAI_MODEL even if it lists no models', async () => {
    const url = await server(() => 404);
    const { registry } = await discover({ OPENAI_BASE_URL: url, OPENAI_MODEL: 'mine' });
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'mine' });
    expect(targetOf(registry, 'mine')).toMatchObject({ model: 'mine' });
  });

  it.each([
    ['refuses the key', () => 401 as const, 'answered 401'],
    ['never answers', () => 'never' as const, 'not answer in time'],
    ['lists nothing', () => ({ data: [] }), 'no chat model'],
    ['answers with something else', () => ({ hello: 'world' }), 'not a list of models'],
  ])('that %s is skipped, and the description says so', async (_case, answer, reason) => {
    const url = await server(answer);
    const { registry, description } = await discover(
      { OPENAI_BASE_URL: url, OPENAI_API_KEY: 'sk-secret' },
      { fetchTimeoutMs: 200 },
    );
    expect(targetOf(registry, 'default')).toMatchObject({ model: GUIDE_MODEL });
    expect(description).toContain(reason);
    expect(description).toContain(url);
    expect(description).not.toContain('sk-secret');
  });

  it('at which nothing listens is skipped, even if OPENAI_MODEL is set', async () => {
    const { description } = await discover({ OPENAI_BASE_URL: closedUrl, OPENAI_MODEL: 'mine' });
    expect(description).toContain('nothing listens there');
  });

  it('with an invalid URL is an error that names the variable', async () => {
    await expect(discover({ OPENAI_BASE_URL: 'localhost' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('OPENAI_BASE_URL'),
    });
  });
});

describe('AWS credentials', () => {
  const repositoryModels = async (): Promise<string> => {
    const bedrock = (fallbacks: string[] = []) => ({
      targets: [{ provider: 'bedrock', model: 'amazon.nova-lite-v1:0' }],
      fallbacks,
    });
    const openai = { targets: [{ provider: 'openai-compatible', model: 'm', baseUrl: closedUrl }] };
    const file = join(folder, 'models.json');
    await writeFile(
      file,
      JSON.stringify({ models: { default: bedrock(['small', 'other']), small: bedrock(), other: openai } }),
    );
    return file;
  };

  it("serve the repository's Bedrock models, and no others", async () => {
    const found = await discover(
      { AWS_PROFILE: 'me' },
      { repositoryModels: await repositoryModels(), credentials: () => Promise.resolve({}) },
    );
    expect(Object.keys(found.registry.models).sort()).toEqual(['default', 'small']);
    expect(found.registry.models['default']?.fallbacks).toEqual(['small']);
    expect(found.bedrock).toBe('aws');
  });

  it("serve the repository's own models.json", async () => {
    const found = await discover({ AWS_ACCESS_KEY_ID: 'AKIA' }, { credentials: () => Promise.resolve({}) });
    expect(found.registry.models).toHaveProperty('default');
    expect(found.bedrock).toBe('aws');
  });

  it("are found in the environment by the SDK's own chain", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    const { bedrock } = await discoverModels({
      env: { HOME: folder, AWS_ACCESS_KEY_ID: 'AKIATEST' },
      stateDir: join(folder, 'state'),
    });
    expect(bedrock).toBe('aws');
  });

  it('are not looked for unless something indicates that there are any, because that could hang', async () => {
    const never = { credentials: () => Promise.reject(new Error('looked for')) };
    expect((await discover({}, never)).description).not.toContain('looked for');
    await mkdir(join(folder, '.aws'));
    await writeFile(join(folder, '.aws', 'config'), '[default]\nregion = eu-west-1\n');
    expect((await discover({}, never)).description).toContain('looked for');
  });

  it.each([
    ['fail', () => Promise.reject(new Error('The SSO session has expired')), 'SSO session has expired'],
    ['hang', () => new Promise(() => undefined), 'did not arrive in time'],
  ])('that %s are skipped, and the description says so', async (_case, credentials, reason) => {
    const { description, bedrock } = await discover({ AWS_PROFILE: 'me' }, { credentials, fetchTimeoutMs: 100 });
    expect(description).toContain(reason);
    expect(bedrock).toBe('local');
  });
});

describe('a running Ollama', () => {
  const tags = {
    models: [
      { name: 'old:latest', modified_at: '2026-01-01T00:00:00Z' },
      { name: 'nomic-embed-text', modified_at: '2026-11-01T00:00:00Z' },
      { name: 'new:8b', modified_at: '2026-10-01T00:00:00Z' },
    ],
  };

  it('is served with its chat models, the newest as default', async () => {
    const url = await server((request) => (request.url === '/api/tags' ? tags : 404));
    const { registry, description } = await discover({ OLLAMA_HOST: url.replace('http://', '') });
    expect(Object.keys(registry.models).sort()).toEqual(['default', 'guide', 'new:8b', 'old:latest']);
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'new:8b', baseUrl: `${url}/v1` });
    expect(description).toContain('Ollama');
  });

  it('without a model is skipped, and the description says what to do', async () => {
    const url = await server(() => ({ models: [] }));
    expect((await discover({ OLLAMA_HOST: url })).description).toContain('ollama pull');
  });

  it('is not used if OPENAI_BASE_URL names another endpoint', async () => {
    const ollama = await server(() => tags);
    const openai = await server(() => ({ data: [{ id: 'named' }] }));
    const { registry } = await discover({ OLLAMA_HOST: ollama, OPENAI_BASE_URL: openai });
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'named' });
  });
});
