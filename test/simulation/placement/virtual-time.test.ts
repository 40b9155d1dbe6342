import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createVirtualTime } from './virtual-time.ts';

/** A clock, and what happened on it. */
function observed() {
  const time = createVirtualTime();
  const happened: [number, string][] = [];
  return { time, happened, note: (what: string) => () => void happened.push([time.now(), what]) };
}

describe('virtual time', () => {
  test('jumps to what comes next, and stands still meanwhile', async () => {
    const { time, happened, note } = observed();
    time.at(3_600_000, note('later'));
    time.at(10, note('soon'));
    expect(time.now()).toBe(0);
    await time.run();
    expect(happened).toEqual([
      [10, 'soon'],
      [3_600_000, 'later'],
    ]);
    expect(time.now()).toBe(3_600_000);
  });

  test('keeps the order in which things were asked for at one moment', async () => {
    const { time, happened, note } = observed();
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) time.at(5, note(name));
    await time.run();
    expect(happened.map(([, name]) => name).join('')).toBe('abcdefg');
  });

  test('never goes back: what is asked for in the past comes now', async () => {
    const { time, happened, note } = observed();
    time.at(100, () => void time.at(50, note('late')));
    await time.run();
    expect(happened).toEqual([[100, 'late']]);
  });

  test('does all things in order, whatever was asked for when and taken off again', async () => {
    const asked = fc.array(fc.record({ at: fc.nat(1_000), isTakenOff: fc.boolean() }), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(asked, async (moments) => {
        const time = createVirtualTime();
        const done: { at: number; order: number }[] = [];
        const cancels = moments.map(({ at }, order) =>
          time.at(at, () => {
            expect(time.now()).toBe(at);
            done.push({ at, order });
          }),
        );
        for (const [order, { isTakenOff }] of moments.entries()) if (isTakenOff) cancels[order]?.();
        await time.run();
        const left = moments.flatMap(({ at, isTakenOff }, order) => (isTakenOff ? [] : [{ at, order }]));
        expect(done).toEqual(left.toSorted((a, b) => a.at - b.at || a.order - b.order));
      }),
    );
  });

  test('does not go on to a moment that was taken off', async () => {
    const { time, note, happened } = observed();
    const cancel = time.at(1_000, note('never'));
    time.at(10, cancel);
    await time.run();
    expect(happened).toEqual([]);
    expect(time.now()).toBe(10);
  });

  test('runs promises that sleep on it as on a real clock, side by side', async () => {
    const { time, happened, note } = observed();
    const walk = async (name: string, ms: number) => {
      for (let step = 1; step <= 2; step += 1) {
        await time.sleep(ms);
        // As code does that knows nothing of it.
        await Promise.resolve();
        note(`${name}${step}`)();
      }
    };
    const walked = Promise.all([walk('a', 100), walk('b', 70)]);
    await time.run();
    await walked;
    expect(happened).toEqual([
      [70, 'b1'],
      [100, 'a1'],
      [140, 'b2'],
      [200, 'a2'],
    ]);
  });

  test('lets what was settled by hand go on before it does itself', async () => {
    const { time, happened, note } = observed();
    const { promise, resolve } = Promise.withResolvers<void>();
    const waited = promise.then(() => time.sleep(5)).then(note('reader'));
    time.at(10, () => {
      resolve();
      time.settled();
    });
    time.at(20, note('other'));
    await time.run();
    await waited;
    expect(happened).toEqual([
      [15, 'reader'],
      [20, 'other'],
    ]);
  });

  test('ends with what an action throws or rejects with', async () => {
    const { time, happened, note } = observed();
    time.at(10, async () => {
      await time.sleep(5);
      throw new Error('broken');
    });
    time.at(20, note('after'));
    await expect(time.run()).rejects.toThrow('broken');
    expect(happened).toEqual([]);
    const thrown = createVirtualTime();
    thrown.at(1, () => {
      throw new Error('broken at once');
    });
    await expect(thrown.run()).rejects.toThrow('broken at once');
  });
});

describe('sleep', () => {
  test('ends as soon as its signal aborts, and time does not go on to its end', async () => {
    const { time, happened, note } = observed();
    const stop = new AbortController();
    const slept = time.sleep(10_000, stop.signal).then(note('woken'));
    time.at(40, () => stop.abort());
    await time.run();
    await slept;
    expect(happened).toEqual([[40, 'woken']]);
    expect(time.now()).toBe(40);
  });

  test('does not begin under a signal that has aborted', async () => {
    const { time } = observed();
    await time.sleep(10_000, AbortSignal.abort());
    await time.run();
    expect(time.now()).toBe(0);
  });

  test('leaves nothing on a signal that outlives it', async () => {
    const { time, happened, note } = observed();
    const stop = new AbortController();
    const slept = time.sleep(10, stop.signal).then(note('woken'));
    time.at(20, () => stop.abort());
    await time.run();
    await slept;
    expect(happened).toEqual([[10, 'woken']]);
  });
});
