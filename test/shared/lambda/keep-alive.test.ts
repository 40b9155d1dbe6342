import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createKeepAliveStream } from '../../../shared/lambda/keep-alive.ts';

async function read(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk.toString();
  return text;
}

describe('a stream that is kept alive', () => {
  it('sends every frame, whole and in order, also multibyte ones', async () => {
    async function* frames() {
      for (let index = 0; index < 500; index += 1) yield `data: ${index} 🎈\n\n`;
    }
    const expected = Array.from({ length: 500 }, (_, index) => `data: ${index} 🎈\n\n`).join('');
    expect(await read(createKeepAliveStream(frames(), 1_000))).toBe(expected);
  });

  it('fills a silence with comments, and none but a silence', async () => {
    async function* frames() {
      yield 'data: a\n\n';
      await sleep(110);
      yield 'data: b\n\n';
    }
    const text = await read(createKeepAliveStream(frames(), 30));
    expect(text.startsWith('data: a\n\n')).toBe(true);
    expect(text.endsWith('data: b\n\n')).toBe(true);
    expect(text.match(/: keep-alive\n\n/g)?.length).toBeGreaterThanOrEqual(2);
  });

  it('pulls no frame that nobody has room for', async () => {
    let pulled = 0;
    async function* frames() {
      for (;;) {
        pulled += 1;
        yield 'x'.repeat(64 * 1024);
      }
    }
    const stream = createKeepAliveStream(frames(), 1_000);
    stream.once('readable', () => {});
    await sleep(30);
    expect(pulled).toBeLessThan(4);
    stream.destroy();
  });

  it('ends its source when it is destroyed', async () => {
    let ended = false;
    async function* frames() {
      try {
        for (;;) yield 'data: x\n\n';
      } finally {
        ended = true;
      }
    }
    const stream = createKeepAliveStream(frames(), 1_000);
    for await (const _ of stream) break;
    await sleep(5);
    expect(ended).toBe(true);
  });

  it('fails when its source does', async () => {
    async function* frames() {
      yield 'data: x\n\n';
      throw new Error('source failed');
    }
    await expect(read(createKeepAliveStream(frames(), 1_000))).rejects.toThrow('source failed');
  });
});
