import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { bundleFunctions } from '../../../infra/bundle/build.ts';
import type { Bundle } from '../../../infra/bundle/bundle.ts';
import { findSource } from '../../../infra/bundle/find-source.ts';
import { listEagerOutputs, measureBundle, readMetafile } from '../../../infra/bundle/sizes.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const MODELS = JSON.stringify({ models: { default: { targets: [{ provider: 'bedrock', model: 'some.model' }] } } });

let folder: string;
let models: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-bundle-'));
  models = join(folder, 'given-models.json');
  await writeFile(models, MODELS);
});
afterAll(() => rm(folder, { recursive: true }));

const bundleFixtures = (...names: string[]) =>
  bundleFunctions({
    outDir: join(folder, 'fixtures'),
    functions: names.map((name) => join(FIXTURES, `${name}.ts`)),
    models,
  });

/**
 * Returns the source files that contribute bytes to a bundle, or to a part: that which a start reads, or that which the
 * dynamic import of a module reads besides.
 */
async function listSources(bundle: Bundle, part: string = 'all'): Promise<string[]> {
  const metafile = await readMetafile(bundle);
  const outputs = listOutputs();
  return outputs.flatMap((output) =>
    Object.entries(metafile.outputs[output]?.inputs ?? {})
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([source]) => source),
  );

  function listOutputs(): string[] {
    if (part === 'all') return Object.keys(metafile.outputs);
    const start = listEagerOutputs(metafile);
    return part === 'eager' ? start : listEagerOutputs(metafile, part).filter((output) => !start.includes(output));
  }
}

const digest = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

const filterSources = (sources: readonly string[], pattern: RegExp) => sources.filter((source) => pattern.test(source));

/** The globals of Lambda's runtime that a function needs to load. */
const RUNTIME_GLOBALS = 'globalThis.awslambda = { streamifyResponse: (handler) => handler };';

/** Runs `code` in a new Node process that has only the variables of `env`. In it, `load` imports the bundle. */
async function runInFreshProcess(bundle: Bundle, code: string, env: Record<string, string> = {}): Promise<string> {
  const script = `${RUNTIME_GLOBALS}\nconst load = () => import(${JSON.stringify(bundle.file)});\n${code}`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { env });
  return stdout.trim();
}

describe("the functions' bundles", () => {
  /** Variables of deployed functions, with values that need no service. */
  const ENV = {
    AWS_REGION: 'eu-west-1',
    AWS_LAMBDA_FUNCTION_NAME: 'function',
    ACCESS_TABLE: 'access',
    ADMIN_TABLE: 'admin',
    USAGE_TABLE: 'usage',
    AUDIT_BUCKET: 'audit',
    AUDIT_KEY_ID: 'key',
    AUDIT_RETENTION_DAYS: '400',
    WARM_TARGETS: '[]',
    KMS_KEY_ID: 'key',
    KEYS_TABLE: 'keys',
    JOBS_TABLE: 'jobs',
    SESSIONS_TABLE: 'sessions',
    LIMITS_TABLE: 'limits',
    BUCKET: 'bucket',
    GENERATION_QUEUE_URL: 'http://127.0.0.1/queue',
    GENERATION_DLQ_URL: 'http://127.0.0.1/dead',
    JOBS_QUEUE_URL: 'http://127.0.0.1/jobs',
    JOBS_DLQ_URL: 'http://127.0.0.1/jobs-dead',
    GPU_QUEUE_URL: 'http://127.0.0.1/gpu',
    GPU_DLQ_URL: 'http://127.0.0.1/gpu-dead',
    FLEET_TABLE: 'fleet',
  };
  let bundles: Bundle[];

  beforeAll(async () => {
    bundles = await bundleFunctions({ outDir: join(folder, 'functions'), models });
  });

  const findBundle = (name: string) => {
    const bundle = bundles.find((candidate) => candidate.name === name);
    if (!bundle) throw new Error(`There is no function ${name}`);
    return bundle;
  };

  it('each bundle exports a handler when a new process without node_modules loads it', async () => {
    expect(bundles.map(({ name }) => name)).toEqual(expect.arrayContaining(['authorize', 'chat', 'warmup']));
    for (const bundle of bundles) {
      expect(await runInFreshProcess(bundle, 'console.log(typeof (await load()).handler)', ENV), bundle.name).toBe(
        'function',
      );
    }
  });

  it('the bundles contain no code that looks for credentials, a region or a token outside environment variables', async () => {
    for (const bundle of bundles) {
      const found = filterSources(
        await listSources(bundle),
        /@aws-sdk\/(credential-provider|token-providers)|nested-clients|loadSharedConfigFiles|InstanceMetadata|client-s(so|ts)/,
      );
      expect(found, bundle.name).toEqual([]);
    }
  });

  it('the bundles contain no HTTP/2, no WebSockets and no browser detection', async () => {
    for (const bundle of bundles) {
      expect(
        filterSources(await listSources(bundle), /node-builtin:http2|http2-|websocket\/|bowser|user-agent-browser/),
        bundle.name,
      ).toEqual([]);
    }
  });

  it('the bundles contain no code of the commands for operators', async () => {
    for (const bundle of bundles) {
      expect(
        filterSources(await listSources(bundle), /pagination\/Scan|vault\/tombstones|infra\/operate/),
        bundle.name,
      ).toEqual([]);
    }
  });

  it('the bundle of chat loads the storage code only when a request stores something', async () => {
    const chat = findBundle('chat');
    expect(filterSources(await listSources(chat), /client-(dynamodb|kms|sqs|s3)/)).not.toEqual([]);
    expect(filterSources(await listSources(chat, 'eager'), /shared\/(vault|sessions)|jobs\/(?!settings)/)).toEqual([]);
  });

  it('the bundle of chat loads the Bedrock SDK only when a request uses a Bedrock model', async () => {
    const chat = findBundle('chat');
    expect(filterSources(await listSources(chat), /client-bedrock-runtime/)).not.toEqual([]);
    expect(filterSources(await listSources(chat, 'eager'), /@aws-sdk|@smithy/)).toEqual([]);
  });

  it('the bundle of chat starts with the code of plain chat completions only', async () => {
    const sources = filterSources(await listSources(findBundle('chat'), 'eager'), /^(shared|functions)\//);
    const routes = [
      'encode-chat',
      'generation-routes',
      'governed-router',
      'handling-headers',
      'http-api',
      'messages-routes',
      'parse-context',
      'route-table',
    ];
    expect(filterSources(sources, /^shared\/api\//).sort()).toEqual(routes.map((name) => `shared/api/${name}.ts`));
    expect(
      filterSources(
        sources,
        /shared\/(anthropic|openai\/(responses|conversations|embeddings|lists|chat\/stored)|inference\/(embedding|strict-))/,
      ),
    ).toEqual([]);
    expect(filterSources(sources, /inference\/providers\/.*\//).sort()).toEqual([
      'shared/inference/providers/bedrock/family.ts',
      'shared/inference/providers/openai-compatible/dialect.ts',
    ]);
  });

  it.each([
    [undefined, false],
    ['on-demand', false],
    ['provisioned-concurrency', true],
  ])(
    'when the initialization type is %j, the start of chat loads the code of responses: %j',
    async (type, isLoaded) => {
      const chat = findBundle('chat');
      const { outputs } = await readMetafile(chat);
      const route = Object.keys(outputs).find(
        (path) => outputs[path]?.entryPoint === 'lazy:shared/api/create-response.ts',
      );
      const script = `
      const { registerHooks } = await import('node:module');
      const recordLoad = (url, context, next) => { console.log(url); return next(url, context); };
      registerHooks({ load: recordLoad });
      await load();`;
      const env = type === undefined ? ENV : { ...ENV, AWS_LAMBDA_INITIALIZATION_TYPE: type };
      const loaded = (await runInFreshProcess(chat, script, env)).split('\n').map((url) => basename(url));
      expect(loaded).toContain('index.mjs');
      expect(loaded.includes(basename(route ?? ''))).toBe(isLoaded);
    },
  );

  it('the bundles of workers load the format of a job with the first job that needs it', async () => {
    for (const name of ['generate', 'dispatch']) {
      const sources = await listSources(findBundle(name), 'eager');
      expect(filterSources(sources, /shared\/(anthropic|openai\/(chat|responses))\//), name).toEqual([]);
    }
  });

  it('the bundle of chat reads at most 125 KB at start', async () => {
    expect((await measureBundle(findBundle('chat'))).eagerBytes).toBeLessThanOrEqual(125_000);
  });

  it('each bundle reads at most six files at start', async () => {
    for (const bundle of bundles) {
      expect(listEagerOutputs(await readMetafile(bundle)).length, bundle.name).toBeLessThanOrEqual(6);
    }
  });

  it('the bundle of chat loads only the format of responses for a response that uses nothing stored', async () => {
    const chat = findBundle('chat');
    const sources = await listSources(chat, 'shared/api/create-response.ts');
    expect(filterSources(sources, /openai\/responses\/request/)).not.toEqual([]);
    expect(
      filterSources(
        sources,
        /@aws-sdk|@smithy|gpt-tokenizer|json-schema\/dist|shared\/(anthropic|vault|sessions|jobs\/(?!settings)|openai\/(responses\/stored|lists)|api\/(?!create-response|encode-response|handling-headers))/,
      ),
    ).toEqual([]);
  });

  it('the bundles of authorize and warmup contain no model provider, and one AWS client each', async () => {
    expect(
      filterSources(await listSources(findBundle('authorize')), /inference|bedrock|@aws-sdk\/client-(?!dynamodb)/),
    ).toEqual([]);
    expect(
      filterSources(await listSources(findBundle('warmup')), /inference|bedrock|@aws-sdk\/client-(?!lambda)/),
    ).toEqual([]);
  });

  it('a bundle includes the model registry only if its function reads it', async () => {
    expect(await readFile(join(findBundle('chat').file, '../models.json'), 'utf8')).toBe(MODELS);
    expect(await readdir(join(findBundle('authorize').file, '..'))).not.toContain('models.json');
  });
});

describe('bundleFunctions', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it.each([undefined, ''])(
    "bundleFunctions uses the repository's models.json when MODELS_FILE is %j",
    async (value) => {
      vi.stubEnv('MODELS_FILE', value);
      const outDir = join(folder, 'unset');
      await bundleFunctions({ outDir, functions: ['functions/chat.ts'] });
      const repository = await readFile(join(import.meta.dirname, '../../../models.json'), 'utf8');
      expect(await readFile(join(outDir, 'chat/models.json'), 'utf8')).toBe(repository);
    },
  );

  it('bundleFunctions writes the same bytes for the same sources to any folder', async () => {
    const functions = [join(FIXTURES, 'calls-bedrock.ts')];
    const digests = async (outDir: string) => {
      await bundleFunctions({ outDir, functions });
      const files = (await readdir(join(outDir, 'calls-bedrock'))).sort();
      return Promise.all(files.map(async (file) => [file, await digest(join(outDir, 'calls-bedrock', file))]));
    };
    expect(await digests(join(folder, 'once'))).toEqual(await digests(join(folder, 'another/place')));
  });

  it('bundleFunctions leaves dynamically imported modules out of the part that a start reads', async () => {
    const [bundle] = await bundleFixtures('calls-bedrock');
    if (!bundle) throw new Error('There is no bundle');
    const { eagerBytes, sizeBytes } = await measureBundle(bundle);
    expect(eagerBytes).toBeLessThan(2_000);
    expect(sizeBytes).toBeGreaterThan(100_000);
  });

  it('bundleFunctions deletes files of an earlier bundle', async () => {
    const [bundle] = await bundleFixtures('calls-bedrock');
    const stale = join(bundle?.file ?? '', '../stale-chunk.mjs');
    await writeFile(stale, '');
    await bundleFixtures('calls-bedrock');
    expect(await readdir(join(stale, '..'))).not.toContain('stale-chunk.mjs');
  });

  it('bundleFunctions names the file that imports a missing package', async () => {
    const source = join(folder, 'wishful.ts');
    await writeFile(source, "export { handler } from 'no-such-package';\n");
    await expect(bundleFunctions({ outDir: folder, functions: [source] })).rejects.toThrow(
      /wishful\.ts can't be bundled:.*Could not resolve "no-such-package".*wishful\.ts:1/s,
    );
  });

  it('bundleFunctions writes source maps that find a place of a stack trace in the source', async () => {
    const [bundle] = await bundleFixtures('calls-bedrock');
    const code = await readFile(bundle?.file ?? '', 'utf8');
    const place = `file:///var/task/index.mjs:1:${code.indexOf('loaded before the client')}`;
    expect(await findSource(join(folder, 'fixtures'), 'calls-bedrock', place)).toMatch(
      /^test\/infra\/bundle\/fixtures\/calls-bedrock\.ts:4:\d+$/,
    );
  });
});

describe('an AWS client in a bundle', () => {
  interface Seen {
    readonly headers: IncomingHttpHeaders;
    readonly httpVersion: string;
  }
  const AWS = { AWS_REGION: 'eu-central-1', AWS_ACCESS_KEY_ID: 'AKIDROLE', AWS_SECRET_ACCESS_KEY: 'secret' };
  let bedrock: Bundle;
  let dynamodb: Bundle;
  let servers: Server[] = [];

  beforeAll(async () => {
    const [first, second] = await bundleFixtures('calls-bedrock', 'calls-dynamodb');
    if (!first || !second) throw new Error('The fixtures were not bundled');
    [bedrock, dynamodb] = [first, second];
  });
  afterEach(() => {
    for (const server of servers) server.close();
    servers = [];
  });

  /** A stand-in for any JSON service: answers every request with `status` and records it. */
  async function startService(status = 200) {
    const seen: Seen[] = [];
    const server = createServer(({ headers, httpVersion }, response) => {
      seen.push({ headers, httpVersion });
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
    }).listen(0, '127.0.0.1');
    servers.push(server);
    await new Promise((listening) => server.once('listening', listening));
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
  }

  const call = (bundle: Bundle, env: Record<string, string>) =>
    runInFreshProcess(
      bundle,
      `try { await (await load()).handler(); } catch (error) { console.log(error.message); }`,
      env,
    );

  it("an AWS client in a bundle signs requests for its region with its role's credentials, session token included", async () => {
    for (const [bundle, name] of [
      [bedrock, 'bedrock'],
      [dynamodb, 'dynamodb'],
    ] as const) {
      const { url, seen } = await startService();
      expect(await call(bundle, { ...AWS, AWS_SESSION_TOKEN: 'session', AWS_ENDPOINT_URL: url })).toBe('');
      expect(seen[0]?.headers.authorization).toMatch(
        new RegExp(`^AWS4-HMAC-SHA256 Credential=AKIDROLE/\\d{8}/eu-central-1/${name}/aws4_request`),
      );
      expect(seen[0]?.headers['x-amz-security-token']).toBe('session');
      expect(seen[0]?.httpVersion).toBe('1.1');
    }
  });

  it("an AWS client in a bundle prefers its own service's endpoint variable to the common one", async () => {
    const [own, common] = [await startService(), await startService()];
    const env = { ...AWS, AWS_ENDPOINT_URL: common.url };
    await call(bedrock, { ...env, AWS_ENDPOINT_URL_BEDROCK_RUNTIME: own.url });
    await call(dynamodb, { ...env, AWS_ENDPOINT_URL_DYNAMODB: own.url });
    expect([own.seen.length, common.seen.length]).toEqual([2, 0]);
  });

  it('an AWS client in a bundle sends the trace id of the invocation where one process serves many invocations', async () => {
    const { url, seen } = await startService();
    const env = { ...AWS, AWS_ENDPOINT_URL: url, AWS_LAMBDA_MAX_CONCURRENCY: '2', AWS_LAMBDA_FUNCTION_NAME: 'f' };
    const store = "{ getXRayTraceId: () => 'Root=1-5' }";
    await runInFreshProcess(dynamodb, `awslambda.InvokeStore = ${store}; await (await load()).handler();`, env);
    expect(seen[0]?.headers['x-amzn-trace-id']).toBe('Root=1-5');
  });

  it('an AWS client in a bundle takes a Bedrock API key from its environment', async () => {
    const { url, seen } = await startService();
    await call(bedrock, { ...AWS, AWS_ENDPOINT_URL: url, AWS_BEARER_TOKEN_BEDROCK: 'bedrock-key' });
    expect(seen[0]?.headers.authorization).toBe('Bearer bedrock-key');
  });

  it('an AWS client in a bundle retries as often as AWS_MAX_ATTEMPTS says', async () => {
    const { url, seen } = await startService(500);
    await call(dynamodb, { ...AWS, AWS_ENDPOINT_URL: url, AWS_MAX_ATTEMPTS: '2' });
    expect(seen).toHaveLength(2);
  });

  it("an AWS client in a bundle does not read the developer's AWS profile", async () => {
    const profile = await startService();
    const home = await mkdtemp(join(folder, 'home-'));
    const config = join(home, 'config');
    await writeFile(
      config,
      `[default]\nendpoint_url = ${profile.url}\naws_access_key_id = A\naws_secret_access_key = B\n`,
    );
    const env = {
      AWS_REGION: 'eu-central-1',
      AWS_CONFIG_FILE: config,
      AWS_SHARED_CREDENTIALS_FILE: config,
      HOME: home,
    };
    expect(await call(dynamodb, env)).toMatch(/AWS_ACCESS_KEY_ID/);
    expect(profile.seen).toEqual([]);
  });
});
