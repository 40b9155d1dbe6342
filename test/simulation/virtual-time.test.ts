import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createVirtualTime } from './virtual-time.ts';

/** Creates a clock and a log of events. */
function createObservedTime() {
  const time = createVirtualTime();
  const happened: [number, string][] = [];
  return { time, happened, note: (what: string) => () => void happened.push([time.now(), what]) };
}

describe('virtual time', () => {
  it('virtual time jumps to the next action, and stands still while code runs', async () => {
    const { time, happened, note } = createObservedTime();
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

  it('virtual time runs actions of the same time in the order of scheduling', async () => {
    const { time, happened, note } = createObservedTime();
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) time.at(5, note(name));
    await time.run();
    expect(happened.map(([, name]) => name).join('')).toBe('abcdefg');
  });

  it('virtual time never goes back, so an action in the past runs now', async () => {
    const { time, happened, note } = createObservedTime();
    time.at(100, () => void time.at(50, note('late')));
    await time.run();
    expect(happened).toEqual([[100, 'late']]);
  });

  it('virtual time runs all actions in order, whatever was scheduled and cancelled', async () => {
    const schedules = fc.array(fc.record({ at: fc.nat(1_000), isCancelled: fc.boolean() }), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(schedules, async (moments) => {
        const time = createVirtualTime();
        const done: { at: number; order: number }[] = [];
        const cancels = moments.map(({ at }, order) =>
          time.at(at, () => {
            expect(time.now()).toBe(at);
            done.push({ at, order });
          }),
        );
        for (const [order, { isCancelled }] of moments.entries()) if (isCancelled) cancels[order]?.();
        await time.run();
        const left = moments.flatMap(({ at, isCancelled }, order) => (isCancelled ? [] : [{ at, order }]));
        expect(done).toEqual(left.toSorted((a, b) => a.at - b.at || a.order - b.order));
      }),
    );
  });

  it('virtual time does not advance to a cancelled action', async () => {
    const { time, note, happened } = createObservedTime();
    const cancel = time.at(1_000, note('never'));
    time.at(10, cancel);
    await time.run();
    expect(happened).toEqual([]);
    expect(time.now()).toBe(10);
  });

  it('virtual time runs sleeping promises concurrently, as a real clock does', async () => {
    const { time, happened, note } = createObservedTime();
    const walk = async (name: string, ms: number) => {
      for (let step = 1; step <= 2; step += 1) {
        await time.sleep(ms);
        // Code that does not know the virtual clock also awaits other promises.
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

  it('virtual time advances only after the code that waits for settled promises has run', async () => {
    const { time, happened, note } = createObservedTime();
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

  it('a run rejects with the error of an action', async () => {
    const { time, happened, note } = createObservedTime();
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
  it('sleep ends when its signal aborts, without advancing the time', async () => {
    const { time, happened, note } = createObservedTime();
    const stop = new AbortController();
    const slept = time.sleep(10_000, stop.signal).then(note('woken'));
    time.at(40, () => stop.abort());
    await time.run();
    await slept;
    expect(happened).toEqual([[40, 'woken']]);
    expect(time.now()).toBe(40);
  });

  it('sleep resolves at once if its signal is aborted', async () => {
    const { time } = createObservedTime();
    await time.sleep(10_000, AbortSignal.abort());
    await time.run();
    expect(time.now()).toBe(0);
  });

  it('sleep leaves no listener on its signal', async () => {
    const { time, happened, note } = createObservedTime();
    const stop = new AbortController();
    const slept = time.sleep(10, stop.signal).then(note('woken'));
    time.at(20, () => stop.abort());
    await time.run();
    await slept;
    expect(happened).toEqual([[10, 'woken']]);
  });
});
