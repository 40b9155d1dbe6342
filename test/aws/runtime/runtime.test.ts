import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleFunctions } from '../../../infra/bundle/build.ts';
import { installDependencies } from '../../../infra/install.ts';
import { linkService, packageWithOsls } from '../../../infra/osls-package.ts';
import { createGuide } from '../../../local/bedrock/guide.ts';
import { type Cloud, startCloud } from '../../../local/cloud.ts';
import { FunctionError } from '../../../local/lambda/errors.ts';
import { type Runner, startRunner } from '../../../local/lambda/runner.ts';
import { deriveResponseId } from '../../../shared/api/queue-message.ts';
import { readZipEntries } from '../../infra/zip.ts';
import { defineFunction } from '../../local/runners.ts';
import { waitUntil } from '../../wait.ts';

/** Starts AWS's own runtime. */
const AWS_RUNTIME = join(import.meta.dirname, 'start.mjs');

let folder: string;
beforeAll(async () => {
  await installDependencies(import.meta.dirname);
  folder = await mkdtemp(join(tmpdir(), 'lambent-runtime-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the packaged zips on AWS's runtime", () => {
  let cloud: Cloud;
  let client: OpenAI;
  const logs: string[] = [];
  beforeAll(async () => {
    const serviceDir = join(folder, 'service');
    await mkdir(serviceDir);
    await linkService(serviceDir);
    await bundleFunctions({ outDir: join(serviceDir, '.build') });
    await packageWithOsls({ serviceDir, outDir: join(serviceDir, '.serverless') });
    await unzipAll(join(serviceDir, '.serverless'), join(folder, 'zips'));
    cloud = await startCloud({
      stateDir: join(folder, 'state'),
      bedrock: createGuide(),
      bundlesDir: join(folder, 'zips/.build'),
      runtime: AWS_RUNTIME,
      schedules: false,
      environment: {
        WARM_TARGETS: JSON.stringify([{ functionName: 'lambent-local-chat', concurrency: 1 }]),
      },
      onLog: ({ text }) => logs.push(text),
    });
    client = new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 });
  });
  afterAll(() => cloud?.close());

  const model = 'default';
  const messages = [{ role: 'user' as const, content: 'What is Lambent?' }];

  it('chat answers over HTTP, streamed and in one piece, behind the authorizer', async () => {
    const { choices } = await client.chat.completions.create({ model, messages });
    expect(choices[0]?.message.content).toContain('Lambent');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
      text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe(choices[0]?.message.content);
    const stranger = new OpenAI({ baseURL: cloud.url, apiKey: 'sk-unknown', maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401 });
    const invalid = client.chat.completions.create({ model, messages, temperature: 9 });
    await expect(invalid).rejects.toMatchObject({ status: 400 });
  });

  it('sessions answers over HTTP', async () => {
    const { id } = await client.conversations.create({ metadata: { topic: 'runtime' } });
    expect(await client.conversations.retrieve(id)).toMatchObject({ metadata: { topic: 'runtime' } });
  });

  it('generate runs a batch of the jobs queue, and responses retrieves the result', async () => {
    const { id } = await client.responses.create({ model, input: 'What is Lambent?', background: true });
    await waitForCompletion(id);
  });

  it('intake takes a batch of the generation queue', async () => {
    const sqs = new SQSClient({
      ...{ endpoint: cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '', region: 'eu-west-1' },
      credentials: cloud.credentials,
    });
    const MessageBody = JSON.stringify({
      ...{ version: 1, type: 'generate', tenant: 'local', idempotencyKey: 'order-1', endpoint: '/v1/responses' },
      body: { model, input: 'What is Lambent?' },
    });
    await sqs.send(new SendMessageCommand({ QueueUrl: cloud.resources['GENERATION_QUEUE_URL'], MessageBody }));
    await waitForCompletion(deriveResponseId('local', 'order-1'));
    sqs.destroy();
  });

  it('dispatch reports no failed message for an empty batch', async () => {
    expect(await invoke('dispatch', { Records: [] })).toEqual({ batchItemFailures: [] });
  });

  it.each(['sweep', 'fleet', 'warmup'])('%s runs on its schedule', async (name) => {
    await invoke(name, { source: 'aws.events', 'detail-type': 'Scheduled Event' });
  });

  it('warm-up finds the environment of chat', async () => {
    await invoke('warmup', {});
    const warmed = logs.filter((line) => line.includes('"warmed"')).map((line) => JSON.parse(line));
    expect(warmed.findLast(({ target }) => target === 'lambent-local-chat')).toMatchObject({ failed: 0 });
  });

  /** Invokes a function. Returns its result. */
  async function invoke(name: string, event: object): Promise<unknown> {
    const { body, failure } = await cloud.invoke(name, JSON.stringify(event));
    const text = String(await buffer(body));
    expect(failure(), name).toBeUndefined();
    return JSON.parse(text);
  }

  async function waitForCompletion(id: string): Promise<void> {
    await waitUntil(`${id} is completed`, async () => {
      const response = await client.responses.retrieve(id).catch(() => undefined);
      return response?.status === 'completed';
    });
  }
});

/** The responses that AWS's runtime makes of a function, and that our own local runtime must make as well. */
describe.each([
  ["AWS's runtime", AWS_RUNTIME],
  ['the local runtime', undefined],
])('%s', (name, runtime) => {
  let runner: Runner;
  beforeAll(async () => {
    const functions = [defineFunction('echo'), defineFunction('stream')];
    runner = await startRunner({ functions, region: 'eu-west-1', ...(runtime === undefined ? {} : { runtime }) });
  });
  afterAll(() => runner?.close());

  it(`${name} sends a buffered response in one piece`, async () => {
    const response = await runner.invoke('echo', '{"answer": {"batchItemFailures": []}}');
    expect(response).toMatchObject({ streamed: false, contentType: 'application/json' });
    expect(String(await buffer(response.body))).toBe('{"batchItemFailures":[]}');
  });

  it(`${name} reports the error of a buffered function before any response`, async () => {
    const error = await runner.invoke('echo', '{"throw": "boom", "name": "Late"}').catch((each: unknown) => each);
    expect(error).toBeInstanceOf(FunctionError);
    expect(error).toMatchObject({ errorType: 'Late', message: 'boom' });
  });

  it(`${name} begins a streamed response with its prelude`, async () => {
    const response = await runner.invoke('stream', '{"status": 201, "chunks": ["one", "two"]}');
    expect(response).toMatchObject({
      streamed: true,
      contentType: 'application/vnd.awslambda.http-integration-response',
    });
    const [prelude = '', text] = String(await buffer(response.body)).split('\0'.repeat(8));
    expect(JSON.parse(prelude)).toMatchObject({ statusCode: 201 });
    expect(text).toBe('onetwo');
    expect(response.failure()).toBeUndefined();
  });

  it(`${name} reports a streaming function's error before the first byte at the end of an empty response`, async () => {
    const response = await runner.invoke('stream', '{"throwBefore": "early"}');
    expect(String(await buffer(response.body))).toBe('');
    expect(response.failure()).toMatchObject({ errorType: 'Error', message: 'early' });
  });

  it(`${name} reports an error in mid-stream after the bytes that were sent`, async () => {
    const response = await runner.invoke('stream', '{"chunks": ["one"], "throwAfter": "late"}');
    expect(String(await buffer(response.body))).toMatch(/\0one$/);
    expect(response.failure()).toMatchObject({ errorType: 'Error', message: 'late' });
  });

  it(`${name} cuts the response of a function that is killed`, async () => {
    const event = JSON.stringify({ chunks: ['one'], untilFile: join(folder, 'never') });
    const response = await runner.invoke('stream', event);
    for (const { pid, busy } of runner.processes()) if (busy) process.kill(pid, 'SIGKILL');
    await expect(buffer(response.body)).rejects.toThrow('aborted');
  });
});

/** Extracts the zips of a packaged service to one folder. */
async function unzipAll(outDir: string, target: string): Promise<void> {
  for (const file of (await readdir(outDir)).filter((each) => each.endsWith('.zip'))) {
    for (const [path, content] of readZipEntries(await readFile(join(outDir, file)))) {
      await mkdir(dirname(join(target, path)), { recursive: true });
      await writeFile(join(target, path), content);
    }
  }
}
