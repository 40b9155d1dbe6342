import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GUIDE_MODEL } from '../../local/bedrock/guide.ts';
import { type Discovery, discoverModels } from '../../local/models.ts';
import { type ModelRegistry, parseModelRegistry } from '../../shared/inference/registry.ts';

let folder: string;
let servers: { close(): void }[];
/** Nobody listens here: the port was free a moment ago. */
let nobody: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
  servers = [];
  nobody = await server(() => ({}));
  servers.pop()?.close();
});

afterEach(async () => {
  for (const open of servers) open.close();
  await rm(folder, { recursive: true });
});

/** A little server that answers JSON, or a status, or never. */
async function server(answer: (request: IncomingMessage) => object | number | 'never'): Promise<string> {
  const http = createServer((request, response) => {
    const what = answer(request);
    if (what === 'never') return;
    response.statusCode = typeof what === 'number' ? what : 200;
    response.end(typeof what === 'number' ? 'no' : JSON.stringify(what));
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

/** Discovers in an environment that holds nothing but `env`, with nobody at Ollama's place unless it says so. */
async function discover(
  env: Record<string, string> = {},
  options: Partial<Parameters<typeof discoverModels>[0]> = {},
): Promise<Discovery & { registry: ModelRegistry }> {
  const found = await discoverModels({
    env: { HOME: folder, OLLAMA_HOST: nobody, ...env },
    stateDir: join(folder, 'state'),
    cwd: folder,
    fetchTimeoutMs: 1_000,
    credentials: () => Promise.reject(new Error('no credentials')),
    ...options,
  });
  return { ...found, registry: parseModelRegistry(await readFile(found.file, 'utf8'), found.file) };
}

/** What an alias's first target is, in short. */
const targetOf = ({ models }: ModelRegistry, alias: string) => models[alias]?.targets[0];

describe('without anything', () => {
  test('the guide is the default, and the line says how to get a real model', async () => {
    const { registry, description, bedrock } = await discover();
    expect(targetOf(registry, 'default')).toMatchObject({ provider: 'bedrock', model: GUIDE_MODEL });
    expect(bedrock).toBe('local');
    for (const way of ['OPENAI_API_KEY', 'AWS', 'Ollama', 'MODELS_FILE']) expect(description).toContain(way);
    expect(description).not.toContain('\n');
  });

  test('it is the same again', async () => {
    const first = await discover();
    const second = await discover();
    expect(second.registry).toEqual(first.registry);
    expect(second.file).toBe(first.file);
  });
});

describe('GPU workers of this machine', () => {
  const workers = [{ id: 'gpu-1', url: 'http://127.0.0.1:8000/v1', slots: 8 }];
  const gpuWorkers = async () => workers;

  test('are the model gpu, whatever else is found', async () => {
    const { registry } = await discover({}, { gpuWorkers });
    expect(targetOf(registry, 'gpu')).toMatchObject({ provider: 'gpu', fleet: 'local' });
    expect(registry.fleets['local']?.workers).toEqual(workers);
    expect(targetOf(registry, 'default')).toMatchObject({ model: GUIDE_MODEL });
  });

  test('are not there when there are none', async () => {
    const { registry } = await discover();
    expect(Object.keys(registry.models)).not.toContain('gpu');
    expect(registry.fleets).toEqual({});
  });

  test('give way to a model that is found under that name', async () => {
    const url = await server(() => ({ object: 'list', data: [{ id: 'gpu', object: 'model' }] }));
    const { registry } = await discover({ OPENAI_BASE_URL: `${url}/v1` }, { gpuWorkers });
    expect(targetOf(registry, 'gpu')).toMatchObject({ provider: 'openai-compatible' });
  });
});

describe('MODELS_FILE', () => {
  const models = (provider: object) => JSON.stringify({ models: { default: { targets: [provider] } } });

  test('decides everything, relative to the current directory', async () => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'openai-compatible', model: 'm', baseUrl: nobody }));
    const found = await discover({ MODELS_FILE: 'mine.json', OPENAI_API_KEY: 'sk-x' });
    expect(found.file).toBe(join(folder, 'mine.json'));
    expect(found.bedrock).toBe('local');
    expect(found.description).toContain('MODELS_FILE');
  });

  test.each([
    ['anthropic.claude-sonnet-4-6', 'aws'],
    [GUIDE_MODEL, 'local'],
  ])('with %s asks Bedrock at: %s', async (model, bedrock) => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model }));
    const credentials = async () => undefined;
    expect((await discover({ MODELS_FILE: 'mine.json' }, { credentials })).bedrock).toBe(bedrock);
  });

  test('with models on Bedrock is an error where there are no credentials to call them with', async () => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model: 'amazon.nova-lite-v1:0' }));
    await expect(discover({ MODELS_FILE: 'mine.json' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/mine\.json.*AWS credentials.*no credentials/),
    });
  });

  test('that is not there, or not valid, is an error that names it', async () => {
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

  test('serves the models it lists, and the key stays a reference', async () => {
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

  test('serves the first of its names by the alphabet when none is known', async () => {
    const url = await server(() => listing('b', 'a'));
    expect(targetOf((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).toMatchObject({ model: 'a' });
  });

  test('needs no key', async () => {
    const url = await server(() => listing('a'));
    expect(targetOf((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).not.toHaveProperty('apiKey');
  });

  test('serves OPENAI_MODEL, even if it lists none', async () => {
    const url = await server(() => 404);
    const { registry } = await discover({ OPENAI_BASE_URL: url, OPENAI_MODEL: 'mine' });
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'mine' });
    expect(targetOf(registry, 'mine')).toMatchObject({ model: 'mine' });
  });

  test.each([
    ['refuses the key', () => 401 as const, 'answered 401'],
    ['never answers', () => 'never' as const, 'not answer in time'],
    ['lists nothing', () => ({ data: [] }), 'no model to chat with'],
    ['is no such endpoint', () => ({ hello: 'world' }), 'something else'],
  ])('that %s is passed over, and the line says so', async (_case, answer, reason) => {
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

  test('that is not there is passed over, even for a model by name', async () => {
    const { description } = await discover({ OPENAI_BASE_URL: nobody, OPENAI_MODEL: 'mine' });
    expect(description).toContain('nothing listens there');
  });

  test('at an address that is none is an error that names the variable', async () => {
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
    const openai = { targets: [{ provider: 'openai-compatible', model: 'm', baseUrl: nobody }] };
    const file = join(folder, 'models.json');
    await writeFile(
      file,
      JSON.stringify({ models: { default: bedrock(['small', 'other']), small: bedrock(), other: openai } }),
    );
    return file;
  };

  test('serve the Bedrock models of the repository, and only those', async () => {
    const found = await discover(
      { AWS_PROFILE: 'me' },
      { repositoryModels: await repositoryModels(), credentials: () => Promise.resolve({}) },
    );
    expect(Object.keys(found.registry.models).sort()).toEqual(['default', 'small']);
    expect(found.registry.models['default']?.fallbacks).toEqual(['small']);
    expect(found.bedrock).toBe('aws');
  });

  test("work with the repository's own models.json", async () => {
    const found = await discover({ AWS_ACCESS_KEY_ID: 'AKIA' }, { credentials: () => Promise.resolve({}) });
    expect(found.registry.models).toHaveProperty('default');
    expect(found.bedrock).toBe('aws');
  });

  test('are found by the SDK itself in the environment', async () => {
    process.env['AWS_ACCESS_KEY_ID'] = 'AKIATEST';
    process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
    const { bedrock } = await discoverModels({
      env: { HOME: folder, AWS_ACCESS_KEY_ID: 'AKIATEST' },
      stateDir: join(folder, 'state'),
    });
    expect(bedrock).toBe('aws');
  });

  test('are not looked for without a sign of them, since that may hang', async () => {
    const never = { credentials: () => Promise.reject(new Error('looked for')) };
    expect((await discover({}, never)).description).not.toContain('looked for');
    await mkdir(join(folder, '.aws'));
    await writeFile(join(folder, '.aws', 'config'), '[default]\nregion = eu-west-1\n');
    expect((await discover({}, never)).description).toContain('looked for');
  });

  test.each([
    ['fail', () => Promise.reject(new Error('The SSO session has expired')), 'SSO session has expired'],
    ['hang', () => new Promise(() => undefined), 'did not come in time'],
  ])('that %s are passed over, and the line says so', async (_case, credentials, reason) => {
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

  test('serves its models, the newest as the default', async () => {
    const url = await server((request) => (request.url === '/api/tags' ? tags : 404));
    const { registry, description } = await discover({ OLLAMA_HOST: url.replace('http://', '') });
    expect(Object.keys(registry.models).sort()).toEqual(['default', 'guide', 'new:8b', 'old:latest']);
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'new:8b', baseUrl: `${url}/v1` });
    expect(description).toContain('Ollama');
  });

  test('without a model is passed over, and the line says what to do', async () => {
    const url = await server(() => ({ models: [] }));
    expect((await discover({ OLLAMA_HOST: url })).description).toContain('ollama pull');
  });

  test('comes after an endpoint that was named', async () => {
    const ollama = await server(() => tags);
    const openai = await server(() => ({ data: [{ id: 'named' }] }));
    const { registry } = await discover({ OLLAMA_HOST: ollama, OPENAI_BASE_URL: openai });
    expect(targetOf(registry, 'default')).toMatchObject({ model: 'named' });
  });
});
