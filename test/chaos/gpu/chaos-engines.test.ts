import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { seededRandom } from '../../../local/faults/random.ts';
import { callsIn } from './journal.ts';
import { callNamedIn, gpuQuestions, questionOf } from './questions.ts';
import { type GpuWorkers, startGpuWorkers } from './workers.ts';

describe('workers that meet with accidents', () => {
  let journals: string;
  let workers: GpuWorkers;
  afterEach(async () => {
    await workers.close();
    await rm(journals, { recursive: true });
  });

  async function started(count: number): Promise<GpuWorkers> {
    journals = await mkdtemp(join(tmpdir(), 'lambent-journals-'));
    workers = await startGpuWorkers({ count, slots: 4, speed: 1, journals, random: seededRandom(1) });
    return workers;
  }
  const clientAt = (url: string | undefined, apiKey = workers.apiKey) =>
    new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });
  const ask = (url: string | undefined, apiKey?: string) =>
    clientAt(url, apiKey).chat.completions.create({
      model: 'stand-in',
      messages: [{ role: 'user', content: questionOf('job', 17) }],
    });
  const startsOf = (each: GpuWorkers) => each.running().map(({ start }) => start);

  test('sign their answers with the call, and tell of it afterwards', async () => {
    const { addresses, calls } = await started(1);
    const text = (await ask(addresses[0]?.url)).choices[0]?.message.content ?? '';
    expect(callNamedIn(text, questionOf('job', 17))).toEqual({ start: 'gpu-1.1', call: 1 });
    const told = await vi.waitUntil(async () => (await calls()).find(({ end }) => end === 'whole'));
    expect(told).toMatchObject({ start: 'gpu-1.1', call: 1, job: 17 });
    expect(gpuQuestions(() => [told]).answers(17, text)).toBe(true);
    expect(gpuQuestions(() => [told]).answers(18, text)).toBe(false);
    expect(gpuQuestions(() => [{ ...told, end: 'closed' }]).answers(17, text)).toBe(false);
    expect(gpuQuestions(() => [told]).answers(17, text.slice(0, -1))).toBe(false);
  });

  test('that are killed leave word of all that they had sent, and are back at the same address as another start', async () => {
    const all = await started(1);
    const url = all.addresses[0]?.url;
    const stream = await clientAt(url).chat.completions.create({
      model: 'stand-in',
      stream: true,
      messages: [{ role: 'user', content: questionOf('job', 17) }],
    });
    let tokens = 0;
    const broken = (async () => {
      for await (const { choices } of stream) {
        if (choices[0]?.delta.content) tokens += 1;
        if (tokens === 4) all.kill('gpu-1.1', 0, false);
      }
    })();
    await expect(broken).rejects.toThrow();
    await vi.waitUntil(() => startsOf(all)[0] === 'gpu-1.2', { timeout: 20_000 });
    expect((await ask(url)).usage?.completion_tokens).toBeGreaterThan(20);
    const [died] = await all.calls();
    expect(died).toMatchObject({ start: 'gpu-1.1', job: 17, end: 'dead', endedAt: undefined });
    expect(died?.generatedTokens).toBeGreaterThanOrEqual(tokens);
  });

  test('may be back at another address', async () => {
    const all = await started(1);
    all.kill('gpu-1.1', 0, true);
    await vi.waitUntil(() => startsOf(all)[0] === 'gpu-2.1', { timeout: 20_000 });
    expect((await ask(all.addresses[1]?.url)).choices[0]?.message.content).toContain('#gpu-2.1/1');
    await expect(ask(all.addresses[0]?.url)).rejects.toThrow();
  });

  test('that hang say nothing until they go on', async () => {
    const all = await started(1);
    all.hang('gpu-1.1', 1_000);
    const hungAt = performance.now();
    expect(all.running()[0]?.isStopped).toBe(true);
    await ask(all.addresses[0]?.url);
    expect(performance.now() - hungAt).toBeGreaterThan(900);
    expect(all.running()).toMatchObject([{ start: 'gpu-1.1', isStopped: false }]);
  });

  test('answer nobody but their own run', async () => {
    const { addresses } = await started(1);
    await expect(ask(addresses[0]?.url, 'another')).rejects.toMatchObject({ status: 401 });
  });

  test('are all there when they have settled', async () => {
    const all = await started(2);
    all.kill('gpu-1.1', 300, true);
    all.hang('gpu-2.1', 300);
    await all.settle();
    expect(all.running().map(({ isStopped }) => isStopped)).toEqual([false, false]);
  });
});

describe('a journal', () => {
  test('whose last line was torn is read up to there', () => {
    const journal = [
      '{"what":"begun","call":1,"at":5,"job":3}',
      '{"what":"worked","call":1,"work":[9,4,5,1]}',
      '{"what":"begun","call":2,"at":6}',
      '{"what":"ended","call":2,"at":8,"whole":false,"work":[7,0,7,2]}',
      '{"what":"worked","call":1,"wor',
    ].join('\n');
    expect(callsIn(journal, 'gpu-1.1')).toMatchObject([
      {
        call: 1,
        job: 3,
        begunAt: 5,
        end: 'dead',
        promptTokens: 9,
        cachedTokens: 4,
        computedTokens: 5,
        generatedTokens: 1,
      },
      { call: 2, job: undefined, begunAt: 6, end: 'closed', endedAt: 8, generatedTokens: 2 },
    ]);
  });
});
