import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCloud } from '../../local/cloud.ts';
import { startWorkers, WORKER_DEFAULTS } from '../../local/engine/workers.ts';
import { waitUntil } from '../wait.ts';
import { TIMINGS_DIVISOR } from './gpu-service.ts';

const SPEED = 0.05;
const TOKEN_MS = 6.5 / SPEED;
/** The engine repeats 400 characters of the question, 200 tokens: its answer takes 25 s, and only an abort ends it before. */
const QUESTION = 'a '.repeat(200);

const open = new AsyncDisposableStack();
let client: OpenAI;
let workerUrl: string;

/** Starts the whole service with one slow local engine. */
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-gpu-cancel-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const gpuWorkers = await startWorkers({ count: 1, speed: SPEED });
  workerUrl = gpuWorkers.workers[0]?.url ?? '';
  const targets = [{ provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: 'local' }];
  // On a busy machine, a request may reach the engine seconds after it was sent.
  const models = { patient: { targets }, hasty: { targets, timeoutMs: 6_000 } };
  const file = join(folder, 'models.json');
  await writeFile(file, JSON.stringify({ models, fleets: { local: { workers: gpuWorkers.workers } } }));
  const cloud = await startCloud({
    stateDir: join(folder, 'state'),
    bedrock: async function* silent() {},
    environment: { MODELS_FILE: file, TIMINGS_DIVISOR: String(TIMINGS_DIVISOR) },
    schedules: false,
    gpuWorkers,
  });
  open.defer(() => cloud.close());
  await cloud.workersRegistered;
  client = new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 });
});
afterAll(() => open.disposeAsync());

const COUNTERS = {
  running: 'vllm:num_requests_running',
  generated: 'vllm:generation_tokens_total',
  aborted: 'lambent:requests_aborted_total',
  afterAbort: 'lambent:tokens_generated_after_abort_total',
} as const;

/** Returns the engine's own counters. */
async function readCounters(): Promise<Record<keyof typeof COUNTERS, number>> {
  const text = await (await fetch(new URL('/metrics', workerUrl))).text();
  const read = (name: string) => Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  return {
    running: read(COUNTERS.running),
    generated: read(COUNTERS.generated),
    aborted: read(COUNTERS.aborted),
    afterAbort: read(COUNTERS.afterAbort),
  };
}

/** Waits until the engine has generated a few tokens of a request. */
async function waitUntilGenerating(): Promise<void> {
  const before = await readCounters();
  await waitUntil('the engine generates', async () => {
    const { running, generated } = await readCounters();
    return running === 1 && generated >= before.generated + 3;
  });
}

/** Waits until the engine is idle, and expects that its request was aborted long before the end of its answer. */
async function expectAbort(before: Awaited<ReturnType<typeof readCounters>>): Promise<void> {
  const after = await waitUntil('the engine is idle', async () => {
    const now = await readCounters();
    return now.running === 0 && now;
  });
  expect(after.aborted).toBe(before.aborted + 1);
  // At most the token of the current step.
  expect(after.afterAbort - before.afterAbort).toBeLessThanOrEqual(1);
  await sleep(5 * TOKEN_MS);
  expect(await readCounters()).toEqual(after);
}

async function waitForStatus(id: string, status: string): Promise<void> {
  await waitUntil(`${id} is ${status}`, async () => (await client.responses.retrieve(id)).status === status);
}

describe('aborting a request to an engine', () => {
  it('the engine stops after a background response is cancelled', async () => {
    const { id } = await client.responses.create({ model: 'patient', input: QUESTION, background: true });
    await waitUntilGenerating();
    const before = await readCounters();
    await client.responses.cancel(id);
    await expectAbort(before);
    await waitForStatus(id, 'cancelled');
  });

  it.each([true, false])('the engine stops at a chat’s deadline (streamed: %s)', async (stream) => {
    const before = await readCounters();
    const messages = [{ role: 'user' as const, content: QUESTION }];
    const responding = client.chat.completions.create({ model: 'hasty', messages, stream });
    const failing = responding.then(async (answer) => {
      if (Symbol.asyncIterator in answer) for await (const _ of answer);
    });
    await expect(failing).rejects.toThrow();
    await expectAbort(before);
  });

  it('the engine stops at the deadline of a chat whose client disconnected, which Lambda does not report', async () => {
    const before = await readCounters();
    const messages = [{ role: 'user' as const, content: QUESTION }];
    const stream = await client.chat.completions.create({ model: 'hasty', messages, stream: true });
    await waitUntilGenerating();
    stream.controller.abort();
    await expectAbort(before);
  });
});
