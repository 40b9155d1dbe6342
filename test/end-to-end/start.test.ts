import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import { sendRaw } from '../local/access/signed-requests.ts';
import { waitUntil } from '../wait.ts';

const ROOT = resolve(import.meta.dirname, '../..');
let stateDir: string;
let children: ChildProcess[];
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'lambent-start-'));
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(stateDir, { recursive: true, force: true });
});

/** Runs the command of `npm start` without GPU workers and without variables that would select a model. */
function start(environment: Record<string, string> = {}, args: readonly string[] = []) {
  const child = spawn(process.execPath, ['local/start.js', ...args], {
    cwd: ROOT,
    env: {
      PATH: process.env['PATH'],
      HOME: stateDir,
      STATE_DIR: stateDir,
      PORT: '0',
      GPU_WORKERS: '0',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  const ready = new Promise<string>((resolveReady, reject) => {
    const read = (chunk: Buffer) => {
      output += chunk.toString();
      const url = /^ready (\S+)$/m.exec(output)?.[1];
      if (url !== undefined) resolveReady(url);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    // The output may arrive after the exit, but not after the end of its pipes.
    child.on('close', (code) => reject(new Error(`exited with ${code}: ${output}`)));
  });
  return { child, ready, output: () => output };
}

/** Reads the variables that the shell script `env` in the state folder sets. */
async function readEnvironmentFile(): Promise<Record<string, string>> {
  const text = await readFile(join(stateDir, 'env'), 'utf8');
  return Object.fromEntries([...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
}

/** Lists pid, parent pid and title of the processes of `chat`, `authorize` and the GPU workers. */
async function listProcesses(): Promise<string[]> {
  const list = spawn('ps', ['-eo', 'pid,ppid,args']);
  let text = '';
  list.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(list, 'close');
  return text.split('\n').filter((line) => /lambda:(chat|authorize)|gpu-worker:/.test(line));
}

describe('npm start', () => {
  it('npm start serves the guide, and on Ctrl-C ends all processes that it started', async () => {
    // An empty variable leaves the number of workers at its default.
    const { child, ready, output } = start({ GPU_WORKERS: '' });
    const client = new OpenAI({ baseURL: await ready, apiKey: 'sk-local', maxRetries: 0 });
    const answer = await client.chat.completions.create({
      model: 'default',
      messages: [{ role: 'user', content: 'What is Lambent?' }],
    });
    expect(answer.choices[0]?.message.content).toMatch(/Lambent/);
    expect(output()).toMatch(/guide/);
    const processes = (await listProcesses()).filter((line) => Number(line.trim().split(/\s+/)[1]) === child.pid);
    expect(processes.filter((line) => line.includes('lambda:')).length).toBeGreaterThan(0);
    expect(processes.filter((line) => line.includes('gpu-worker:')).length).toBe(2);
    child.kill('SIGINT');
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
    const pids = processes.map((line) => Number(line.trim().split(/\s+/)[0]));
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow();
  });

  it('a key that was added to the access table works after a restart of npm start', async () => {
    const first = start();
    await first.ready;
    const variables = await readEnvironmentFile();
    const tables = new DynamoDBClient({
      endpoint: variables['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
      region: variables['AWS_REGION'] ?? '',
      credentials: {
        accessKeyId: variables['AWS_ACCESS_KEY_ID'] ?? '',
        secretAccessKey: variables['AWS_SECRET_ACCESS_KEY'] ?? '',
      },
    });
    const Item = createKeyItem('sk-mine', { tenant: 'mine', keyId: 'mine-1', scopes: ['models'] });
    await tables.send(new PutItemCommand({ TableName: variables['ACCESS_TABLE'], Item }));
    first.child.kill('SIGINT');
    await once(first.child, 'exit');
    expect(first.output()).not.toMatch(/GPU/);
    const client = new OpenAI({ baseURL: await start().ready, apiKey: 'sk-mine', maxRetries: 0 });
    expect((await client.models.list()).data.map(({ id }) => id)).toContain('default');
  });

  it('everything that npm start writes into its state folder is for its owner only', async () => {
    await start().ready;
    const paths = await readdir(stateDir, { recursive: true });
    expect(paths).toContain('credentials.json');
    for (const path of paths) {
      // The stores replace some files at any time.
      const mode = await stat(join(stateDir, path)).then(
        (found) => found.mode,
        (thrown: unknown) => (Object(thrown).code === 'ENOENT' ? 0 : Promise.reject(thrown)),
      );
      expect(mode & 0o077, path).toBe(0);
    }
  });

  it('npm start ignores variables that its .local/env has set in the terminal', async () => {
    const first = start();
    await first.ready;
    const variables = await readEnvironmentFile();
    first.child.kill('SIGINT');
    await once(first.child, 'exit');
    const again = start(variables);
    await again.ready;
    expect(again.output()).toMatch(/guide/);
    expect(again.output()).not.toMatch(/AWS credentials/);
  });

  it.each([['99999'], ['web']])('npm start rejects PORT=%s', async (PORT) => {
    const { child, ready, output } = start({ PORT });
    await expect(ready).rejects.toThrow();
    expect(child.exitCode).toBe(1);
    expect(output()).toMatch(/PORT/);
  });

  it.each([['http://lambent.internal'], ['lambent.internal:80'], ['a b']])(
    'npm start rejects ALLOWED_HOSTS=%s',
    async (ALLOWED_HOSTS) => {
      const { ready, output } = start({ ALLOWED_HOSTS });
      await expect(ready).rejects.toThrow();
      expect(output()).toMatch(/ALLOWED_HOSTS.* must be host names/);
    },
  );

  it('npm start accepts the hosts of ALLOWED_HOSTS in any case', async () => {
    const url = await start({ ALLOWED_HOSTS: 'other.internal, Lambent.Internal' }).ready;
    const headers = { authorization: 'Bearer sk-local', host: 'lambent.INTERNAL:80' };
    expect((await sendRaw(url, { method: 'GET', path: '/v1/models', headers })).status).toBe(200);
    const evil = { ...headers, host: 'evil.example' };
    expect((await sendRaw(url, { method: 'GET', path: '/v1/models', headers: evil })).status).toBe(403);
  });

  it.each([['9'], ['-1']])('npm start rejects GPU_WORKERS=%s', async (GPU_WORKERS) => {
    const { ready, output } = start({ GPU_WORKERS });
    await expect(ready).rejects.toThrow();
    expect(output()).toMatch(/GPU_WORKERS must be/);
  });

  it('npm start starts no GPU workers if MODELS_FILE is set, and prints that GPU_WORKERS is ignored', async () => {
    const models = join(stateDir, 'mine.json');
    const target = { provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1:1/v1' };
    await writeFile(models, JSON.stringify({ models: { default: { targets: [target] } } }));
    const { child, ready, output } = start({ MODELS_FILE: models, GPU_WORKERS: '3' });
    await ready;
    expect(output()).toMatch(/^GPU: GPU_WORKERS=3 is ignored because MODELS_FILE is set/m);
    expect(await listProcesses()).not.toContainEqual(expect.stringMatching(`${child.pid} .*gpu-worker:`));
  });

  it('npm start prints which keys of the models file are not set, and the functions log them', async () => {
    const models = join(stateDir, 'mine.json');
    const targets = [
      { provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'env:NO_KEY' },
    ];
    const workers = [{ id: 'w1', url: 'http://127.0.0.1:1/v1' }];
    const registry = {
      models: { default: { targets }, gpu: { targets: [{ provider: 'gpu', model: 'm', fleet: 'rack' }] } },
      fleets: { rack: { apiKey: 'env:NO_FLEET_KEY', workers } },
    };
    await writeFile(models, JSON.stringify(registry));
    const { ready, output } = start({ MODELS_FILE: models, LOG: '1' });
    const client = new OpenAI({ baseURL: await ready, apiKey: 'sk-local', maxRetries: 0 });
    expect(output()).toMatch(/^Keys: NO_KEY is not set\. Requests to models\.default fail/m);
    expect(output()).toMatch(/^Keys: NO_FLEET_KEY is not set\. Requests to fleets\.rack fail/m);
    for (const [model, key] of [
      ['default', 'env:NO_KEY'],
      ['gpu', 'env:NO_FLEET_KEY'],
    ] as const) {
      const completion = client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hello' }] });
      const error = await completion.catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ status: 500, code: 'upstream_misconfigured' });
      expect(JSON.stringify(error)).not.toContain(key);
      const line = new RegExp(`^chat \\|.*"message":"request failed".*"reason":"${key} is missing or empty"`, 'm');
      await waitUntil(`the output has ${line}`, () => line.test(output()));
    }
    const line = /^fleet \|.*"fleet":"rack".*"reason":"env:NO_FLEET_KEY is missing or empty"/m;
    await waitUntil(`the output has ${line}`, () => line.test(output()));
  });

  it('npm start prints an error without a stack trace if its port is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? String(address?.port) : '';
    const { child, ready, output } = start({ PORT: port });
    await expect(ready).rejects.toThrow();
    expect(child.exitCode).toBe(1);
    expect(output()).toMatch(new RegExp(`port ${port}`, 'i'));
    expect(output()).not.toMatch(/ at .*\.ts:/);
    other.close();
  });

  it('npm start prints the name of a models file that is not valid', async () => {
    const { ready, output } = start({ MODELS_FILE: join(ROOT, 'package.json') });
    await expect(ready).rejects.toThrow();
    expect(output()).toMatch(/package\.json/);
  });

  it('npm start prints the name of a models file that is missing, in one line', async () => {
    const { ready, output } = start({ MODELS_FILE: 'missing.json' });
    await expect(ready).rejects.toThrow();
    expect(output()).toBe(`The model registry ${join(ROOT, 'missing.json')} can't be read\n`);
  });

  it('npm start rejects arguments, which it would otherwise ignore', async () => {
    const { ready, output } = start({}, ['--port=3001']);
    await expect(ready).rejects.toThrow();
    expect(output()).toMatch(/^npm start takes no arguments, not '--port=3001'\. .*PORT.*\n$/);
  });
});
