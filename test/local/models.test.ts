import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http, { createServer, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { GUIDE_MODEL } from '../../local/bedrock/guide.ts';
import { type Discovery, discoverModels } from '../../local/models.ts';
import { type ModelRegistry, parseModelRegistry, resolveModel } from '../../shared/inference/registry.ts';

let folder: string;
let servers: { close(): void }[];
/** A URL at which nothing listens: its server has just been closed. */
let closedUrl: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-models-'));
  servers = [];
  closedUrl = await startServer(() => ({}));
  servers.pop()?.close();
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const open of servers) open.close();
  await rm(folder, { recursive: true });
});

/**
 * Starts a server and returns its URL.
 * @param answer returns the JSON to respond with, an error status, or `never` to leave the request unanswered
 */
async function startServer(answer: (request: IncomingMessage) => object | number | 'never'): Promise<string> {
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
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return `http://127.0.0.1:${address.port}`;
}

/** Discovers models with only the variables of `env`, and without Ollama unless `OLLAMA_HOST` is set. */
async function discover(
  env: Record<string, string> = {},
  options: Partial<Parameters<typeof discoverModels>[0]> = {},
): Promise<Discovery & { registry: ModelRegistry }> {
  const found = await discoverModels({
    env: { HOME: folder, OLLAMA_HOST: closedUrl, ...env },
    stateDir: join(folder, 'state'),
    cwd: folder,
    // Longer than any response takes on a busy machine.
    fetchTimeoutMs: 60_000,
    credentials: () => Promise.reject(new Error('no credentials')),
    ...options,
  });
  return { ...found, registry: parseModelRegistry(await readFile(found.file, 'utf8'), found.file) };
}

/** Returns an alias's first target. */
const getTarget = ({ models }: ModelRegistry, alias: string) => models[alias]?.targets[0];

describe('discoverModels without any settings', () => {
  it('discoverModels without settings serves the guide, and describes how to get a language model', async () => {
    const { registry, description, bedrock } = await discover();
    expect(getTarget(registry, 'default')).toMatchObject({ provider: 'bedrock', model: GUIDE_MODEL });
    expect(registry.models['embeddings']?.embeddings).toBeDefined();
    expect(bedrock).toBe('local');
    for (const way of ['OPENAI_API_KEY', 'AWS', 'Ollama', 'MODELS_FILE']) expect(description).toContain(way);
    expect(description).not.toContain('\n');
  });

  it('discoverModels writes the same registry each time', async () => {
    const first = await discover();
    const second = await discover();
    expect(second.registry).toEqual(first.registry);
    expect(second.file).toBe(first.file);
  });
});

describe('GPU workers on this machine', () => {
  const workers = [{ id: 'gpu-1', url: 'http://127.0.0.1:8000/v1', slots: 8 }];
  const gpuWorkers = async () => workers;

  it('GPU workers are served as the model gpu in addition to the discovered models', async () => {
    const { registry } = await discover({}, { gpuWorkers });
    expect(getTarget(registry, 'gpu')).toMatchObject({ provider: 'gpu', fleet: 'local' });
    expect(registry.fleets['local']?.workers).toEqual(workers);
    expect(getTarget(registry, 'default')).toMatchObject({ model: GUIDE_MODEL });
  });

  it('the model gpu is not served without GPU workers', async () => {
    const { registry } = await discover();
    expect(Object.keys(registry.models)).not.toContain('gpu');
    expect(registry.fleets).toEqual({});
  });

  it('GPU workers are not served if another model is named gpu', async () => {
    const url = await startServer(() => ({ object: 'list', data: [{ id: 'gpu', object: 'model' }] }));
    const { registry } = await discover({ OPENAI_BASE_URL: `${url}/v1` }, { gpuWorkers });
    expect(getTarget(registry, 'gpu')).toMatchObject({ provider: 'openai-compatible' });
  });
});

describe('MODELS_FILE', () => {
  const models = (provider: object) => JSON.stringify({ models: { default: { targets: [provider] } } });

  it('MODELS_FILE replaces all other sources, and is relative to the current directory', async () => {
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
  ])('the Bedrock model %s in MODELS_FILE sets bedrock to %s', async (model, bedrock) => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model }));
    const credentials = async () => undefined;
    expect((await discover({ MODELS_FILE: 'mine.json' }, { credentials })).bedrock).toBe(bedrock);
  });

  it('MODELS_FILE with Bedrock models is an error without AWS credentials', async () => {
    await writeFile(join(folder, 'mine.json'), models({ provider: 'bedrock', model: 'amazon.nova-lite-v1:0' }));
    await expect(discover({ MODELS_FILE: 'mine.json' })).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringMatching(/mine\.json.*AWS credentials.*no credentials/),
    });
  });

  it('a MODELS_FILE that is missing or not valid is an error that names the file or the field', async () => {
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

  it('an endpoint is served with its models for chats and embeddings, and the registry names the key without containing it', async () => {
    const keys: unknown[] = [];
    const url = await startServer((request) => {
      keys.push([request.url, request.headers.authorization]);
      return listing('text-embedding-3-small', 'zephyr', 'gpt-4o-mini', 'alpha', 'whisper-1');
    });
    const { registry, description, bedrock, file } = await discover({
      OPENAI_BASE_URL: `${url}/v1/`,
      OPENAI_API_KEY: 'sk-secret',
    });
    expect(keys).toEqual([['/v1/models', 'Bearer sk-secret']]);
    const chats = ['alpha', 'default', 'gpt-4o-mini', 'guide'];
    expect(Object.keys(registry.models).sort()).toEqual([...chats, 'text-embedding-3-small', 'zephyr']);
    expect(registry.models['text-embedding-3-small']?.embeddings).toMatchObject({ tokens: 'cl100k_base' });
    expect(resolveModel('text-embedding-ada-002', registry).name).toBe('text-embedding-3-small');
    expect(resolveModel('gpt-9', registry).name).toBe('default');
    expect(getTarget(registry, 'default')).toMatchObject({
      provider: 'openai-compatible',
      model: 'gpt-4o-mini',
      baseUrl: `${url}/v1`,
      apiKey: 'env:OPENAI_API_KEY',
    });
    expect(await readFile(file, 'utf8')).not.toContain('sk-secret');
    expect(description).toContain('gpt-4o-mini');
    expect(bedrock).toBe('local');
  });

  it('an endpoint without a preferred model has its alphabetically first model as default', async () => {
    const url = await startServer(() => listing('b', 'a'));
    expect(getTarget((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).toMatchObject({ model: 'a' });
  });

  it('requests are passed on to OpenAI’s own host as they are, and translated for any other', async () => {
    const url = await startServer(() => listing('gpt-5-mini'));
    const { registry: other } = await discover({ OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: 'sk-secret' });
    expect(getTarget(other, 'default')).not.toHaveProperty('passThrough');
    expect(getTarget(other, 'default')).toMatchObject({ maxTokensParameter: 'max_tokens' });
    const redirect = (to: unknown, ...rest: unknown[]) =>
      Reflect.apply(http.get, http, [String(to).replace('https://api.openai.com', url), ...rest]);
    vi.spyOn(https, 'get').mockImplementation(redirect as typeof https.get);
    syncBuiltinESMExports();
    onTestFinished(() => {
      vi.restoreAllMocks();
      syncBuiltinESMExports();
    });
    const { registry } = await discover({ OPENAI_API_KEY: 'sk-secret' });
    expect(getTarget(registry, 'default')).toMatchObject({
      baseUrl: 'https://api.openai.com/v1',
      maxTokensParameter: 'max_completion_tokens',
      passThrough: ['chat', 'responses'],
    });
  });

  it('an endpoint needs no key', async () => {
    const url = await startServer(() => listing('a'));
    expect(getTarget((await discover({ OPENAI_BASE_URL: url })).registry, 'default')).not.toHaveProperty('apiKey');
  });

  it('an endpoint that lists no models is served with OPENAI_MODEL', async () => {
    const url = await startServer(() => 404);
    const { registry } = await discover({ OPENAI_BASE_URL: url, OPENAI_MODEL: 'mine' });
    expect(getTarget(registry, 'default')).toMatchObject({ model: 'mine' });
    expect(getTarget(registry, 'mine')).toMatchObject({ model: 'mine' });
  });

  it.each([
    ['refuses the key', () => 401 as const, 'answered 401', {}],
    ['never answers', () => 'never' as const, 'not answer in time', { fetchTimeoutMs: 200 }],
    ['lists no models', () => ({ data: [] }), 'no chat model', {}],
    ['does not return a list', () => ({ hello: 'world' }), 'not a list of models', {}],
  ])('an endpoint that %s is skipped, and the description gives the reason', async (_case, answer, reason, options) => {
    const url = await startServer(answer);
    const environment = { OPENAI_BASE_URL: url, OPENAI_API_KEY: 'sk-secret' };
    const { registry, description } = await discover(environment, options);
    expect(getTarget(registry, 'default')).toMatchObject({ model: GUIDE_MODEL });
    expect(description).toContain(reason);
    expect(description).toContain(url);
    expect(description).not.toContain('sk-secret');
  });

  it('an endpoint at which nothing listens is skipped even if OPENAI_MODEL is set', async () => {
    const { description } = await discover({ OPENAI_BASE_URL: closedUrl, OPENAI_MODEL: 'mine' });
    expect(description).toContain('nothing listens there');
  });

  it('an endpoint with an invalid URL is an error that names the variable', async () => {
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

  it("AWS credentials select the repository's Bedrock models, and no others", async () => {
    const found = await discover(
      { AWS_PROFILE: 'me' },
      { repositoryModels: await repositoryModels(), credentials: () => Promise.resolve({}) },
    );
    expect(Object.keys(found.registry.models).sort()).toEqual(['default', 'small']);
    expect(found.registry.models['default']?.fallbacks).toEqual(['small']);
    expect(found.bedrock).toBe('aws');
  });

  it("AWS credentials select the models of the repository's models.json", async () => {
    const found = await discover({ AWS_ACCESS_KEY_ID: 'AKIA' }, { credentials: () => Promise.resolve({}) });
    expect(found.registry.models).toHaveProperty('default');
    expect(found.bedrock).toBe('aws');
  });

  it("AWS credentials in the environment are found by the SDK's credential chain", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    const { bedrock } = await discoverModels({
      env: { HOME: folder, AWS_ACCESS_KEY_ID: 'AKIATEST' },
      stateDir: join(folder, 'state'),
      fetchTimeoutMs: 60_000,
    });
    expect(bedrock).toBe('aws');
  });

  it('AWS credentials are looked up only if a variable or file indicates them, as a lookup can hang', async () => {
    const failing = { credentials: () => Promise.reject(new Error('looked up')) };
    expect((await discover({}, failing)).description).not.toContain('looked up');
    await mkdir(join(folder, '.aws'));
    await writeFile(join(folder, '.aws', 'config'), '[default]\nregion = eu-west-1\n');
    expect((await discover({}, failing)).description).toContain('looked up');
  });

  it.each([
    ['fail', () => Promise.reject(new Error('The SSO session has expired')), 'SSO session has expired'],
    ['hang', () => new Promise(() => undefined), 'did not arrive in time'],
  ])(
    'AWS credentials that %s are skipped, and the description gives the reason',
    async (_case, credentials, reason) => {
      const { description, bedrock } = await discover({ AWS_PROFILE: 'me' }, { credentials, fetchTimeoutMs: 100 });
      expect(description).toContain(reason);
      expect(bedrock).toBe('local');
    },
  );
});

describe('a running Ollama', () => {
  const tags = {
    models: [
      { name: 'old:latest', modified_at: '2026-01-01T00:00:00Z' },
      { name: 'nomic-embed-text', modified_at: '2026-11-01T00:00:00Z' },
      { name: 'new:8b', modified_at: '2026-10-01T00:00:00Z' },
    ],
  };

  it('Ollama is served with its chat models, the newest as default', async () => {
    const url = await startServer((request) => (request.url === '/api/tags' ? tags : 404));
    const { registry, description } = await discover({ OLLAMA_HOST: url.replace('http://', '') });
    expect(Object.keys(registry.models).sort()).toEqual([
      ...['default', 'guide', 'new:8b', 'nomic-embed-text', 'old:latest'],
    ]);
    expect(registry.models['nomic-embed-text']?.embeddings).toMatchObject({ tokens: 'cl100k_base' });
    expect(getTarget(registry, 'default')).toMatchObject({ model: 'new:8b', baseUrl: `${url}/v1` });
    expect(description).toContain('Ollama');
  });

  it('Ollama without a model is skipped, and the description names the command that installs a model', async () => {
    const url = await startServer(() => ({ models: [] }));
    expect((await discover({ OLLAMA_HOST: url })).description).toContain('ollama pull');
  });

  it('Ollama is not used if OPENAI_BASE_URL names another endpoint', async () => {
    const ollama = await startServer(() => tags);
    const openai = await startServer(() => ({ data: [{ id: 'named' }] }));
    const { registry } = await discover({ OLLAMA_HOST: ollama, OPENAI_BASE_URL: openai });
    expect(getTarget(registry, 'default')).toMatchObject({ model: 'named' });
  });
});
