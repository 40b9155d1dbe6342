import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../../local/faults/random.ts';
import { createVirtualTime, type VirtualTime } from '../virtual-time.ts';
import { type ReceivedMessage, SqsModel, type SqsModelOptions } from './sqs-model.ts';

const HOUR_MS = 3_600_000;

/** Runs a scenario on a queue. Fails like the scenario, or if it doesn't end. */
async function run(
  scenario: (queue: SqsModel, time: VirtualTime) => Promise<void>,
  options: Partial<SqsModelOptions> = {},
): Promise<void> {
  const time = createVirtualTime();
  const queue = new SqsModel(time, { name: 'queue', ...options });
  let hasEnded = false;
  time.at(0, async () => {
    await scenario(queue, time);
    hasEnded = true;
  });
  await time.run();
  expect(hasEnded).toBe(true);
}

async function sendMany(queue: SqsModel, count: number, group?: string): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    await queue.send({ body: `${group ?? 'message'} ${index}`, ...(group === undefined ? {} : { group }) });
  }
}

const readBodies = (messages: readonly ReceivedMessage[]) => messages.map(({ body }) => body);

async function receiveOne(queue: SqsModel, visibilitySeconds?: number): Promise<ReceivedMessage> {
  const [message] = await queue.receive(visibilitySeconds === undefined ? {} : { visibilitySeconds });
  if (message === undefined) throw new Error('No message is visible.');
  return message;
}

describe('visibility', () => {
  it('a received message is hidden for the visibility timeout and then received again with a higher receive count', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const first = await receiveOne(queue);
      expect(first.attributes.ApproximateReceiveCount).toBe('1');
      await time.sleep(29_999);
      expect(await queue.receive()).toEqual([]);
      await time.sleep(1);
      const second = await receiveOne(queue);
      expect(second.attributes).toMatchObject({
        ApproximateReceiveCount: '2',
        ApproximateFirstReceiveTimestamp: '0',
        SentTimestamp: '0',
      });
      expect(second.receiptHandle).not.toBe(first.receiptHandle);
    }));

  it('a changed visibility timeout counts from the change, and 0 makes the message visible at once', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const message = await receiveOne(queue);
      await time.sleep(20_000);
      await queue.changeVisibility(message.receiptHandle, 60);
      await time.sleep(59_999);
      expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 1, delayed: 0 });
      await queue.changeVisibility(message.receiptHandle, 0);
      expect(queue.inspectCounts()).toEqual({ visible: 1, hidden: 0, delayed: 0 });
    }));

  it('a visibility timeout that ends more than 12 hours after the receive is refused and not shortened', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const { receiptHandle } = await receiveOne(queue, 2 * 3_600);
      await time.sleep(HOUR_MS);
      await expect(queue.changeVisibility(receiptHandle, 11 * 3_600 + 1)).rejects.toMatchObject({
        name: 'InvalidParameterValue',
        message: expect.stringContaining('beyond the limit'),
        $metadata: { httpStatusCode: 400 },
      });
      await time.sleep(HOUR_MS);
      expect(queue.inspectCounts().visible).toBe(1);
    }));

  it('a visibility timeout that ends exactly 12 hours after the receive is accepted', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const { receiptHandle } = await receiveOne(queue, 2 * 3_600);
      await time.sleep(HOUR_MS);
      await queue.changeVisibility(receiptHandle, 11 * 3_600);
      await time.sleep(11 * HOUR_MS - 1);
      expect(queue.inspectCounts().visible).toBe(0);
      await time.sleep(1);
      expect(queue.inspectCounts().visible).toBe(1);
    }));

  it('the visibility of a message that is not in flight cannot be changed', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const { receiptHandle } = await receiveOne(queue);
      await time.sleep(30_000);
      await expect(queue.changeVisibility(receiptHandle, 30)).rejects.toMatchObject({ name: 'InvalidParameterValue' });
    }));

  it('an outdated receipt handle deletes nothing, and the last one deletes even a visible message', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const first = await receiveOne(queue);
      await time.sleep(30_000);
      const second = await receiveOne(queue);
      await queue.delete(first.receiptHandle);
      await time.sleep(30_000);
      expect(queue.inspectCounts().visible).toBe(1);
      await queue.delete(second.receiptHandle);
      expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
    }));
});

describe('requests', () => {
  it('a delayed message becomes visible after its delay, of 900 s at most', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a', delaySeconds: 900 });
      await expect(queue.send({ body: 'b', delaySeconds: 901 })).rejects.toMatchObject({
        name: 'InvalidParameterValue',
      });
      expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 1 });
      await time.sleep(899_999);
      expect(await queue.receive()).toEqual([]);
      await time.sleep(1);
      expect(readBodies(await queue.receive())).toEqual(['a']);
    }));

  it('a batch reports each refused entry and applies the others', () =>
    run(async (queue) => {
      const sent = await queue.sendBatch([
        { id: 'good', body: 'a' },
        { id: 'bad', body: 'b', delaySeconds: 1_000 },
      ]);
      expect(sent).toMatchObject({ successful: ['good'], failed: [{ id: 'bad', code: 'InvalidParameterValue' }] });
      const { receiptHandle } = await receiveOne(queue);
      const changed = await queue.changeVisibilityBatch([
        { id: 'good', receiptHandle, seconds: 60 },
        { id: 'bad', receiptHandle, seconds: 50_000 },
      ]);
      expect(changed).toMatchObject({ successful: ['good'], failed: [{ id: 'bad' }] });
      const deleted = await queue.deleteBatch([
        { id: 'good', receiptHandle },
        { id: 'bad', receiptHandle: 'none' },
      ]);
      expect(deleted).toMatchObject({ successful: ['good'], failed: [{ id: 'bad', code: 'ReceiptHandleIsInvalid' }] });
    }));

  it('a batch has 1 to 10 entries with distinct ids', () =>
    run(async (queue) => {
      const entries = Array.from({ length: 11 }, (_, index) => ({ id: String(index), body: 'a' }));
      await expect(queue.sendBatch(entries)).rejects.toMatchObject({ name: 'TooManyEntriesInBatchRequest' });
      await expect(queue.sendBatch([])).rejects.toMatchObject({ name: 'EmptyBatchRequest' });
      const twice = [...entries.slice(0, 1), ...entries.slice(0, 1)];
      await expect(queue.sendBatch(twice)).rejects.toMatchObject({ name: 'BatchEntryIdsNotDistinct' });
      await expect(queue.receive({ maxMessages: 11 })).rejects.toMatchObject({ name: 'InvalidParameterValue' });
      expect(queue.sentCount).toBe(0);
    }));

  it('long polling returns as soon as a message is sent or becomes visible, and empty at its end', () =>
    run(async (queue, time) => {
      time.at(5_000, () => void queue.send({ body: 'a', delaySeconds: 2 }));
      expect(readBodies(await queue.receive({ waitSeconds: 20, visibilitySeconds: 10 }))).toEqual(['a']);
      expect(time.now()).toBe(7_000);
      const { receiptHandle = '' } = (await queue.receive({ waitSeconds: 20 }))[0] ?? {};
      expect(time.now()).toBe(17_000);
      await queue.delete(receiptHandle);
      expect(await queue.receive({ waitSeconds: 20 })).toEqual([]);
      expect(time.now()).toBe(37_000);
    }));

  it('long polling returns as soon as another consumer makes a message visible', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const { receiptHandle } = await receiveOne(queue);
      time.at(5_000, () => void queue.changeVisibility(receiptHandle, 0));
      expect(readBodies(await queue.receive({ waitSeconds: 20 }))).toEqual(['a']);
      expect(time.now()).toBe(5_000);
    }));

  it('every request fails during an outage, while visibility timeouts go on', () =>
    run(async (queue, time) => {
      await queue.send({ body: 'a' });
      const { receiptHandle } = await receiveOne(queue);
      queue.setAvailable(false);
      const requests = [
        () => queue.send({ body: 'b' }),
        () => queue.sendBatch([{ id: '0', body: 'b' }]),
        () => queue.receive({ waitSeconds: 20 }),
        () => queue.changeVisibility(receiptHandle, 60),
        () => queue.changeVisibilityBatch([{ id: '0', receiptHandle, seconds: 60 }]),
        () => queue.delete(receiptHandle),
        () => queue.deleteBatch([{ id: '0', receiptHandle }]),
        () => queue.readCounts(),
      ];
      for (const request of requests) {
        await expect(request()).rejects.toMatchObject({ $fault: 'server', $metadata: { httpStatusCode: 503 } });
      }
      await time.sleep(30_000);
      queue.setAvailable(true);
      expect(readBodies(await queue.receive({ maxMessages: 10 }))).toEqual(['a']);
    }));

  it('an outage ends a long poll with an error', () =>
    run(async (queue, time) => {
      time.at(1_000, () => queue.setAvailable(false));
      await expect(queue.receive({ waitSeconds: 20 })).rejects.toMatchObject({ name: 'ServiceUnavailable' });
    }));
});

describe('limits', () => {
  it('with 120,000 messages in flight, long polling returns nothing and short polling fails', () =>
    run(
      async (queue, time) => {
        await sendMany(queue, 3);
        await queue.receive({ maxMessages: 1 });
        // A receive takes no more than the limit leaves.
        expect(await queue.receive({ maxMessages: 10 })).toHaveLength(1);
        expect(await queue.receive({ waitSeconds: 20 })).toEqual([]);
        expect(time.now()).toBe(20_000);
        await expect(queue.receive()).rejects.toMatchObject({ name: 'OverLimit' });
        await time.sleep(10_000);
        expect(await queue.receive()).toHaveLength(1);
      },
      { maxInFlight: 2 },
    ));

  it('the limit of messages in flight is 120,000 by default', () =>
    run(async (queue) => {
      await sendMany(queue, 120_001);
      for (let received = 0; received < 120_000; received += 10) await queue.receive({ maxMessages: 10 });
      expect(queue.inspectCounts()).toEqual({ visible: 1, hidden: 120_000, delayed: 0 });
      expect(await queue.receive({ waitSeconds: 1 })).toEqual([]);
    }));

  it('a message is removed 14 days after it was sent, in flight or not', () =>
    run(async (queue, time) => {
      await sendMany(queue, 2);
      await time.sleep(14 * 24 * HOUR_MS - 1);
      await queue.receive();
      expect(queue.inspectCounts()).toEqual({ visible: 1, hidden: 1, delayed: 0 });
      await time.sleep(1);
      expect(queue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
    }));

  it('a message that was received too often moves to the dead-letter queue with its first enqueue time', () =>
    run(async (_, time) => {
      const deadLetterQueue = new SqsModel(time, { name: 'dead', retentionSeconds: 120 });
      const queue = new SqsModel(time, { name: 'queue', redrive: { deadLetterQueue, maxReceiveCount: 2 } });
      await queue.send({ body: 'poison', group: 'a' });
      for (const _ of [1, 2]) {
        expect(await queue.receive()).toHaveLength(1);
        await time.sleep(30_000);
      }
      expect(deadLetterQueue.inspectCounts().visible).toBe(0);
      expect(await queue.receive()).toEqual([]);
      expect(queue.inspectCounts().visible).toBe(0);
      const { messageId, attributes } = await receiveOne(deadLetterQueue);
      expect(messageId).toBe('queue-0');
      expect(attributes).toMatchObject({ SentTimestamp: '0', ApproximateReceiveCount: '1', MessageGroupId: 'a' });
      // The retention runs from the first enqueue time.
      await time.sleep(60_000);
      expect(deadLetterQueue.inspectCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
    }));

  it('counts lag by up to a minute and include hidden and delayed messages', () =>
    run(async (queue, time) => {
      await sendMany(queue, 3);
      await queue.send({ body: 'later', delaySeconds: 600 });
      await queue.receive();
      expect(await queue.readCounts()).toEqual({ visible: 0, hidden: 0, delayed: 0 });
      await time.sleep(50_000);
      await queue.receive({ maxMessages: 2 });
      await time.sleep(10_000);
      expect(await queue.readCounts()).toEqual({ visible: 1, hidden: 2, delayed: 1 });
      await time.sleep(59_999);
      expect(queue.inspectCounts()).toEqual({ visible: 3, hidden: 0, delayed: 1 });
      expect(await queue.readCounts()).toEqual({ visible: 1, hidden: 2, delayed: 1 });
    }));
});

describe('order', () => {
  it('messages are received in the order of sending by default, also after their visibility timeout', () =>
    run(async (queue, time) => {
      await sendMany(queue, 3);
      await queue.receive();
      await time.sleep(30_000);
      expect(readBodies(await queue.receive({ maxMessages: 10 }))).toEqual(['message 0', 'message 1', 'message 2']);
    }));

  it('a queue mixes only its oldest messages, and the same seed gives the same order', async () => {
    const receiveAll = async (seed: number) => {
      const order: number[] = [];
      await run(
        async (queue) => {
          await sendMany(queue, 200);
          for (let left = 200; left > 0; left -= 10) {
            for (const body of readBodies(await queue.receive({ maxMessages: 10 }))) order.push(Number(body.slice(8)));
          }
        },
        { mixedMessages: 50, random: createSeededRandom(seed) },
      );
      return order;
    };
    const order = await receiveAll(1);
    expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, index) => index));
    expect(order).not.toEqual(order.toSorted((a, b) => a - b));
    for (const [index, message] of order.entries()) expect(message).toBeLessThan(index + 50);
    expect(await receiveAll(1)).toEqual(order);
    expect(await receiveAll(2)).not.toEqual(order);
  });

  it('a queue mixes the oldest messages of all groups', async () => {
    const received = new Set<string>();
    await run(
      async (queue) => {
        for (const index of [0, 1, 2, 3]) await queue.send({ body: String(index), group: index % 2 === 0 ? 'a' : 'b' });
        for (let draw = 0; draw < 60; draw += 1) {
          for (const { body, receiptHandle } of await queue.receive()) {
            received.add(body);
            await queue.changeVisibility(receiptHandle, 0);
          }
        }
      },
      { mixedMessages: 3, random: createSeededRandom(1) },
    );
    expect([...received].sort()).toEqual(['0', '1', '2']);
  });
});

describe('fair queues', () => {
  /** Sends a backlog of a busy group, starts `inFlight` of its messages, and then sends a message of a quiet group. */
  async function makeBusy(queue: SqsModel, inFlight: number): Promise<void> {
    await sendMany(queue, 100, 'busy');
    for (let index = 0; index < inFlight; index += 1) await queue.receive();
    await sendMany(queue, 1, 'quiet');
  }

  it('a group with 30 messages and more than 10% in flight waits behind quiet groups', () =>
    run(async (queue) => {
      await makeBusy(queue, 30);
      expect(readBodies(await queue.receive({ maxMessages: 2 }))).toEqual(['quiet 0', 'busy 30']);
    }));

  it('a group with fewer than 30 messages in flight is not noisy by its share of them', () =>
    run(async (queue) => {
      await makeBusy(queue, 29);
      expect(readBodies(await queue.receive())).toEqual(['busy 29']);
    }));

  it('a group with at most 10% of the messages in flight is not noisy', () =>
    run(async (queue) => {
      for (let index = 0; index < 270; index += 1) await queue.send({ body: 'other', group: `other ${index % 27}` });
      await queue.receive({ maxMessages: 1 });
      for (let index = 1; index < 270; index += 1) await queue.receive();
      await makeBusy(queue, 30);
      expect(readBodies(await queue.receive())).toEqual(['busy 30']);
      expect(readBodies(await queue.receive())).toEqual(['quiet 0']);
    }));

  it('a group with more than 10% of the recent processing time is noisy with few messages in flight', () =>
    run(async (queue, time) => {
      await sendMany(queue, 10, 'slow');
      await queue.receive();
      await time.sleep(20_000);
      await sendMany(queue, 1, 'quiet');
      expect(readBodies(await queue.receive({ maxMessages: 2 }))).toEqual(['quiet 0', 'slow 1']);
    }));

  it('a noisy group is received when no quiet one waits, and the noisy group with the fewest in flight first', () =>
    run(async (queue, time) => {
      await sendMany(queue, 20, 'busy');
      await sendMany(queue, 5, 'slow');
      await queue.receive({ maxMessages: 4 });
      await time.sleep(1_000);
      // The slow group was quiet until now; from here on both are noisy.
      expect(readBodies(await queue.receive())).toEqual(['slow 0']);
      await time.sleep(10_000);
      expect(readBodies(await queue.receive())).toEqual(['slow 1']);
    }));

  it('a group is quiet again when none of its messages wait', () =>
    run(async (queue, time) => {
      await sendMany(queue, 2, 'slow');
      await queue.receive();
      await time.sleep(10_000);
      await queue.receive();
      await sendMany(queue, 1, 'slow');
      await sendMany(queue, 1, 'quiet');
      expect(readBodies(await queue.receive())).toEqual(['slow 0']);
    }));

  it('a group is quiet again when it sent nothing for five minutes', () =>
    run(
      async (queue, time) => {
        await sendMany(queue, 3, 'slow');
        await queue.receive();
        await time.sleep(300_000);
        await sendMany(queue, 1, 'quiet');
        expect(readBodies(await queue.receive())).toEqual(['slow 1']);
      },
      { visibilitySeconds: 3_600 },
    ));

  it('messages without a group are never noisy', () =>
    run(async (queue) => {
      await sendMany(queue, 60);
      for (let index = 0; index < 40; index += 1) await queue.receive();
      await sendMany(queue, 1, 'quiet');
      expect(readBodies(await queue.receive())).toEqual(['message 40']);
    }));
});
