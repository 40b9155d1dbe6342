import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { EVENT_STREAM, eventOf } from '../upstreams/reply.ts';
import { type Service, startService } from './service.ts';

const chunk = (content: string, finish_reason: string | null = null) =>
  eventOf({ choices: [{ index: 0, delta: { content }, finish_reason }] });

let service: Service;
beforeAll(async () => {
  service = await startService({
    script: ({ text }) => {
      if (text.includes('stall')) return { headers: EVENT_STREAM, steps: ['stall'] };
      if (text.includes('slow'))
        return {
          headers: EVENT_STREAM,
          steps: [{ send: chunk('one ') }, { waitMs: 4_000 }, { send: chunk('two', 'stop') }],
        };
      return { headers: EVENT_STREAM, steps: [{ send: chunk('whole', 'stop') }, { send: eventOf('[DONE]') }] };
    },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

const ask = (content: string) =>
  service.client.chat.completions.create({ model: 'compatible', stream: true, messages: [{ role: 'user', content }] });

async function read(content: string): Promise<string> {
  let text = '';
  for await (const { choices } of await ask(content)) text += choices[0]?.delta.content ?? '';
  return text;
}

/** Processes that serve a call, once there is one that isn't among `others`. */
function serving(others: ReadonlySet<number> = new Set()): Promise<{ readonly pid: number }[]> {
  const found = () =>
    service.cloud
      .processes()
      .filter(({ function: name, requestIds, pid }) => name === 'chat' && requestIds.length > 0 && !others.has(pid));
  return vi.waitFor(
    () => {
      expect(found()).not.toEqual([]);
      return found();
    },
    { timeout: 20_000, interval: 20 },
  );
}

async function killChat(): Promise<void> {
  const busy = await serving();
  for (const { pid } of busy) process.kill(pid, 'SIGKILL');
}

describe('a process that is killed while it serves', () => {
  test('before the first byte: the request fails with an error, and the next one works', async () => {
    const stalled = ask('stall').then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await sleep(500);
    await killChat();
    expect(await stalled).toMatchObject({ status: expect.toSatisfy((status: number) => status >= 500) });
    expect(await read('hello')).toBe('whole');
  });

  test('in the middle of a stream: the client sees that it broke, and the next one works', async () => {
    let text = '';
    const broken = (async () => {
      for await (const { choices } of await ask('slow')) {
        text += choices[0]?.delta.content ?? '';
        await killChat();
      }
    })();
    await expect(broken).rejects.toThrow();
    expect(text).toBe('one ');
    expect(await read('hello')).toBe('whole');
  });

  test('fails alone: the streams beside it go on', async () => {
    const beside = read('slow beside');
    const before = new Set((await serving()).map(({ pid }) => pid));
    const stalled = ask('stall').catch((thrown: unknown) => thrown);
    for (const { pid } of await serving(before)) process.kill(pid, 'SIGKILL');
    expect(await stalled).toBeInstanceOf(Error);
    expect(await beside).toBe('one two');
  });
});
