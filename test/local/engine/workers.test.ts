import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import * as v from 'valibot';
import { afterEach, describe, expect, test } from 'vitest';
import { startWorkers, type Workers } from '../../../local/engine/workers.ts';

let started: Workers | undefined;
afterEach(async () => {
  await started?.close();
  started = undefined;
});

async function start(count: number): Promise<Workers> {
  started = await startWorkers({ count });
  return started;
}

async function startedAt(url: string): Promise<number | undefined> {
  const response = await fetch(`${url.replace('/v1', '')}/metrics`).catch(() => undefined);
  const text = (await response?.text()) ?? '';
  const seconds = /^process_start_time_seconds (\S+)$/m.exec(text)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
}

const isAlive = (pid: number | undefined): boolean => {
  try {
    return pid !== undefined && process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('GPU workers of this machine', () => {
  test('are processes of their own, each with an address', async () => {
    const { workers, getPid } = await start(2);
    expect(workers.map(({ id }) => id)).toEqual(['gpu-1', 'gpu-2']);
    expect(new Set(workers.map(({ id }) => getPid(id))).size).toBe(2);
    for (const { url } of workers) {
      const client = new OpenAI({ baseURL: url, apiKey: 'any', maxRetries: 0 });
      const answer = await client.chat.completions.create({
        model: 'stand-in',
        messages: [{ role: 'user', content: 'Hello' }],
      });
      expect(answer.choices[0]?.message.content).toMatch(/stand-in/);
    }
  });

  test('start again at the same address when they are killed, and tell of a later start', async () => {
    const { workers, getPid, onRestart } = await start(1);
    const [{ id, url } = { id: '', url: '' }] = workers;
    const restarts: (number | undefined)[] = [];
    onRestart(() => restarts.push(getPid(id)));
    const [before, process1] = [await startedAt(url), getPid(id)];
    process.kill(process1 ?? 0, 'SIGKILL');
    let after: number | undefined;
    while (after === undefined || after === before) {
      await sleep(20);
      after = await startedAt(url);
    }
    expect(after).toBeGreaterThan(before ?? 0);
    expect(getPid(id)).not.toBe(process1);
    await expect.poll(() => restarts).toEqual([getPid(id)]);
  });

  test('end for good when they are closed', async () => {
    const { workers, getPid, close } = await start(2);
    const pids = workers.map(({ id }) => getPid(id));
    await close();
    expect(pids.map(isAlive)).toEqual([false, false]);
    expect(await startedAt(workers[0]?.url ?? '')).toBeUndefined();
  });

  test('end with whoever started them, even when that is killed', async () => {
    const parent = spawn(process.execPath, [resolve(import.meta.dirname, '../fixtures/gpu-parent.ts')], {
      stdio: 'pipe',
    });
    const [line] = await once(parent.stdout, 'data');
    const pids = v.parse(v.pipe(v.string(), v.parseJson(), v.array(v.number())), String(line));
    expect(pids.map(isAlive)).toEqual([true, true]);
    parent.kill('SIGKILL');
    while (pids.some(isAlive)) await sleep(20);
  });

  test('none is none', async () => {
    expect((await start(0)).workers).toEqual([]);
  });
});
