import { GetQueueAttributesCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import type { QueueRecord } from '../../../shared/lambda/queue-event.ts';
import { type Services, startServices } from '../jobs/services.ts';

const MEBIBYTE = 1_048_576;
const reason = new LambentError('unknown_parameter', `Unknown parameter: '${'\u00e4'.repeat(300)}'.`, {
  param: 'body.colour',
});
const REQUIRED = { reason: 'unknown_parameter', messageId: 'm-1', senderId: 'AROA1' };
const PARAM = { param: 'body.colour' };
const DETAIL = { detail: reason.message.slice(0, 256) };
/** Returns the bytes of attributes as SQS counts them: name, type (`String`) and value. */
const computeSize = (attributes: Readonly<Record<string, string>>) =>
  Object.entries(attributes).reduce((sum, texts) => sum + Buffer.byteLength(`${texts.join('')}String`), 0);

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

/** Sends a message with this body to a dead-letter queue. Returns the message that arrives there. */
async function deadLetter(body: string) {
  const url = await services.newQueue();
  const { Attributes } = await services.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['MaximumMessageSize'] }),
  );
  expect(Attributes?.['MaximumMessageSize']).toBe(String(MEBIBYTE));
  const record = {
    messageId: 'm-1',
    receiptHandle: 'r',
    body,
    attributes: { SenderId: 'AROA1', ApproximateReceiveCount: '1' },
  };
  await createQueueControl(services.sqs, { queueUrl: 'unused', deadLetterUrl: url }).deadLetter(record, reason);
  const [message] = await services.messagesOf(url);
  return message;
}

/** Creates a body of `bytes` bytes that has fewer characters. */
const makeBody = (bytes: number) => '\u00e4'.repeat(Math.floor(bytes / 2)) + 'x'.repeat(bytes % 2);

describe('a queue control', () => {
  async function createQueue(count: number) {
    const queueUrl = await services.newQueue();
    for (let index = 0; index < count; index += 1)
      await services.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: `m${index}` }));
    return { queueUrl, control: createQueueControl(services.sqs, { queueUrl, deadLetterUrl: 'unused' }) };
  }

  it('receives up to ten messages with what the functions read of them, and hides them', async () => {
    const { control } = await createQueue(12);
    const first = await control.receive(20, 60);
    expect(first.length).toBeLessThanOrEqual(10);
    for (const { attributes } of first) {
      expect(attributes).toMatchObject({ SenderId: expect.any(String), ApproximateReceiveCount: '1' });
      expect(Number(attributes.SentTimestamp)).toBeGreaterThan(0);
      expect(Number(attributes.ApproximateFirstReceiveTimestamp)).toBeGreaterThan(0);
    }
    expect(await control.receive(1, 60)).toHaveLength(1);
    expect(await control.countHidden()).toBe(first.length + 1);
  });

  it('hides received messages for the given time', async () => {
    const { control } = await createQueue(1);
    const [first] = await control.receive(1, 0);
    const [again] = await control.receive(1, 60);
    expect(again?.messageId).toBe(first?.messageId);
    expect(await control.receive(1, 60)).toEqual([]);
  });

  it('deletes and shows again more messages than one request takes', async () => {
    const { control } = await createQueue(24);
    const received: QueueRecord[] = [];
    while (received.length < 24) received.push(...(await control.receive(10, 600)));
    const handles = received.map(({ receiptHandle }) => receiptHandle);
    await control.setVisibility(handles, 0);
    const again: QueueRecord[] = [];
    while (again.length < 24) again.push(...(await control.receive(10, 600)));
    expect(new Set(again.map(({ body }) => body)).size).toBe(24);
    await control.remove(again.map(({ receiptHandle }) => receiptHandle));
    expect(await control.countHidden()).toBe(0);
    expect(await control.receive(10, 60)).toEqual([]);
  });

  it('reports an entry that SQS refuses, after it has changed all others', async () => {
    const { control } = await createQueue(12);
    const received: QueueRecord[] = [];
    while (received.length < 12) received.push(...(await control.receive(10, 600)));
    const handles = received.map(({ receiptHandle }) => receiptHandle);
    const refusal = { name: 'MessageRefusedError', code: expect.any(String) };
    await expect(control.setVisibility(['no handle', ...handles], 0)).rejects.toMatchObject(refusal);
    const again: QueueRecord[] = [];
    while (again.length < 12) again.push(...(await control.receive(10, 600)));
    expect(new Set(again.map(({ messageId }) => messageId)).size).toBe(12);
  });
});

it.each([
  ['all attributes if they fit', { ...REQUIRED, ...PARAM, ...DETAIL }, 0],
  ['no detail if it does not fit', { ...REQUIRED, ...PARAM }, computeSize(DETAIL) - 1],
  ['neither detail nor param if they do not fit', REQUIRED, computeSize({ ...PARAM }) - 1],
])('a dead-lettered message keeps its body and has %s', async (_, attributes, spare) => {
  for (const body of [
    makeBody(MEBIBYTE - computeSize(attributes)),
    makeBody(MEBIBYTE - computeSize(attributes) - spare),
  ])
    expect(await deadLetter(body)).toEqual({ body, attributes });
});

it.each([MEBIBYTE, MEBIBYTE - computeSize(REQUIRED) + 1])(
  'a dead-lettered message of %i bytes loses its body and keeps its reason',
  async (bytes) => {
    expect(await deadLetter(makeBody(bytes))).toEqual({
      body: JSON.stringify({ messageId: 'm-1', leftOutBytes: bytes }),
      attributes: { ...REQUIRED, ...PARAM, ...DETAIL },
    });
  },
);
