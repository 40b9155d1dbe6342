import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startCloud } from '../../local/cloud.ts';
import { startWorkers, WORKER_DEFAULTS } from '../../local/engine/workers.ts';
import { HEARTBEAT_MS, HURRY } from './gpu-service.ts';

/** A token every third of a second, so that a busy machine changes little in their number. */
const SPEED = 0.02;
const TOKEN_MS = 6.5 / SPEED;
/** It is given back in the answer, which has more than a hundred tokens by it: more than half a minute. */
const QUESTION = 'word '.repeat(80);

const open = new AsyncDisposableStack();
let client: OpenAI;
let workerUrl: string;

/** The service, whole, with one of `npm start`'s own engines, slowed down, behind it. */
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-gpu-cancel-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const gpuWorkers = await startWorkers({ count: 1, speed: SPEED });
  workerUrl = gpuWorkers.workers[0]?.url ?? '';
  const targets = [{ provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: 'local' }];
  const models = { patient: { targets }, hasty: { targets, timeoutMs: 3_000 } };
  const file = join(folder, 'models.json');
  await writeFile(file, JSON.stringify({ models, fleets: { local: { workers: gpuWorkers.workers } } }));
  const cloud = await startCloud({
    stateDir: join(folder, 'state'),
    bedrock: async function* silent() {},
    environment: { MODELS_FILE: file, TIMINGS_DIVISOR: String(HURRY) },
    schedules: false,
    gpuWorkers,
  });
  open.defer(() => cloud.close());
  client = new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 });
}, 120_000);
afterAll(() => open.disposeAsync());

const COUNTERS = {
  running: 'vllm:num_requests_running',
  generated: 'vllm:generation_tokens_total',
  aborted: 'lambent:requests_aborted_total',
  afterAbort: 'lambent:tokens_generated_after_abort_total',
} as const;

/** What the engine itself has counted. */
async function engine(): Promise<Record<keyof typeof COUNTERS, number>> {
  const text = await (await fetch(new URL('/metrics', workerUrl))).text();
  const read = (name: string) => Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  return {
    running: read(COUNTERS.running),
    generated: read(COUNTERS.generated),
    aborted: read(COUNTERS.aborted),
    afterAbort: read(COUNTERS.afterAbort),
  };
}

/** Waits until the engine is at work on a request and has tokens of it. */
async function begun(): Promise<void> {
  const before = await engine();
  await vi.waitUntil(
    async () => {
      const { running, generated } = await engine();
      return running === 1 && generated >= before.generated + 3;
    },
    { timeout: 60_000, interval: 50 },
  );
}

/**
 * Waits until the engine has nothing to do, and sees that it stopped because it was told to.
 * @returns tokens that it generated since `before`
 */
async function stopped(before: Awaited<ReturnType<typeof engine>>): Promise<number> {
  const after = await vi.waitUntil(
    async () => {
      const now = await engine();
      return now.running === 0 && now;
    },
    { timeout: 60_000, interval: 50 },
  );
  expect(after.aborted).toBe(before.aborted + 1);
  // No more than that of the step that was under way.
  expect(after.afterAbort - before.afterAbort).toBeLessThanOrEqual(1);
  await sleep(5 * TOKEN_MS);
  expect(await engine()).toEqual(after);
  return after.generated - before.generated;
}

async function until(id: string, status: string): Promise<void> {
  await vi.waitUntil(async () => (await client.responses.retrieve(id)).status === status, {
    timeout: 60_000,
    interval: 100,
  });
}

describe('the engine', () => {
  test('generates nothing more a heartbeat after a background response was cancelled', async () => {
    const { id } = await client.responses.create({ model: 'patient', input: QUESTION, background: true });
    await begun();
    const before = await engine();
    await client.responses.cancel(id);
    const since = await stopped(before);
    // With a heartbeat's worth for a machine that is busy with other things.
    expect(since).toBeLessThanOrEqual(Math.ceil((2 * HEARTBEAT_MS) / TOKEN_MS));
    await until(id, 'cancelled');
  }, 120_000);

  test.each([true, false])(
    'stops at a chat’s deadline (streamed: %s)',
    async (stream) => {
      const before = await engine();
      const messages = [{ role: 'user' as const, content: QUESTION }];
      const answered = client.chat.completions.create({ model: 'hasty', messages, stream });
      const broken = answered.then(async (answer) => {
        if (Symbol.asyncIterator in answer) for await (const _ of answer);
      });
      await expect(broken).rejects.toThrow();
      // Three seconds, and as many again for the way.
      expect(await stopped(before)).toBeLessThanOrEqual(6_000 / TOKEN_MS);
    },
    120_000,
  );

  test('stops at the deadline of a chat whose client has gone, which Lambda does not tell of', async () => {
    const before = await engine();
    const messages = [{ role: 'user' as const, content: QUESTION }];
    const stream = await client.chat.completions.create({ model: 'hasty', messages, stream: true });
    await begun();
    stream.controller.abort();
    expect(await stopped(before)).toBeLessThanOrEqual(6_000 / TOKEN_MS);
  }, 120_000);
});
