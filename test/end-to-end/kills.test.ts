import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IS_MANAGED } from '../lambda-mode.ts';
import { EVENT_STREAM, encodeEvent } from '../upstreams/reply.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const encodeChunk = (content: string, finish_reason: string | null = null) =>
  encodeEvent({ choices: [{ index: 0, delta: { content }, finish_reason }] });

/** The slow answer pauses after its first token until this settles. */
const gate = Promise.withResolvers<void>();
let service: Service;
beforeAll(async () => {
  service = await startService({
    script: ({ text }) => {
      if (text.includes('stall')) return { headers: EVENT_STREAM, steps: ['stall'] };
      if (text.includes('slow'))
        return {
          headers: EVENT_STREAM,
          steps: [{ send: encodeChunk('one ') }, { until: gate.promise }, { send: encodeChunk('two', 'stop') }],
        };
      return {
        headers: EVENT_STREAM,
        steps: [{ send: encodeChunk('whole', 'stop') }, { send: encodeEvent('[DONE]') }],
      };
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

/** Waits until processes other than `others` serve a chat, and returns their ids. */
function waitForBusy(others: readonly number[] = []): Promise<number[]> {
  return waitUntil('a chat process is busy', () => {
    const busy = service.cloud
      .processes()
      .filter(
        ({ function: name, requestIds, pid }) => name === 'chat' && requestIds.length > 0 && !others.includes(pid),
      )
      .map(({ pid }) => pid);
    return busy.length > 0 && busy;
  });
}

async function killChat(): Promise<void> {
  for (const pid of await waitForBusy()) process.kill(pid, 'SIGKILL');
}

describe('killing a function process that serves a chat', () => {
  it('a kill before the first byte fails the request with a 5xx, and the next request succeeds', async () => {
    const stalled = ask('stall').then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await waitUntil('the model is called', () => service.upstream.requests.length > 0);
    await killChat();
    expect(await stalled).toMatchObject({ status: expect.toSatisfy((status: number) => status >= 500) });
    expect(await read('hello')).toBe('whole');
  });

  it('a kill during a stream gives the client an error, and the next request succeeds', async () => {
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

  it.skipIf(IS_MANAGED)('a kill does not affect the streams of other processes', async () => {
    // A process is busy for a moment after its client has the whole answer.
    await waitUntil('no chat is served', () =>
      service.cloud.processes().every(({ requestIds }) => requestIds.length === 0),
    );
    const beside = read('slow beside');
    const before = await waitForBusy();
    const stalled = ask('stall').catch((thrown: unknown) => thrown);
    for (const pid of await waitForBusy(before)) process.kill(pid, 'SIGKILL');
    expect(await stalled).toBeInstanceOf(Error);
    gate.resolve();
    expect(await beside).toBe('one two');
  });
});
