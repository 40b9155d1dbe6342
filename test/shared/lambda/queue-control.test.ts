import { GetQueueAttributesCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import { parseQueueEvent, parseReceivedMessage, type QueueRecord } from '../../../shared/lambda/queue-event.ts';
import { type Services, startServices } from '../jobs/services.ts';

const MEBIBYTE = 1_048_576;
const reason = new LambentError('unknown_parameter', `Unknown parameter: '${'\u00e4'.repeat(300)}'.`, {
  param: 'body.colour',
});
const ERROR = { code: 'unknown_parameter', param: 'body.colour', message: reason.message.slice(0, 256) };
const ATTRIBUTES = { reason: 'unknown_parameter', messageId: 'm-1', senderId: 'AROA1' };
/** Bytes of the attributes as SQS counts them: name, type (`String`) and value. */
const ATTRIBUTE_BYTES = Object.entries(ATTRIBUTES).reduce(
  (sum, texts) => sum + Buffer.byteLength(`${texts.join('')}String`),
  0,
);
/** The bytes by which the error enlarges a body that is a JSON object. */
const ERROR_BYTES = Buffer.byteLength(JSON.stringify({ version: 1, type: 'rejected', error: ERROR, message: {} })) - 2;

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
    attributes: { SenderId: 'AROA1:a.person@example.com', ApproximateReceiveCount: '1' },
  };
  await createQueueControl(services.sqs, { queueUrl: 'unused', deadLetterUrl: url }).deadLetter(record, reason);
  const [message] = await services.messagesOf(url);
  return message;
}

/** Creates a JSON object of `bytes` bytes that has fewer characters. */
function makeBody(bytes: number): string {
  const room = bytes - Buffer.byteLength('{"x":""}');
  return JSON.stringify({ x: '\u00e4'.repeat(Math.floor(room / 2)) + 'x'.repeat(room % 2) });
}

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

describe('a dead-lettered message', () => {
  it.each([
    ['a JSON object', '{"a": 1}', { a: 1 }],
    ['JSON of another type', '"text"', '"text"'],
    ['no JSON', 'text \u00e4', 'text \u00e4'],
  ])('wraps a body that is %s with the error, and has only codes and ids as attributes', async (_, body, message) => {
    const dead = await deadLetter(body);
    expect(dead?.attributes).toEqual(ATTRIBUTES);
    expect(JSON.parse(dead?.body ?? '')).toEqual({ version: 1, type: 'rejected', error: ERROR, message });
  });

  it.each([MEBIBYTE - ATTRIBUTE_BYTES - ERROR_BYTES + 1, MEBIBYTE - ATTRIBUTE_BYTES])(
    'keeps a body of %i bytes and has no error text, because both don’t fit',
    async (bytes) => {
      const body = makeBody(bytes);
      expect(await deadLetter(body)).toEqual({ body, attributes: ATTRIBUTES });
    },
  );

  it('keeps the largest body that fits with the error', async () => {
    const body = makeBody(MEBIBYTE - ATTRIBUTE_BYTES - ERROR_BYTES);
    const dead = await deadLetter(body);
    expect(JSON.parse(dead?.body ?? '')).toMatchObject({ error: ERROR, message: JSON.parse(body) });
  });

  it.each([MEBIBYTE, MEBIBYTE - ATTRIBUTE_BYTES + 1])(
    'of %i bytes loses its body and keeps the error',
    async (bytes) => {
      const dead = await deadLetter(makeBody(bytes));
      expect(dead?.attributes).toEqual(ATTRIBUTES);
      expect(JSON.parse(dead?.body ?? '')).toEqual({ version: 1, type: 'rejected', error: ERROR, leftOutBytes: bytes });
    },
  );

  it.each(['{"a": [1, "b"]}', 'text', '"text"', '{"version":1,"type":"rejected",', makeBody(MEBIBYTE - 2_000)])(
    'has its own body again when it is moved back (%#)',
    async (body) => {
      const dead = await deadLetter(body);
      const own = body.startsWith('{"a"') ? JSON.stringify(JSON.parse(body)) : body;
      const attributes = { SenderId: 'AROA1' };
      const record = { messageId: 'm-1', receiptHandle: 'r', body: dead?.body, attributes };
      expect(parseQueueEvent({ Records: [record] })[0]?.body).toBe(own);
      const received = { MessageId: 'm-1', ReceiptHandle: 'r', Body: dead?.body, Attributes: attributes };
      expect(parseReceivedMessage(received).body).toBe(own);
    },
  );
});
