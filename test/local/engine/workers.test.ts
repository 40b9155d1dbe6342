import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import * as v from 'valibot';
import { afterEach, describe, expect, it } from 'vitest';
import { startWorkers, type Workers } from '../../../local/engine/workers.ts';
import { waitUntil } from '../../wait.ts';

let running: Workers | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

async function start(count: number): Promise<Workers> {
  running = await startWorkers({ count });
  return running;
}

async function readStartTime(url: string): Promise<number | undefined> {
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

describe('local GPU workers', () => {
  it('each worker is a process with its own address', async () => {
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

  it('a killed worker is restarted at the same address and reports a later start time', async () => {
    const { workers, getPid, onRestart } = await start(1);
    const [{ id, url } = { id: '', url: '' }] = workers;
    const restarts: (number | undefined)[] = [];
    onRestart(() => restarts.push(getPid(id)));
    const [before, firstPid] = [await readStartTime(url), getPid(id)];
    process.kill(firstPid ?? 0, 'SIGKILL');
    let after: number | undefined;
    while (after === undefined || after === before) {
      await sleep(20);
      after = await readStartTime(url);
    }
    expect(after).toBeGreaterThan(before ?? 0);
    expect(getPid(id)).not.toBe(firstPid);
    await waitUntil('the worker restarts', () => restarts.length > 0);
    expect(restarts).toEqual([getPid(id)]);
  });

  it('closed workers are not restarted', async () => {
    const { workers, getPid, close } = await start(2);
    const pids = workers.map(({ id }) => getPid(id));
    await close();
    expect(pids.map(isAlive)).toEqual([false, false]);
    expect(await readStartTime(workers[0]?.url ?? '')).toBeUndefined();
  });

  it('workers exit when their parent process is killed', async () => {
    const parent = spawn(process.execPath, [resolve(import.meta.dirname, '../fixtures/gpu-parent.ts')], {
      stdio: 'pipe',
    });
    const [line] = await once(parent.stdout, 'data');
    const pids = v.parse(v.pipe(v.string(), v.parseJson(), v.array(v.number())), String(line));
    expect(pids.map(isAlive)).toEqual([true, true]);
    parent.kill('SIGKILL');
    while (pids.some(isAlive)) await sleep(20);
  });

  it('a count of 0 starts no worker', async () => {
    expect((await start(0)).workers).toEqual([]);
  });
});
