import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { functionOf, until, useCleanup } from '../runners.ts';
import { mappedQueue, QUEUE_ARN } from './queues.ts';

useCleanup();

const EMPTY = { visible: 0, inFlight: 0 };
const many = (count: number, order: object = {}) => Array.from({ length: count }, (_, n) => ({ n, ...order }));
const pause = (ms: number) => new Promise((wake) => setTimeout(wake, ms));

/** Waits until nothing is in the queue and nobody is at work. */
async function drained(queue: Awaited<ReturnType<typeof mappedQueue>>): Promise<void> {
  await until(async () => {
    const { visible, inFlight } = await queue.depth();
    return visible + inFlight === 0 && queue.running() === 0;
  });
}

describe('a function that a queue is mapped to', () => {
  it('gets a message as AWS gives it, and it is deleted afterwards', async () => {
    const queue = await mappedQueue();
    const { MessageId } = await queue.client.send(
      new SendMessageCommand({
        QueueUrl: queue.queueUrl,
        MessageBody: '{"n":1}',
        MessageAttributes: {
          trace: { DataType: 'String', StringValue: 't-1' },
          raw: { DataType: 'Binary', BinaryValue: Buffer.from([1, 2, 255]) },
        },
      }),
    );
    await until(() => queue.records().length === 1);
    const [record] = queue.records();
    expect(record).toEqual({
      messageId: MessageId,
      receiptHandle: expect.any(String),
      body: '{"n":1}',
      attributes: {
        ApproximateReceiveCount: '1',
        SentTimestamp: expect.stringMatching(/^\d{13}$/),
        SenderId: '000000000000',
        ApproximateFirstReceiveTimestamp: expect.stringMatching(/^\d{13}$/),
      },
      messageAttributes: {
        trace: { stringValue: 't-1', stringListValues: [], binaryListValues: [], dataType: 'String' },
        raw: { binaryValue: 'AQL/', stringListValues: [], binaryListValues: [], dataType: 'Binary' },
      },
      md5OfBody: expect.stringMatching(/^[0-9a-f]{32}$/),
      md5OfMessageAttributes: expect.stringMatching(/^[0-9a-f]{32}$/),
      eventSource: 'aws:sqs',
      eventSourceARN: QUEUE_ARN,
      awsRegion: 'eu-west-1',
      pid: expect.any(Number),
      of: 1,
    });
    await drained(queue);
  });

  it('gets batches of the size that it asks for, at most', async () => {
    const queue = await mappedQueue({ batchSize: 4, maximumConcurrency: 2 });
    await queue.send(many(30));
    await until(() => queue.records().length === 30);
    expect(Math.max(...queue.records().map((record) => record.of))).toBe(4);
    expect(new Set(queue.records().map(({ messageId }) => messageId)).size).toBe(30);
    await drained(queue);
  });

  it('gets what comes within the window in one batch, beyond the ten that SQS hands out at once', async () => {
    const queue = await mappedQueue({ batchSize: 25, windowMs: 1_000, maximumConcurrency: 2, growEveryMs: 10_000 });
    await queue.send(many(20));
    await until(() => queue.records().length === 20);
    expect(queue.records().map((record) => record.of)).toEqual(Array(20).fill(20));
  });

  it('is not given more than Lambda takes at once', async () => {
    const queue = await mappedQueue({ batchSize: 10, windowMs: 300, growEveryMs: 10_000 });
    await Promise.all(many(7, { pad: 'x'.repeat(1_000_000) }).map((order) => queue.send([order])));
    await until(() => queue.records().length === 7);
    expect(Math.max(...queue.records().map((record) => record.of))).toBeLessThan(7);
    await drained(queue);
  });
});

describe('what fails', () => {
  it('comes back alone when the function says which it was', async () => {
    const queue = await mappedQueue({ visibilitySeconds: 1 });
    await queue.send([{ n: 0 }, { n: 1, first: { fail: true } }, { n: 2 }]);
    await until(() => queue.records().length === 4);
    await drained(queue);
    const received = queue
      .records()
      .map(({ body, attributes }) => [JSON.parse(body).n, attributes['ApproximateReceiveCount']]);
    expect(received.toSorted()).toEqual([
      [0, '1'],
      [1, '1'],
      [1, '2'],
      [2, '1'],
    ]);
  });

  it('comes back with its batch when the function throws', async () => {
    const queue = await mappedQueue({ visibilitySeconds: 1 });
    await queue.send([{ n: 0 }, { n: 1, first: { throw: 'no' } }]);
    await until(() => queue.records().length === 4);
    await drained(queue);
  });

  it('is not asked for by a mapping without partial failures', async () => {
    const queue = await mappedQueue({ visibilitySeconds: 1, partialFailures: false });
    await queue.send([{ fail: true }]);
    await until(() => queue.records().length === 1);
    await drained(queue);
    expect(queue.records()).toHaveLength(1);
  });

  it('comes back when its process is killed, and not before it is visible again', async () => {
    const queue = await mappedQueue({ visibilitySeconds: 2 });
    const startedAt = Date.now();
    await queue.send([{ n: 0, first: { kill: true } }, { n: 1 }]);
    await until(() => queue.records().length >= 3);
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_900);
    await drained(queue);
    expect(new Set(queue.records().map(({ pid }) => pid)).size).toBe(2);
  });

  it('comes back when somebody else kills its process', async () => {
    const queue = await mappedQueue({ visibilitySeconds: 2 });
    await queue.send([{ first: { sleepMs: 20_000 } }]);
    await until(() => queue.records().length === 1);
    const [{ pid } = { pid: 0 }] = queue.runner.processes();
    process.kill(pid, 'SIGKILL');
    await until(() => queue.records().length === 2);
    await drained(queue);
  });

  it('comes back when its function runs too long', async () => {
    const functions = [functionOf('queue', { timeoutMs: 300 })];
    const queue = await mappedQueue({ visibilitySeconds: 1, runner: { functions } });
    await queue.send([{ first: { sleepMs: 20_000 } }]);
    await until(() => queue.records().length === 2);
    await drained(queue);
  });
});

describe('pollers', () => {
  it('grow with the backlog up to the maximum, and shrink to one when there is nothing to do', async () => {
    const queue = await mappedQueue({ batchSize: 1, maximumConcurrency: 3 });
    await until(() => queue.pollers() === 1);
    await queue.send(many(24, { sleepMs: 100 }));
    let most = 0;
    await until(() => {
      most = Math.max(most, queue.running());
      return queue.records().length === 24;
    });
    expect(most).toBe(3);
    expect(queue.runner.processes()).toHaveLength(3);
    await drained(queue);
    await until(() => queue.pollers() === 1);
  });

  it('are five as soon as there is something to do, and one more at a time after that', async () => {
    const queue = await mappedQueue({ batchSize: 1, growEveryMs: 500 });
    await queue.send(many(20, { sleepMs: 3_000 }));
    const seen: number[] = [];
    await until(() => {
      if (seen.at(-1) !== queue.pollers()) seen.push(queue.pollers());
      return seen.length === 4;
    });
    expect(seen).toEqual([1, 5, 6, 7]);
  });

  it('are one while there is nothing to do', async () => {
    const queue = await mappedQueue({ growEveryMs: 5 });
    await pause(200);
    expect(queue.pollers()).toBe(1);
  });

  it('wait while Lambda throttles, and lose nothing', async () => {
    const functions = [functionOf('queue', { reservedConcurrency: 1 })];
    const queue = await mappedQueue({ batchSize: 1, maximumConcurrency: 5, runner: { functions } });
    await queue.send(many(12, { sleepMs: 50 }));
    await until(() => queue.records().length === 12);
    await drained(queue);
    expect(queue.records().every(({ attributes }) => attributes['ApproximateReceiveCount'] === '1')).toBe(true);
  });

  it('leave a batch to others when it was throttled for as long as it is invisible', async () => {
    const functions = [functionOf('queue', { reservedConcurrency: 0 })];
    const queue = await mappedQueue({ visibilitySeconds: 1, maximumConcurrency: 2, runner: { functions } });
    await queue.send([{}]);
    await until(() => queue.running() === 1);
    await until(() => queue.running() === 0);
    expect(queue.records()).toEqual([]);
    expect(await queue.depth()).not.toEqual(EMPTY);
  });

  it('go on when SQS was emptied and has come back', async () => {
    const queue = await mappedQueue();
    await until(() => queue.pollers() === 1);
    await queue.send([{ n: 0 }]);
    await until(() => queue.records().length === 1);
    await queue.send(many(5, { sleepMs: 500 }));
    await until(() => queue.running() > 0);
    await queue.queues.restart(100);
    expect(await queue.depth()).toEqual(EMPTY);
    await queue.send([{ n: 'after' }]);
    await until(() => queue.records().some(({ body }) => body.includes('after')));
    await drained(queue);
  });

  it('end when the mapping is closed', async () => {
    const queue = await mappedQueue();
    queue.close();
    await until(() => queue.pollers() === 0);
    await queue.send([{}]);
    await pause(200);
    expect(queue.records()).toEqual([]);
  });
});
