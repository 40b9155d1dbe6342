import { describe, expect, it } from 'vitest';
import { startHeartbeat } from '../../../shared/core/heartbeat.ts';

/** Creates a sleep that lasts until the test ends it, and records the requested durations. */
function createSleep() {
  const pauses: number[] = [];
  let wakeUp: (() => void) | undefined;
  return {
    pauses,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        pauses.push(ms);
        wakeUp = resolve;
        signal.addEventListener('abort', () => resolve());
      }),
    async wake() {
      wakeUp?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('a heartbeat', () => {
  it('a heartbeat pauses before each beat for the time that the previous one returned', async () => {
    const { pauses, sleep, wake } = createSleep();
    const pausesToReturn = [20, 30];
    const heartbeat = startHeartbeat(10, async () => pausesToReturn.shift(), sleep);
    await wake();
    await wake();
    expect(pauses).toEqual([10, 20, 30]);
    await heartbeat.stop();
  });

  it('a heartbeat ends when a beat returns undefined', async () => {
    const { pauses, sleep, wake } = createSleep();
    let beats = 0;
    startHeartbeat(
      10,
      async () => {
        beats += 1;
        return undefined;
      },
      sleep,
    );
    await wake();
    await wake();
    expect({ beats, pauses }).toEqual({ beats: 1, pauses: [10] });
  });

  it('a heartbeat sends no beat after it is stopped', async () => {
    const { sleep, wake } = createSleep();
    let beats = 0;
    const heartbeat = startHeartbeat(
      10,
      async () => {
        beats += 1;
        return 10;
      },
      sleep,
    );
    await heartbeat.stop();
    await wake();
    expect(beats).toBe(0);
  });

  it('a heartbeat that is stopped waits for a beat in progress', async () => {
    const { sleep, wake } = createSleep();
    let endBeat = () => {};
    const heartbeat = startHeartbeat(
      10,
      () =>
        new Promise((resolve) => {
          endBeat = () => resolve(10);
        }),
      sleep,
    );
    await wake();
    let stopped = false;
    const stopping = heartbeat.stop().then(() => {
      stopped = true;
    });
    await wake();
    expect(stopped).toBe(false);
    endBeat();
    await stopping;
    expect(stopped).toBe(true);
  });
});
