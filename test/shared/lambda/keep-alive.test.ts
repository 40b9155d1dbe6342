import { setImmediate as nextTick } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createKeepAliveStream } from '../../../shared/lambda/keep-alive.ts';

const INTERVAL_MS = 1_000;

afterEach(() => vi.useRealTimers());

async function read(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk.toString();
  return text;
}

/** Lets everything happen that needs no timer. */
async function settle(): Promise<void> {
  for (let tick = 0; tick < 20; tick += 1) await nextTick();
}

describe('a keep-alive stream', () => {
  it('a keep-alive stream sends all frames whole and in order, including multibyte characters', async () => {
    async function* frames() {
      for (let index = 0; index < 500; index += 1) yield `data: ${index} 🎈\n\n`;
    }
    const expected = Array.from({ length: 500 }, (_, index) => `data: ${index} 🎈\n\n`).join('');
    expect(await read(createKeepAliveStream(frames(), INTERVAL_MS))).toBe(expected);
  });

  it('a keep-alive stream sends a comment for each interval without a frame', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    let sendLast = () => {};
    const last = new Promise<void>((resolve) => {
      sendLast = resolve;
    });
    async function* frames() {
      yield 'data: a\n\n';
      await last;
      yield 'data: b\n\n';
    }
    const text = read(createKeepAliveStream(frames(), INTERVAL_MS));
    await settle();
    vi.advanceTimersByTime(2.5 * INTERVAL_MS);
    sendLast();
    expect(await text).toBe('data: a\n\n: keep-alive\n\n: keep-alive\n\ndata: b\n\n');
  });

  it('a keep-alive stream reads no frame from its source before there is room for it', async () => {
    let frameCount = 0;
    async function* frames() {
      for (;;) {
        frameCount += 1;
        yield 'x'.repeat(64 * 1024);
      }
    }
    const stream = createKeepAliveStream(frames(), INTERVAL_MS);
    stream.once('readable', () => {});
    await settle();
    expect(frameCount).toBeLessThan(4);
    stream.destroy();
  });

  it('a keep-alive stream ends its source when it is destroyed', async () => {
    let ended = false;
    async function* frames() {
      try {
        for (;;) yield 'data: x\n\n';
      } finally {
        ended = true;
      }
    }
    for await (const _ of createKeepAliveStream(frames(), INTERVAL_MS)) break;
    await settle();
    expect(ended).toBe(true);
  });

  it('a keep-alive stream fails when its source fails', async () => {
    async function* frames() {
      yield 'data: x\n\n';
      throw new Error('source failed');
    }
    await expect(read(createKeepAliveStream(frames(), INTERVAL_MS))).rejects.toThrow('source failed');
  });
});
