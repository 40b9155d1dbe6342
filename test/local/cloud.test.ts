import { readFileSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { DescribeTableCommand, DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Cloud, type CloudOptions, startCloud } from '../../local/cloud.ts';
import { sendRaw } from './access/signed-requests.ts';
import { BUNDLES, closeAfterwards, isAlive, until, useCleanup } from './runners.ts';

useCleanup();
afterEach(() => void vi.unstubAllEnvs());

async function createStateDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(dir, { recursive: true, force: true }) });
  return dir;
}

/** Starts a cloud with the fixture service. Closing it twice is allowed. */
async function startIn(dir: string, options: Partial<CloudOptions> = {}): Promise<Cloud> {
  const root = resolve(import.meta.dirname, 'fixtures/service');
  const common = { stateDir: dir, root, bundlesDir: BUNDLES, bedrock: async function* () {}, schedules: false };
  const cloud = await startCloud({ ...common, ...options });
  let closed: Promise<void> | undefined;
  const once = { ...cloud, close: () => (closed ??= cloud.close()) };
  return closeAfterwards(once);
}

function connectToTables({ endpoints, credentials }: Cloud): DynamoDBClient {
  const client = new DynamoDBClient({
    endpoint: endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    region: 'eu-central-1',
    credentials,
  });
  return closeAfterwards(Object.assign(client, { close: () => client.destroy() }));
}

const createClientOptions = ({ endpoints, credentials }: Cloud, service: string) => ({
  endpoint: endpoints[`AWS_ENDPOINT_URL_${service}`] ?? '',
  region: 'eu-central-1',
  credentials,
});

function connectToObjects(cloud: Cloud): S3Client {
  const client = new S3Client(createClientOptions(cloud, 'S3'));
  return closeAfterwards(Object.assign(client, { close: () => client.destroy() }));
}

function connectToQueue(cloud: Cloud): { sqs: SQSClient; QueueUrl: string } {
  const sqs = new SQSClient(createClientOptions(cloud, 'SQS'));
  closeAfterwards({ close: () => sqs.destroy() });
  return { sqs, QueueUrl: cloud.resources['WORK_QUEUE_URL'] ?? '' };
}

const getOrigin = ({ url }: Cloud) => new URL(url).origin;

describe('the cloud', () => {
  it('the cloud serves the routes of the service through the authorizer', async () => {
    const cloud = await startIn(await createStateDir());
    const headers = { authorization: 'Bearer good' };
    const answer = await fetch(`${getOrigin(cloud)}/items/7`, { headers });
    expect(await answer.json()).toMatchObject({ pathParameters: { id: '7' }, requestContext: { stage: 'local' } });
    const streamed = await fetch(`${getOrigin(cloud)}/stream`, { method: 'POST', headers, body: '{}' });
    expect(await streamed.text()).toBe('onetwo');
    const refused = await fetch(`${getOrigin(cloud)}/items/7`);
    expect([refused.status, await refused.json()]).toEqual([401, { error: 'who are you?' }]);
    expect(refused.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("functions get the endpoints, serverless.yml's variables and the variables in startCloud's options", async () => {
    const cloud = await startIn(await createStateDir(), {
      environment: { MODELS_FILE: '/models.json', COLOR: 'green' },
    });
    const { body } = await cloud.invoke('echo', '{"env":true}');
    expect(JSON.parse(await text(body))).toMatchObject({
      ...cloud.endpoints,
      TABLE: 'fixture-local-items',
      QUEUE: `${cloud.endpoints['AWS_ENDPOINT_URL_SQS']}/000000000000/fixture-work`,
      COUNT: '7',
      COLOR: 'green',
      MODELS_FILE: '/models.json',
    });
    expect(Object.keys(cloud.endpoints).sort()).toEqual([
      'AWS_ENDPOINT_URL_BEDROCK_RUNTIME',
      'AWS_ENDPOINT_URL_DYNAMODB',
      'AWS_ENDPOINT_URL_KMS',
      'AWS_ENDPOINT_URL_LAMBDA',
      'AWS_ENDPOINT_URL_S3',
      'AWS_ENDPOINT_URL_SQS',
    ]);
  });

  it("functions call Bedrock in AWS with the user's credentials, and stand-ins for the other services", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAUSER');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
    const cloud = await startIn(await createStateDir(), { bedrock: 'aws', region: 'us-west-2' });
    const { body } = await cloud.invoke('echo', '{"env":true}');
    const env = JSON.parse(await text(body));
    expect(env).toMatchObject({ AWS_ACCESS_KEY_ID: 'AKIAUSER', AWS_REGION: 'us-west-2', ...cloud.endpoints });
    expect(env).not.toHaveProperty('AWS_ENDPOINT_URL_BEDROCK_RUNTIME');
    expect(cloud.endpoints).toHaveProperty('AWS_ENDPOINT_URL_DYNAMODB');
  });

  it.runIf(process.platform === 'linux')('the cloud listens on 127.0.0.1 only', async () => {
    const cloud = await startIn(await createStateDir());
    const listening = readFileSync(`/proc/${process.pid}/net/tcp`, 'utf8').split('\n');
    for (const url of [cloud.url, ...Object.values(cloud.endpoints)]) {
      const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0');
      const addresses = listening
        .filter((line) => line.includes(`:${port} 00000000:0000 0A`))
        .map((line) => line.trim().split(/[ :]+/)[1]);
      expect(addresses).toEqual(['0100007F']);
    }
  });

  it('the cloud has the tables and indexes that the service defines', async () => {
    const cloud = await startIn(await createStateDir());
    const { Table } = await connectToTables(cloud).send(new DescribeTableCommand({ TableName: 'fixture-local-items' }));
    expect(Table).toMatchObject({ TableStatus: 'ACTIVE', GlobalSecondaryIndexes: [{ IndexName: 'due' }] });
  });

  it('the cloud has the queues that the service defines, with their attributes', async () => {
    const cloud = await startIn(await createStateDir());
    const url = cloud.resources['WORK_QUEUE_URL'] ?? '';
    const { sqs } = connectToQueue(cloud);
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['All'] }));
    expect(Attributes).toMatchObject({
      VisibilityTimeout: '60',
      RedrivePolicy: expect.stringContaining('fixture-local-DeadQueue'),
    });
  });

  it('the cloud has the bucket and the key that the service defines, and both survive a restart', async () => {
    const dir = await createStateDir();
    const first = await startIn(dir);
    const { body } = await first.invoke('echo', '{"env":true}');
    body.resume();
    const { BODIES_BUCKET: Bucket, SEALING_KEY_ID, KMS_KEY_ID } = first.resources;
    expect(Bucket).toBe('fixture-local-bodiesbucket');
    expect(KMS_KEY_ID).toBe(SEALING_KEY_ID);
    const put = new PutObjectCommand({ Bucket, Key: 'acme/job/1/input', Body: 'sealed' });
    await connectToObjects(first).send(put);
    await first.close();
    const second = await startIn(dir);
    expect(second.resources['KMS_KEY_ID']).toBe(KMS_KEY_ID);
    const { Body } = await connectToObjects(second).send(new GetObjectCommand({ Bucket, Key: 'acme/job/1/input' }));
    expect(await Body?.transformToString()).toBe('sealed');
  });

  it('the cloud delivers queue messages to their function, even after SQS restarted with empty queues', async () => {
    const bodies: string[] = [];
    const onLog = ({ text: line }: { text: string }) => bodies.push(JSON.parse(line).body);
    const cloud = await startIn(await createStateDir(), { onLog });
    const { QueueUrl, sqs } = connectToQueue(cloud);
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{"n":1}' }));
    await until(() => bodies.includes('{"n":1}') && cloud.runningMessages() === 0);
    await cloud.restartQueues(50);
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{"n":2}' }));
    await until(() => bodies.includes('{"n":2}'));
  });

  it('an invocation waits until the bundle of its function is complete', async () => {
    const bundled = Promise.withResolvers<void>();
    const cloud = await startIn(await createStateDir(), {
      whenBundled: async (name) => (name === 'echo' ? bundled.promise : undefined),
    });
    let status = 0;
    const request = fetch(`${getOrigin(cloud)}/items`, { method: 'POST', body: '{}' }).then((response) => {
      status = response.status;
    });
    const headers = { authorization: 'Bearer good' };
    await (await fetch(`${getOrigin(cloud)}/stream`, { method: 'POST', headers, body: '{}' })).text();
    expect([status, cloud.processes().map((each) => each.function)]).toEqual([0, ['authorizer', 'stream']]);
    bundled.resolve();
    await request;
    expect(status).toBe(200);
  });

  it('the cloud locks its state folder before it prepares settings, and then uses them', async () => {
    const dir = await createStateDir();
    const prepare = async () => {
      await expect(readFile(join(dir, 'lock.json'), 'utf8')).resolves.toContain(String(process.pid));
      return { region: 'us-west-2', environment: { COLOR: 'late' } };
    };
    const cloud = await startIn(dir, { prepare, environment: { COLOR: 'early' } });
    const { body } = await cloud.invoke('echo', '{"env":true}');
    expect(JSON.parse(await text(body))).toMatchObject({ COLOR: 'late', AWS_REGION: 'us-west-2' });
  });

  it('the cloud stops the parts that it has started if its settings cannot be prepared', async () => {
    const dir = await createStateDir();
    const prepare = () => Promise.reject(new Error('no models'));
    await expect(startIn(dir, { prepare })).rejects.toThrow('no models');
    await startIn(dir);
  });

  it('the cloud injects the configured faults between functions and services', async () => {
    const cloud = await startIn(await createStateDir(), {
      faults: { seed: 1, shares: { sqs: { throttled: 1 } } },
      eventSources: false,
    });
    const { QueueUrl, sqs } = connectToQueue(cloud);
    expect(new URL(QueueUrl).origin).toBe(cloud.endpoints['AWS_ENDPOINT_URL_SQS']);
    const send = () => sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{}' }));
    await expect(send()).rejects.toMatchObject({ name: 'RequestThrottled' });
    cloud.faults?.set('sqs', {});
    await send();
    expect(cloud.faults?.counts().sqs).toMatchObject({ throttled: 3, requests: 4 });
  });

  it('the tables of the cloud survive a restart', async () => {
    const dir = await createStateDir();
    const first = await startIn(dir);
    const item = { pk: { S: 'a' }, due: { N: '1' } };
    await connectToTables(first).send(new PutItemCommand({ TableName: 'fixture-local-items', Item: item }));
    await first.close();
    const second = await startIn(dir);
    const get = new GetItemCommand({ TableName: 'fixture-local-items', Key: { pk: item.pk } });
    expect((await connectToTables(second).send(get)).Item).toEqual(item);
  });

  it('the cloud writes endpoints and resource names to a shell script, and deletes it when it stops', async () => {
    const dir = await createStateDir();
    const cloud = await startIn(dir);
    const script = await readFile(join(dir, 'env'), 'utf8');
    for (const [name, value] of Object.entries({
      ...cloud.endpoints,
      AWS_REGION: 'eu-central-1',
      ITEMS_TABLE: 'fixture-local-items',
    })) {
      expect(script).toContain(`export ${name}=${value}\n`);
    }
    await cloud.close();
    await expect(readFile(join(dir, 'env'))).rejects.toThrow('ENOENT');
  });

  it('the cloud writes log lines of functions to files, and passes them to onLog', async () => {
    const dir = await createStateDir();
    const lines: string[] = [];
    const cloud = await startIn(dir, { onLog: (line) => lines.push(line.text) });
    (await cloud.invoke('echo', '{"log":"hello"}')).body.resume();
    await until(() => lines.includes('hello'));
    await cloud.close();
    expect(await readFile(join(dir, 'logs', 'echo.log'), 'utf8')).toBe('hello\n');
  });

  it('several clouds with their own state folders can run at the same time', async () => {
    const clouds = await Promise.all([startIn(await createStateDir()), startIn(await createStateDir())]);
    const answers = await Promise.all(
      clouds.map((cloud) =>
        fetch(`${getOrigin(cloud)}/items`, { method: 'POST', body: '{}' }).then(({ status }) => status),
      ),
    );
    expect(answers).toEqual([200, 200]);
  });

  it('the cloud ends all processes when it stops', async () => {
    const cloud = await startIn(await createStateDir());
    await Promise.all(
      [1, 2].map(() => fetch(`${getOrigin(cloud)}/items`, { method: 'POST', body: '{"sleepMs":300}' })),
    );
    const pids = cloud.processes().map(({ pid }) => pid);
    expect(pids).toHaveLength(2);
    await cloud.close();
    expect(pids.filter(isAlive)).toEqual([]);
    await expect(fetch(cloud.url)).rejects.toThrow('fetch failed');
  });
});

describe('a state folder', () => {
  it('a state folder is used by one cloud at a time', async () => {
    const dir = await createStateDir();
    const first = await startIn(dir);
    await expect(startIn(dir)).rejects.toThrow(`${dir} is in use by another instance (process ${process.pid})`);
    await first.close();
    await (await startIn(dir)).close();
  });

  it.each(['{"pid":999999,"startedAt":"1"}', `{"pid":${process.ppid},"startedAt":"1"}`, 'half a fi'])(
    'a state folder whose lock a killed process has left can be used again: %s',
    async (lock) => {
      const dir = await createStateDir();
      await writeFile(join(dir, 'lock.json'), lock);
      expect((await startIn(dir)).url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    },
  );

  it('a state folder is unlocked after a failed start', async () => {
    const dir = await createStateDir();
    const usedPort = Number(new URL((await startIn(await createStateDir())).url).port);
    await expect(startIn(dir, { port: usedPort })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await startIn(dir);
  });
});

describe('the access to a cloud', () => {
  /** The URLs of all servers of a cloud: the gateway, the stand-ins and the Runtime API. */
  async function listUrls(cloud: Cloud): Promise<string[]> {
    const { body } = await cloud.invoke('echo', '{"env":true}');
    const { AWS_LAMBDA_RUNTIME_API } = JSON.parse(await text(body));
    return [getOrigin(cloud), ...Object.values(cloud.endpoints), `http://${AWS_LAMBDA_RUNTIME_API}`];
  }

  it('every server of a cloud refuses the requests of web pages of other sites', async () => {
    const cloud = await startIn(await createStateDir());
    const urls = await listUrls(cloud);
    expect(urls.length).toBe(8);
    for (const url of urls) {
      for (const headers of [{ host: 'evil.example' }, { origin: 'https://evil.example' }]) {
        const { status, body } = await sendRaw(url, { headers, body: '{}' });
        expect([status, body], url).toEqual([403, expect.stringMatching(/Host must be|Web pages of other sites/)]);
      }
    }
  });

  it('a cloud accepts the host names of its option, for the API only', async () => {
    const cloud = await startIn(await createStateDir(), { hosts: ['lambent.internal'] });
    const headers = { host: 'lambent.internal', authorization: 'Bearer good' };
    expect((await sendRaw(getOrigin(cloud), { method: 'GET', path: '/items/7', headers })).status).toBe(200);
    const tables = cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '';
    expect((await sendRaw(tables, { headers, body: '{}' })).status).toBe(403);
  });

  it('stand-ins refuse requests that are not signed with the credentials of the state folder', async () => {
    const cloud = await startIn(await createStateDir());
    const forged = await sendRaw(cloud.endpoints['AWS_ENDPOINT_URL_LAMBDA'] ?? '', {
      path: '/2015-03-31/functions/echo/invocations',
      headers: { 'content-type': 'text/plain' },
      body: '{"requestContext":{"authorizer":{"tenant":"local"}}}',
    });
    expect([forged.status, forged.headers['x-amzn-errortype']]).toEqual([403, 'MissingAuthenticationTokenException']);
    const objects = await sendRaw(cloud.endpoints['AWS_ENDPOINT_URL_S3'] ?? '', { method: 'GET' });
    expect([objects.status, objects.body]).toEqual([403, expect.stringContaining('AccessDenied')]);
    for (const service of ['DYNAMODB', 'SQS', 'KMS']) {
      const endpoint = cloud.endpoints[`AWS_ENDPOINT_URL_${service}`] ?? '';
      const headers = { 'x-amz-target': 'Any.Operation' };
      const { status, body } = await sendRaw(endpoint, { headers, body: '{}' });
      expect([status, JSON.parse(body)]).toMatchObject([400, { __type: 'MissingAuthenticationTokenException' }]);
    }
    const others = { ...cloud, credentials: { ...cloud.credentials, secretAccessKey: 'local' } };
    const list = connectToTables(others).send(new DescribeTableCommand({ TableName: 'fixture-local-items' }));
    await expect(list).rejects.toMatchObject({ name: 'InvalidSignatureException' });
  });

  it('the credentials are random, written to env, and the same after a restart', async () => {
    const [dir, other] = [await createStateDir(), await createStateDir()];
    const first = await startIn(dir);
    expect(first.credentials.accessKeyId).toMatch(/^LAMBENTLOCAL\w{16}$/);
    expect((await startIn(other)).credentials).not.toEqual(first.credentials);
    const env = await readFile(join(dir, 'env'), 'utf8');
    expect(env).toContain(`export AWS_ACCESS_KEY_ID=${first.credentials.accessKeyId}\n`);
    expect(env).toContain(`export AWS_SECRET_ACCESS_KEY=${first.credentials.secretAccessKey}\n`);
    expect(env).toContain('unset AWS_PROFILE AWS_SESSION_TOKEN\n');
    await first.close();
    expect((await startIn(dir)).credentials).toEqual(first.credentials);
  });

  it('a damaged credentials file is named in the error', async () => {
    const dir = await createStateDir();
    await writeFile(join(dir, 'credentials.json'), '{"accessKeyId":""}');
    await expect(startIn(dir)).rejects.toThrow(/credentials\.json is damaged/);
  });

  it("stand-ins accept the user's credentials from functions that call Bedrock in AWS, and their own from others", async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAUSER');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
    vi.stubEnv('AWS_SESSION_TOKEN', 'token');
    vi.stubEnv('AWS_PROFILE', undefined);
    const cloud = await startIn(await createStateDir(), { bedrock: 'aws' });
    const describeTable = new DescribeTableCommand({ TableName: 'fixture-local-items' });
    const user = { accessKeyId: 'AKIAUSER', secretAccessKey: 'secret', sessionToken: 'token' };
    const asUser = () => connectToTables({ ...cloud, credentials: user }).send(describeTable);
    await expect(asUser()).rejects.toMatchObject({ name: 'UnrecognizedClientException' });
    await (await cloud.invoke('echo', '{}')).body.toArray();
    expect((await asUser()).Table?.TableStatus).toBe('ACTIVE');
    expect((await connectToTables(cloud).send(describeTable)).Table?.TableStatus).toBe('ACTIVE');
  });

  it("a cloud's state can be read by its owner only, also if an earlier start made it with wider modes", async () => {
    const dir = await createStateDir();
    await mkdir(join(dir, 'objects', 'buckets', 'b'), { recursive: true });
    for (const name of ['models.json', 'objects/buckets/b/x']) await writeFile(join(dir, name), '{}', { mode: 0o644 });
    for (const name of ['.', 'objects', 'objects/buckets', 'objects/buckets/b']) await chmod(join(dir, name), 0o755);
    await symlink('/etc/hosts', join(dir, 'objects', 'link'));
    await startIn(dir);
    const paths = await readdir(dir, { recursive: true });
    const modes = new Map<string, string>();
    for (const name of ['.', ...paths]) modes.set(name, ((await lstat(join(dir, name))).mode & 0o777).toString(8));
    expect(Object.fromEntries(modes)).toMatchObject({
      '.': '700',
      objects: '700',
      'objects/buckets/b': '700',
      'objects/buckets/b/x': '600',
      'models.json': '600',
      'credentials.json': '600',
      'kms.json': '600',
      env: '600',
    });
    expect((await stat('/etc/hosts')).mode & 0o044).toBe(0o044);
  });

  it('the modes of files in the state folder that are not the cloud’s own stay as they are', async () => {
    const dir = await createStateDir();
    await chmod(dir, 0o755);
    await writeFile(join(dir, 'notes.txt'), '', { mode: 0o644 });
    await startIn(dir);
    expect((await stat(join(dir, 'notes.txt'))).mode & 0o777).toBe(0o644);
    expect((await stat(dir)).mode & 0o777).toBe(0o755);
    expect((await stat(join(dir, 'credentials.json'))).mode & 0o777).toBe(0o600);
  });
});
