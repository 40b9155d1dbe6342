import { describe, expect, it } from 'vitest';
import { countMessage } from '../../../shared/limits/sender-messages.ts';
import { hasWaited, noteWait } from '../../../shared/limits/waiting-messages.ts';
import { MemoryCounters } from './memory-counters.ts';

const DAY_MS = 86_400_000;
const NOON = Date.UTC(2026, 10, 30, 12);

describe('the messages of a sender', () => {
  it('messages over both limits wait until the later of their windows ends', async () => {
    const store = new MemoryCounters();
    const limits = { messagesPerMinute: 1, messagesPerDay: 1 };
    await countMessage(store, 'sender#a', limits, NOON);
    await expect(countMessage(store, 'sender#a', limits, NOON)).rejects.toMatchObject({
      code: 'rate_limit_exceeded',
      message: expect.stringContaining('messagesPerDay of the sender: limit 1'),
      retryAfterMs: DAY_MS / 2,
    });
  });

  it('messages over one limit wait until its window ends', async () => {
    const store = new MemoryCounters();
    const limits = { messagesPerMinute: 1, messagesPerDay: 2 };
    await countMessage(store, 'sender#a', limits, NOON);
    await expect(countMessage(store, 'sender#a', limits, NOON)).rejects.toMatchObject({ retryAfterMs: 60_000 });
  });

  it('the item of a sender has the counters of its last windows only', async () => {
    const store = new MemoryCounters();
    const limits = { messagesPerMinute: 9, messagesPerDay: 9 };
    for (const at of [NOON, NOON + 60_000, NOON + DAY_MS]) await countMessage(store, 'sender#a', limits, at);
    expect(Object.values(await store.read('sender#a'))).toEqual([1n, 1n]);
  });

  it('the item of a sender loses the counters of past windows bit by bit, however many there are', async () => {
    const store = new MemoryCounters();
    const limits = { messagesPerMinute: 9, messagesPerDay: 99 };
    store.items.set('sender#a', Object.fromEntries(Array.from({ length: 700 }, (_, index) => [`m${index}`, 1n])));
    for (let message = 0; message < 11; message += 1) {
      await countMessage(store, 'sender#a', limits, NOON + message * 60_000);
    }
    expect(Object.keys(await store.read('sender#a')).length).toBeLessThan(10);
  });
});

describe('a waiting message', () => {
  it('is known at its next delivery, and only then', async () => {
    const store = new MemoryCounters();
    await noteWait(store, { messageId: 'm1', received: 3 }, 5_000, NOON);
    const waited = [3, 4, 5].map((received) => hasWaited(store, { messageId: 'm1', received }));
    expect(await Promise.all(waited)).toEqual([false, true, false]);
    expect(await hasWaited(store, { messageId: 'm2', received: 4 })).toBe(false);
  });

  it('is known until a day after its pause', async () => {
    const store = new MemoryCounters();
    await noteWait(store, { messageId: 'm1', received: 3 }, 5_000, NOON);
    expect(await store.read('wait#m1')).toMatchObject({ expiresAt: BigInt((NOON + 5_000 + DAY_MS) / 1000) });
  });
});
