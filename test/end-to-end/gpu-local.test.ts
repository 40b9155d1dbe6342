import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGuide } from '../../local/bedrock/guide.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { startWorkers, type Workers } from '../../local/engine/workers.ts';
import { discoverModels } from '../../local/models.ts';
import { waitUntil } from '../wait.ts';

let stateDir: string;
let gpuWorkers: Workers;
let cloud: Cloud;
let client: OpenAI;

/** Starts the service as `npm start` does. */
beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'lambent-gpu-'));
  gpuWorkers = await startWorkers({ count: 2 });
  const env = { HOME: stateDir, OLLAMA_HOST: '127.0.0.1:1' };
  const { file } = await discoverModels({ env, stateDir, gpuWorkers: async () => gpuWorkers.workers });
  const environment = { MODELS_FILE: file };
  cloud = await startCloud({ stateDir, bedrock: createGuide(), environment, schedules: false, gpuWorkers });
  client = new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 });
});

afterAll(async () => {
  await cloud.close();
  await rm(stateDir, { recursive: true, force: true });
});

/** Kills a worker, which may be restarting. */
async function killWorker(id: string): Promise<void> {
  process.kill(await waitUntil(`the worker ${id} runs`, () => gpuWorkers.getPid(id)), 'SIGKILL');
}

describe('the local model gpu', () => {
  const messages = [{ role: 'user' as const, content: 'What are you?' }];

  it('the model gpu answers a chat completion as soon as the cloud is ready', async () => {
    const answer = await client.chat.completions.create({ model: 'gpu', messages });
    expect(answer.choices[0]?.message.content).toMatch(/stand-in.*“What are you\?”$/);
    expect(answer.usage?.completion_tokens).toBeGreaterThan(10);
  });

  it('the model gpu streams a chat completion', async () => {
    const stream = await client.chat.completions.create({ model: 'gpu', messages, stream: true });
    const texts: string[] = [];
    for await (const { choices } of stream) texts.push(choices[0]?.delta.content ?? '');
    expect(texts.join('')).toMatch(/stand-in/);
    expect(texts.length).toBeGreaterThan(5);
  });

  it('the model gpu answers a Responses API request', async () => {
    const { output_text: text } = await client.responses.create({ model: 'gpu', input: 'What are you?' });
    expect(text).toMatch(/stand-in/);
  });

  it('the model gpu answers a background response through the queue', async () => {
    const { id } = await client.responses.create({ model: 'gpu', input: 'What are you?', background: true });
    const response = await waitUntil('the response has ended', async () => {
      const found = await client.responses.retrieve(id);
      return found.status !== 'queued' && found.status !== 'in_progress' && found;
    });
    expect(response.status).toBe('completed');
    expect(response.output_text).toMatch(/stand-in/);
  });

  it('the model gpu is in the list of models', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toContain('gpu');
  });

  it('the model gpu answers while a killed worker restarts', async () => {
    await killWorker('gpu-1');
    const answers = await Promise.all(
      [1, 2, 3, 4].map(() => client.chat.completions.create({ model: 'gpu', messages })),
    );
    for (const { choices } of answers) expect(choices[0]?.message.content).toMatch(/stand-in/);
  });

  it('the model gpu answers again after all workers were killed, without a schedule', async () => {
    for (const { id } of gpuWorkers.workers) await killWorker(id);
    // The first call fails, and the workers are marked as suspect. The second waits for a worker, unless its restart
    // takes longer than the fleet's waitMs.
    const answer = await waitUntil('a chat is answered', () =>
      client.chat.completions.create({ model: 'gpu', messages }).catch(() => undefined),
    );
    expect(answer.choices[0]?.message.content).toMatch(/stand-in/);
  });
});
