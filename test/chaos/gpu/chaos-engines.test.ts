import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
import { waitUntil } from '../../wait.ts';
import { parseJournal } from './journal.ts';
import { createGpuQuestions, createQuestion, parseSignature } from './questions.ts';
import { type GpuWorkers, startGpuWorkers } from './workers.ts';

describe('the workers of a chaos run', () => {
  let journals: string;
  let workers: GpuWorkers;
  afterEach(async () => {
    await workers.close();
    await rm(journals, { recursive: true });
  });

  async function startWorkers(count: number): Promise<GpuWorkers> {
    journals = await mkdtemp(join(tmpdir(), 'lambent-journals-'));
    workers = await startGpuWorkers({ count, slots: 4, speed: 1, journals, random: createSeededRandom(1) });
    return workers;
  }
  const createClient = (url: string | undefined, apiKey = workers.apiKey) =>
    new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });
  const ask = (url: string | undefined, apiKey?: string) =>
    createClient(url, apiKey).chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: createQuestion('job', 17) }],
    });
  const listStarts = (each: GpuWorkers) => each.running().map(({ start }) => start);

  it('workers sign each answer with its call, and record the call', async () => {
    const { addresses, calls } = await startWorkers(1);
    const text = (await ask(addresses[0]?.url)).choices[0]?.message.content ?? '';
    expect(parseSignature(text, createQuestion('job', 17))).toEqual({ start: 'gpu-1.1', call: 1 });
    const recorded = await waitUntil('the call is recorded', async () =>
      (await calls()).find(({ end }) => end === 'whole'),
    );
    expect(recorded).toMatchObject({ start: 'gpu-1.1', call: 1, job: 17 });
    expect(createGpuQuestions(() => [recorded]).isAnswer(17, text)).toBe(true);
    expect(createGpuQuestions(() => [recorded]).isAnswer(18, text)).toBe(false);
    expect(createGpuQuestions(() => [{ ...recorded, end: 'closed' }]).isAnswer(17, text)).toBe(false);
    expect(createGpuQuestions(() => [recorded]).isAnswer(17, text.slice(0, -1))).toBe(false);
  });

  it('a worker has recorded everything that it sent before a kill, and restarts at its address under another name', async () => {
    const all = await startWorkers(1);
    const url = all.addresses[0]?.url;
    const stream = await createClient(url).chat.completions.create({
      model: 'stand-in',
      stream: true,
      messages: [{ role: 'user', content: createQuestion('job', 17) }],
    });
    let tokens = 0;
    const broken = (async () => {
      for await (const { choices } of stream) {
        if (choices[0]?.delta.content) tokens += 1;
        if (tokens === 4) all.kill('gpu-1.1', 0, false);
      }
    })();
    await expect(broken).rejects.toThrow();
    await waitUntil('gpu-1.2 serves', () => listStarts(all)[0] === 'gpu-1.2');
    expect((await ask(url)).usage?.completion_tokens).toBeGreaterThan(20);
    const [died] = await all.calls();
    expect(died).toMatchObject({ start: 'gpu-1.1', job: 17, end: 'dead', endedAt: undefined });
    expect(died?.generatedTokens).toBeGreaterThanOrEqual(tokens);
  });

  it('a worker can restart at another address', async () => {
    const all = await startWorkers(1);
    all.kill('gpu-1.1', 0, true);
    await waitUntil('gpu-2.1 serves', () => listStarts(all)[0] === 'gpu-2.1');
    expect((await ask(all.addresses[1]?.url)).choices[0]?.message.content).toContain('#gpu-2.1/1');
    await expect(ask(all.addresses[0]?.url)).rejects.toThrow();
  });

  it('a worker sends nothing while it hangs', async () => {
    const all = await startWorkers(1);
    all.hang('gpu-1.1', 1_000);
    expect(all.running()[0]?.isStopped).toBe(true);
    await ask(all.addresses[0]?.url);
    expect(all.running()).toMatchObject([{ start: 'gpu-1.1', isStopped: false }]);
  });

  it('workers refuse requests with the key of another run', async () => {
    const { addresses } = await startWorkers(1);
    await expect(ask(addresses[0]?.url, 'another')).rejects.toMatchObject({ status: 401 });
  });

  it('all workers serve after waitUntilAllServe', async () => {
    const all = await startWorkers(2);
    all.kill('gpu-1.1', 300, true);
    all.hang('gpu-2.1', 300);
    await all.waitUntilAllServe();
    expect(all.running().map(({ isStopped }) => isStopped)).toEqual([false, false]);
  });
});

describe('a journal', () => {
  it('a journal is parsed up to an incomplete last line', () => {
    const journal = [
      '{"kind":"begun","call":1,"at":5,"job":3}',
      '{"kind":"worked","call":1,"work":[9,4,5,1]}',
      '{"kind":"begun","call":2,"at":6}',
      '{"kind":"ended","call":2,"at":8,"whole":false,"work":[7,0,7,2]}',
      '{"kind":"worked","call":1,"wor',
    ].join('\n');
    expect(parseJournal(journal, 'gpu-1.1')).toMatchObject([
      {
        call: 1,
        job: 3,
        startedAt: 5,
        end: 'dead',
        promptTokens: 9,
        cachedTokens: 4,
        computedTokens: 5,
        generatedTokens: 1,
      },
      { call: 2, job: undefined, startedAt: 6, end: 'closed', endedAt: 8, generatedTokens: 2 },
    ]);
  });
});
