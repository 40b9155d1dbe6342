import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { createGate, defineFunction, until, useCleanup } from '../runners.ts';
import { type LoggedRecord, QUEUE_ARN, startMappedQueue } from './queues.ts';

useCleanup();

const EMPTY = { visible: 0, inFlight: 0 };
/** Returns `count` message bodies, numbered by `n`, with the given fields. */
const createBodies = (count: number, fields: object = {}) =>
  Array.from({ length: count }, (_, n) => ({ n, ...fields }));
const pause = (ms: number) => new Promise((wake) => setTimeout(wake, ms));

/** Waits until the queue is empty and the function processes no message. */
async function untilDrained(queue: Awaited<ReturnType<typeof startMappedQueue>>): Promise<void> {
  await until(async () => {
    const { visible, inFlight } = await queue.depth();
    return visible + inFlight === 0 && queue.running() === 0;
  });
}

/** Waits until the function has received `count` records and processes none. Returns them. */
async function untilReceived(queue: Awaited<ReturnType<typeof startMappedQueue>>, count: number) {
  await until(() => queue.records().length === count && queue.running() === 0);
  return queue.records();
}

const getNumber = ({ body }: LoggedRecord): number => JSON.parse(body).n;

describe('an event source mapping', () => {
  it('an event source mapping passes a message to the function as AWS does, and then deletes it', async () => {
    const queue = await startMappedQueue();
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
    await untilDrained(queue);
  });

  it('an event source mapping passes no batch larger than the batch size', async () => {
    const queue = await startMappedQueue({ batchSize: 4, maximumConcurrency: 2 });
    await queue.send(createBodies(30));
    await until(() => queue.records().length === 30);
    expect(Math.max(...queue.records().map((record) => record.of))).toBe(4);
    expect(new Set(queue.records().map(({ messageId }) => messageId)).size).toBe(30);
    await untilDrained(queue);
  });

  it('an event source mapping gathers the messages of a window into one batch of more than ten', async () => {
    const queue = await startMappedQueue({
      batchSize: 20,
      // Longer than the test: the window ends early because the batch is full.
      windowMs: 600_000,
      maximumConcurrency: 2,
      growEveryMs: 10_000,
    });
    await queue.send(createBodies(20));
    await until(() => queue.records().length === 20);
    expect(queue.records().map((record) => record.of)).toEqual(Array(20).fill(20));
  });

  it('an event source mapping passes no event larger than the payload that Lambda accepts', async () => {
    const queue = await startMappedQueue({ batchSize: 10, windowMs: 300, growEveryMs: 10_000 });
    await Promise.all(createBodies(7, { pad: 'x'.repeat(1_000_000) }).map((body) => queue.send([body])));
    await until(() => queue.records().length === 7);
    expect(Math.max(...queue.records().map((record) => record.of))).toBeLessThan(7);
    await untilDrained(queue);
  });
});

describe('a message whose processing fails', () => {
  it('a failed message is delivered again without the rest of its batch if the function reports it', async () => {
    const queue = await startMappedQueue();
    await queue.send([{ n: 0 }, { n: 1, first: { fail: true } }, { n: 2 }]);
    const received = await untilReceived(queue, 3);
    await until(async () => (await queue.depth()).inFlight === 1);
    await queue.expireVisibility(received.filter((record) => getNumber(record) === 1));
    await until(() => queue.records().length === 4);
    await untilDrained(queue);
    const counts = queue.records().map((record) => [getNumber(record), record.attributes['ApproximateReceiveCount']]);
    expect(counts.toSorted()).toEqual([
      [0, '1'],
      [1, '1'],
      [1, '2'],
      [2, '1'],
    ]);
  });

  it('a failed message is delivered again with its batch if the function throws', async () => {
    const queue = await startMappedQueue();
    await queue.send([{ n: 0 }, { n: 1, first: { throw: 'no' } }]);
    const received = await untilReceived(queue, 2);
    expect(await queue.depth()).toEqual({ visible: 0, inFlight: 2 });
    await queue.expireVisibility(received);
    await until(() => queue.records().length === 4);
    await untilDrained(queue);
  });

  it('a failed message is deleted by a mapping without partial failures even if the function reports it', async () => {
    const queue = await startMappedQueue({ partialFailures: false });
    await queue.send([{ fail: true }]);
    await until(() => queue.records().length === 1);
    await untilDrained(queue);
    expect(queue.records()).toHaveLength(1);
  });

  it('a message is delivered again after its visibility timeout if the function kills its process', async () => {
    const queue = await startMappedQueue();
    await queue.send([{ n: 0, first: { kill: true } }, { n: 1 }]);
    const received = await untilReceived(queue, 2);
    expect(await queue.depth()).toEqual({ visible: 0, inFlight: 2 });
    await queue.expireVisibility(received);
    await until(() => queue.records().length === 4);
    await untilDrained(queue);
    expect(new Set(queue.records().map(({ pid }) => pid)).size).toBe(2);
  });

  it('a message is delivered again if its process is killed from outside', async () => {
    const queue = await startMappedQueue();
    await queue.send([{ first: { untilFile: createGate().file } }]);
    await until(() => queue.records().length === 1);
    for (const { pid } of queue.records()) process.kill(pid, 'SIGKILL');
    await queue.expireVisibility(await untilReceived(queue, 1));
    await until(() => queue.records().length === 2);
    await untilDrained(queue);
  });

  it('a message is delivered again if the function exceeds its timeout', async () => {
    const functions = [defineFunction('queue', { timeoutMs: 300 })];
    const queue = await startMappedQueue({ visibilitySeconds: 1, runner: { functions } });
    await queue.send([{ first: { sleepMs: 20_000 } }]);
    await until(() => queue.records().length >= 2);
    await untilDrained(queue);
  });
});

describe('the pollers of a mapping', () => {
  it('the pollers grow with the backlog up to the maximum, and shrink to one when the queue is empty', async () => {
    const queue = await startMappedQueue({ batchSize: 1, maximumConcurrency: 3 });
    await until(() => queue.pollers() === 1);
    const gate = createGate();
    await queue.send(createBodies(24, { untilFile: gate.file }));
    await until(() => queue.runner.processes().filter(({ requestIds }) => requestIds.length === 1).length === 3);
    // Without the maximum, they would grow by one each 20 ms.
    await pause(200);
    expect(queue.pollers()).toBe(3);
    expect(queue.runner.processes()).toHaveLength(3);
    gate.open();
    let most = 0;
    await until(() => {
      most = Math.max(most, queue.running());
      return queue.records().length === 24;
    });
    expect(most).toBeLessThanOrEqual(3);
    await untilDrained(queue);
    await until(() => queue.pollers() === 1);
  });

  it('the pollers become five as soon as there are messages, and then grow by one at a time', async () => {
    const queue = await startMappedQueue({ batchSize: 1, growEveryMs: 2_000 });
    const gate = createGate();
    const seen = [queue.pollers()];
    await queue.send(createBodies(20, { untilFile: gate.file }));
    await until(() => {
      if (seen.at(-1) !== queue.pollers()) seen.push(queue.pollers());
      return seen.length === 4;
    });
    expect(seen).toEqual([1, 5, 6, 7]);
    gate.open();
  });

  it('one poller runs while the queue is empty', async () => {
    const queue = await startMappedQueue({ growEveryMs: 5 });
    await pause(200);
    expect(queue.pollers()).toBe(1);
  });

  it('the pollers retry while Lambda throttles, and lose no message', async () => {
    const functions = [defineFunction('queue', { reservedConcurrency: 1 })];
    const queue = await startMappedQueue({ batchSize: 1, maximumConcurrency: 5, runner: { functions } });
    await queue.send(createBodies(12, { sleepMs: 50 }));
    await until(() => queue.records().length === 12);
    await untilDrained(queue);
    expect(queue.records().every(({ attributes }) => attributes['ApproximateReceiveCount'] === '1')).toBe(true);
  });

  it('a poller gives up a batch that is throttled until its visibility timeout expires', async () => {
    const functions = [defineFunction('queue', { reservedConcurrency: 0 })];
    const queue = await startMappedQueue({ visibilitySeconds: 1, maximumConcurrency: 2, runner: { functions } });
    await queue.send([{}]);
    await until(() => queue.running() === 1);
    await until(() => queue.running() === 0);
    expect(queue.records()).toEqual([]);
    expect(await queue.depth()).not.toEqual(EMPTY);
  });

  it('the pollers continue when SQS restarts with empty queues', async () => {
    const queue = await startMappedQueue();
    await until(() => queue.pollers() === 1);
    await queue.send([{ n: 0 }]);
    await until(() => queue.records().length === 1);
    await queue.send(createBodies(5, { sleepMs: 500 }));
    await until(() => queue.running() > 0);
    await queue.queues.restart(100);
    expect(await queue.depth()).toEqual(EMPTY);
    await queue.send([{ n: 'after' }]);
    await until(() => queue.records().some(({ body }) => body.includes('after')));
    await untilDrained(queue);
  });

  it('the pollers end when the mapping closes', async () => {
    const queue = await startMappedQueue();
    queue.close();
    await until(() => queue.pollers() === 0);
    await queue.send([{}]);
    await pause(200);
    expect(queue.records()).toEqual([]);
  });
});
