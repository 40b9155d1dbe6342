import { describe, expect, it } from 'vitest';
import { createVirtualTime } from '../virtual-time.ts';
import { type BatchHandler, type EventSourceModelOptions, startEventSourceModel } from './event-source-model.ts';
import { SqsModel } from './sqs-model.ts';

/** Creates a queue with messages, and a mapping on it that ends at `untilMs`. */
function createMapping(
  handler: BatchHandler,
  messages: number,
  options: Partial<EventSourceModelOptions> & { readonly untilMs?: number } = {},
) {
  const time = createVirtualTime();
  const queue = new SqsModel(time, { name: 'queue', visibilitySeconds: 60 });
  const source = { current: undefined as ReturnType<typeof startEventSourceModel> | undefined };
  time.at(0, async () => {
    for (let index = 0; index < messages; index += 1) await queue.send({ body: String(index) });
    const mapping = startEventSourceModel(time, { queue, handler, batchSize: 1, timeoutMs: 60_000, ...options });
    source.current = mapping;
    time.at(options.untilMs ?? 600_000, () => mapping.close());
  });
  return { time, queue, source };
}

const NO_FAILURES = { batchItemFailures: [] };

describe('results', () => {
  it('the event source deletes the messages that succeeded and leaves failed ones to their visibility timeout', async () => {
    const batches: { at: number; bodies: string[] }[] = [];
    const { time, queue } = createMapping(
      async (records) => {
        batches.push({ at: time.now(), bodies: records.map(({ body }) => body) });
        const failed = records.filter(
          ({ body, attributes }) => body === '1' && attributes.ApproximateReceiveCount === '1',
        );
        return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
      },
      3,
      { batchSize: 10 },
    );
    await time.run();
    expect(batches).toEqual([
      { at: 0, bodies: ['0', '1', '2'] },
      { at: 60_000, bodies: ['1'] },
    ]);
    expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
  });

  it('the event source keeps the whole batch if the function throws or names an unknown message', async () => {
    const counts: number[] = [];
    const { time, queue } = createMapping(
      async (records) => {
        counts.push(records.length);
        if (counts.length === 1) throw new Error('crash');
        return counts.length === 2 ? { batchItemFailures: [{ itemIdentifier: 'unknown' }] } : NO_FAILURES;
      },
      2,
      { batchSize: 10 },
    );
    await time.run();
    expect(counts).toEqual([2, 2, 2]);
    expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
  });

  it('the event source receives again after an outage, and delivers a message again that it could not delete', async () => {
    const starts: number[] = [];
    const { time, queue } = createMapping(async () => {
      starts.push(time.now());
      if (starts.length === 1) {
        queue.setAvailable(false);
        time.at(90_000, () => queue.setAvailable(true));
      }
      return NO_FAILURES;
    }, 1);
    await time.run();
    expect(starts).toHaveLength(2);
    expect(starts[1]).toBeGreaterThanOrEqual(90_000);
    expect(starts[1]).toBeLessThanOrEqual(91_000);
  });
});

describe('timeouts', () => {
  it('a function that exceeds its timeout is killed: its code has no further effect and its batch is kept', async () => {
    const effects: string[] = [];
    const remaining: number[] = [];
    const { time, queue, source } = createMapping(
      async (records, { environment, remainingMs }) => {
        const world = environment.guard({
          sleep: (ms: number) => time.sleep(ms),
          write: async (effect: string) => void effects.push(effect),
        });
        const attempt = records[0]?.attributes.ApproximateReceiveCount;
        await world.write(`${attempt} began in ${environment.id}`);
        await world.sleep(20_000);
        remaining.push(remainingMs());
        const isSlow = attempt === '1';
        await world.sleep(isSlow ? 20_000 : 1_000);
        await world.write(`${attempt} ended`);
        return NO_FAILURES;
      },
      1,
      { timeoutMs: 30_000 },
    );
    await time.run();
    expect(effects).toEqual(['1 began in 0', '2 began in 1', '2 ended']);
    expect(remaining).toEqual([10_000, 10_000]);
    expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
    expect(source.current?.environmentsStarted()).toBe(2);
  });

  it('code of a killed environment that goes on by other means reaches nothing guarded', async () => {
    const effects: number[] = [];
    const { time } = createMapping(
      async (_, { environment }) => {
        const world = environment.guard({ write: async () => void effects.push(time.now()) });
        await time.sleep(40_000);
        await world.write();
        return NO_FAILURES;
      },
      1,
      { timeoutMs: 30_000, untilMs: 50_000 },
    );
    await time.run();
    expect(effects).toEqual([]);
  });

  it('a killed environment ends its invocation at once, as a crash does', async () => {
    const starts: [number, number][] = [];
    const { time, source } = createMapping(async (_, { environment }) => {
      starts.push([time.now(), environment.id]);
      await environment.guard(time).sleep(10_000);
      return NO_FAILURES;
    }, 1);
    time.at(5_000, () => {
      for (const environment of source.current?.runningEnvironments() ?? []) environment.kill();
      expect(source.current?.invocations()).toBe(1);
    });
    time.at(5_001, () => expect(source.current?.invocations()).toBe(0));
    await time.run();
    expect(starts).toEqual([
      [0, 0],
      [60_000, 1],
    ]);
  });

  it('code that is under way when its invocation ends waits for the next one in its environment', async () => {
    const written: [number, string][] = [];
    const { time, queue } = createMapping(async (records, { environment }) => {
      const body = records[0]?.body ?? '';
      if (body !== '0')
        return environment
          .guard(time)
          .sleep(1_000)
          .then(() => NO_FAILURES);
      void environment
        .guard(time)
        .sleep(1_000)
        .then(() => void written.push([time.now(), 'left behind']));
      return NO_FAILURES;
    }, 1);
    time.at(5_000, () => void queue.send({ body: '1' }));
    await time.run();
    expect(written).toEqual([[5_000, 'left behind']]);
  });

  it('Lambda refuses a function timeout above the visibility timeout, and batches above 10 without a window', () => {
    const time = createVirtualTime();
    const queue = new SqsModel(time, { name: 'queue', visibilitySeconds: 60 });
    const options = { queue, handler: async () => NO_FAILURES, batchSize: 10, timeoutMs: 60_000 };
    expect(() => startEventSourceModel(time, { ...options, timeoutMs: 60_001 })).toThrow(RangeError);
    expect(() => startEventSourceModel(time, { ...options, batchSize: 11 })).toThrow(RangeError);
    expect(() => startEventSourceModel(time, { ...options, maximumConcurrency: 1 })).toThrow(RangeError);
  });
});

describe('scaling', () => {
  /** Returns the concurrent invocations, and the pollers, just before each of the given times, with messages that take 50 s each. */
  async function measureConcurrency(
    messages: number,
    moments: readonly number[],
    options: Partial<EventSourceModelOptions> = {},
  ) {
    const { time, source } = createMapping(
      async () => {
        await time.sleep(50_000);
        return NO_FAILURES;
      },
      messages,
      options,
    );
    const seen: (number | undefined)[] = [];
    const pollers: (number | undefined)[] = [];
    for (const moment of moments) {
      time.at(moment - 1, () => {
        seen.push(source.current?.invocations());
        pollers.push(source.current?.pollers());
      });
    }
    await time.run();
    return { seen, pollers, environments: source.current?.environmentsStarted() };
  }

  it('five pollers begin, and while all work one is added every 200 ms', async () => {
    const { seen } = await measureConcurrency(1_000, [200, 400, 1_200, 30_200]);
    expect(seen).toEqual([5, 6, 10, 155]);
  });

  it('the maximum concurrency bounds the pollers, the first ones included', async () => {
    expect((await measureConcurrency(100, [200, 40_000], { maximumConcurrency: 10 })).seen).toEqual([5, 10]);
    expect((await measureConcurrency(100, [200, 40_000], { maximumConcurrency: 3 })).seen).toEqual([3, 3]);
  });

  it('pollers are not added while one waits for messages', async () => {
    expect(await measureConcurrency(4, [40_000])).toEqual({ seen: [4], pollers: [5], environments: 4 });
  });

  it('pollers beyond the first five end when they receive nothing', async () => {
    const { pollers } = await measureConcurrency(20, [40_000, 200_000]);
    expect(pollers).toEqual([20, 5]);
  });

  it('each concurrent invocation has an environment of its own, which later ones use again', async () => {
    const { seen, environments } = await measureConcurrency(30, [1_200, 40_000], { maximumConcurrency: 10 });
    expect(seen).toEqual([10, 10]);
    expect(environments).toBe(10);
  });
});
