import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { bundleFunctions, eagerOutputs } from '../../infra/bundle/build.ts';
import type { Bundle } from '../../infra/bundle/bundle.ts';
import { sourceOfPlace } from '../../infra/bundle/places.ts';

const FIXTURES = join(import.meta.dirname, 'bundle-fixtures');
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

/** Source files with at least one byte in `outputs` of the bundle; all outputs when absent. */
function sourcesIn({ metafile }: Bundle, outputs = Object.keys(metafile.outputs)): string[] {
  return outputs.flatMap((output) =>
    Object.entries(metafile.outputs[output]?.inputs ?? {})
      .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
      .map(([source]) => source),
  );
}

const digest = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

const matching = (sources: readonly string[], pattern: RegExp) => sources.filter((source) => pattern.test(source));

/** What Lambda's runtime gives to every function, as far as loading one needs it. */
const RUNTIME_GLOBALS = 'globalThis.awslambda = { streamifyResponse: (handler) => handler };';

/** Runs `code` in a fresh Node process that has only the variables of `env`; `load` in it imports the bundle. */
async function inFreshProcess(bundle: Bundle, code: string, env: Record<string, string> = {}): Promise<string> {
  const script = `${RUNTIME_GLOBALS}\nconst load = () => import(${JSON.stringify(bundle.file)});\n${code}`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { env });
  return stdout.trim();
}

describe("the functions' bundles", () => {
  /** Variables that a deployed function has; values that need no service. */
  const ENV = {
    AWS_REGION: 'eu-west-1',
    AWS_LAMBDA_FUNCTION_NAME: 'function',
    ACCESS_TABLE: 'access',
    WARM_TARGETS: '[]',
    KMS_KEY_ID: 'key',
    KEYS_TABLE: 'keys',
    JOBS_TABLE: 'jobs',
    SESSIONS_TABLE: 'sessions',
    BUCKET: 'bucket',
    GENERATION_QUEUE_URL: 'http://127.0.0.1/queue',
    GENERATION_DLQ_URL: 'http://127.0.0.1/dead',
    GPU_QUEUE_URL: 'http://127.0.0.1/gpu',
    GPU_DLQ_URL: 'http://127.0.0.1/gpu-dead',
    FLEET_TABLE: 'fleet',
  };
  let bundles: Bundle[];

  beforeAll(async () => {
    bundles = await bundleFunctions({ outDir: join(folder, 'functions'), models });
  });

  const bundleOf = (name: string) => {
    const bundle = bundles.find((candidate) => candidate.name === name);
    if (!bundle) throw new Error(`there is no function ${name}`);
    return bundle;
  };

  test('each exports a handler when it loads in a fresh process, with nothing installed beside it', async () => {
    expect(bundles.map(({ name }) => name)).toEqual(expect.arrayContaining(['authorize', 'chat', 'warmup']));
    for (const bundle of bundles) {
      expect(await inFreshProcess(bundle, 'console.log(typeof (await load()).handler)', ENV), bundle.name).toBe(
        'function',
      );
    }
  }, 30_000);

  test('none can look for credentials, a region or a token outside of its environment variables', () => {
    for (const bundle of bundles) {
      const found = matching(
        sourcesIn(bundle),
        /@aws-sdk\/(credential-provider|token-providers)|nested-clients|loadSharedConfigFiles|InstanceMetadata|client-s(so|ts)/,
      );
      expect(found, bundle.name).toEqual([]);
    }
  });

  test('none carries HTTP/2, websockets or a parser of browsers', () => {
    for (const bundle of bundles) {
      expect(
        matching(sourcesIn(bundle), /node-builtin:http2|http2-|websocket\/|bowser|user-agent-browser/),
        bundle.name,
      ).toEqual([]);
    }
  });

  test('none carries what operators do', () => {
    for (const bundle of bundles) {
      expect(matching(sourcesIn(bundle), /pagination\/Scan|vault\/tombstones|infra\/operate/), bundle.name).toEqual([]);
    }
  });

  test('chat reads what keeps state only when a request stores something', () => {
    const chat = bundleOf('chat');
    expect(matching(sourcesIn(chat), /client-(dynamodb|kms|sqs|s3)/)).not.toEqual([]);
    expect(
      matching(sourcesIn(chat, eagerOutputs(chat.metafile)), /shared\/(vault|sessions)|jobs\/(?!settings)/),
    ).toEqual([]);
  });

  test('chat reads the Bedrock SDK only when a Bedrock model is asked for', () => {
    const chat = bundleOf('chat');
    expect(matching(sourcesIn(chat), /client-bedrock-runtime/)).not.toEqual([]);
    expect(matching(sourcesIn(chat, eagerOutputs(chat.metafile)), /@aws-sdk|@smithy/)).toEqual([]);
  });

  test('authorize and warmup carry no model provider, and each only its own AWS client', () => {
    expect(matching(sourcesIn(bundleOf('authorize')), /inference|bedrock|@aws-sdk\/client-(?!dynamodb)/)).toEqual([]);
    expect(matching(sourcesIn(bundleOf('warmup')), /inference|bedrock|@aws-sdk\/client-(?!lambda)/)).toEqual([]);
  });

  test('the model registry lies beside the functions that read it, and beside no other', async () => {
    expect(await readFile(join(bundleOf('chat').file, '../models.json'), 'utf8')).toBe(MODELS);
    expect(await readdir(join(bundleOf('authorize').file, '..'))).not.toContain('models.json');
  });
});

describe('bundling', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test.each([undefined, ''])('takes the models of the repository when MODELS_FILE is %j', async (value) => {
    vi.stubEnv('MODELS_FILE', value);
    const outDir = join(folder, 'unset');
    await bundleFunctions({ outDir, functions: ['functions/chat.ts'] });
    const repository = await readFile(join(import.meta.dirname, '../../models.json'), 'utf8');
    expect(await readFile(join(outDir, 'chat/models.json'), 'utf8')).toBe(repository);
  });

  test('gives the same bytes for the same sources, wherever they are written', async () => {
    const functions = [join(FIXTURES, 'asks-bedrock.ts')];
    const digests = async (outDir: string) => {
      await bundleFunctions({ outDir, functions });
      const files = (await readdir(join(outDir, 'asks-bedrock'))).sort();
      return Promise.all(files.map(async (file) => [file, await digest(join(outDir, 'asks-bedrock', file))]));
    };
    expect(await digests(join(folder, 'once'))).toEqual(await digests(join(folder, 'another/place')));
  });

  test('keeps what is imported dynamically out of what a start reads', async () => {
    const [bundle] = await bundleFixtures('asks-bedrock');
    expect(bundle?.eagerBytes).toBeLessThan(2_000);
    expect(bundle?.sizeBytes).toBeGreaterThan(100_000);
  });

  test('leaves nothing of an earlier bundle behind', async () => {
    const [bundle] = await bundleFixtures('asks-bedrock');
    const stale = join(bundle?.file ?? '', '../stale-chunk.mjs');
    await writeFile(stale, '');
    await bundleFixtures('asks-bedrock');
    expect(await readdir(join(stale, '..'))).not.toContain('stale-chunk.mjs');
  });

  test('says which file imports what does not exist', async () => {
    const source = join(folder, 'wishful.ts');
    await writeFile(source, "export { handler } from 'no-such-package';\n");
    await expect(bundleFunctions({ outDir: folder, functions: [source] })).rejects.toThrow(
      /wishful\.ts can't be bundled:.*Could not resolve "no-such-package".*wishful\.ts:1/s,
    );
  });

  test('finds the source of a place in a stack trace', async () => {
    const [bundle] = await bundleFixtures('asks-bedrock');
    const code = await readFile(bundle?.file ?? '', 'utf8');
    const place = `file:///var/task/index.mjs:1:${code.indexOf('loaded before the client')}`;
    expect(await sourceOfPlace(join(folder, 'fixtures'), 'asks-bedrock', place)).toMatch(
      /^test\/infra\/bundle-fixtures\/asks-bedrock\.ts:4:\d+$/,
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
    const [first, second] = await bundleFixtures('asks-bedrock', 'asks-dynamodb');
    if (!first || !second) throw new Error('the fixtures were not bundled');
    [bedrock, dynamodb] = [first, second];
  });
  afterEach(() => {
    for (const server of servers) server.close();
    servers = [];
  });

  /** A stand-in for any JSON service: answers every request with `status`, and tells what it saw. */
  async function service(status = 200) {
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
    inFreshProcess(
      bundle,
      `try { await (await load()).handler(); } catch (error) { console.log(error.message); }`,
      env,
    );

  test("signs with its role's credentials, session token included, for its region", async () => {
    for (const [bundle, name] of [
      [bedrock, 'bedrock'],
      [dynamodb, 'dynamodb'],
    ] as const) {
      const { url, seen } = await service();
      expect(await call(bundle, { ...AWS, AWS_SESSION_TOKEN: 'session', AWS_ENDPOINT_URL: url })).toBe('');
      expect(seen[0]?.headers.authorization).toMatch(
        new RegExp(`^AWS4-HMAC-SHA256 Credential=AKIDROLE/\\d{8}/eu-central-1/${name}/aws4_request`),
      );
      expect(seen[0]?.headers['x-amz-security-token']).toBe('session');
      expect(seen[0]?.httpVersion).toBe('1.1');
    }
  });

  test("goes to its own service's endpoint variable before the common one", async () => {
    const [own, common] = [await service(), await service()];
    const env = { ...AWS, AWS_ENDPOINT_URL: common.url };
    await call(bedrock, { ...env, AWS_ENDPOINT_URL_BEDROCK_RUNTIME: own.url });
    await call(dynamodb, { ...env, AWS_ENDPOINT_URL_DYNAMODB: own.url });
    expect([own.seen.length, common.seen.length]).toEqual([2, 0]);
  });

  test('takes a Bedrock API key from its environment', async () => {
    const { url, seen } = await service();
    await call(bedrock, { ...AWS, AWS_ENDPOINT_URL: url, AWS_BEARER_TOKEN_BEDROCK: 'bedrock-key' });
    expect(seen[0]?.headers.authorization).toBe('Bearer bedrock-key');
  });

  test('retries as often as its environment says', async () => {
    const { url, seen } = await service(500);
    await call(dynamodb, { ...AWS, AWS_ENDPOINT_URL: url, AWS_MAX_ATTEMPTS: '2' });
    expect(seen).toHaveLength(2);
  });

  test("does not read the developer's own profile", async () => {
    const profile = await service();
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
