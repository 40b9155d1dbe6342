import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import { type Services, startServices } from '../jobs/services.ts';

const MEBIBYTE = 1_048_576;
const reason = new LambentError('unknown_parameter', `Unknown parameter: '${'\u00e4'.repeat(300)}'.`, {
  param: 'body.colour',
});
const NAMED = { reason: 'unknown_parameter', messageId: 'm-1', senderId: 'AROA1' };
const PARAM = { param: 'body.colour' };
const DETAIL = { detail: reason.message.slice(0, 256) };
/** Bytes of attributes: each with its name, its type, `String`, and its value. */
const sizeOf = (attributes: Readonly<Record<string, string>>) =>
  Object.entries(attributes).reduce((sum, texts) => sum + Buffer.byteLength(`${texts.join('')}String`), 0);

let services: Services;
beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());

/** What the dead-letter queue has after a message with this body was refused. */
async function refused(body: string) {
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

/** A body of so many bytes, of fewer characters. */
const bodyOf = (bytes: number) => '\u00e4'.repeat(Math.floor(bytes / 2)) + 'x'.repeat(bytes % 2);

it.each([
  ['everything where there is room', { ...NAMED, ...PARAM, ...DETAIL }, 0],
  ['no detail where that does not fit', { ...NAMED, ...PARAM }, sizeOf(DETAIL) - 1],
  ['no param either where that does not fit', NAMED, sizeOf({ ...PARAM }) - 1],
])('a message that is refused keeps its body, and says why: %s', async (_, attributes, spare) => {
  for (const body of [bodyOf(MEBIBYTE - sizeOf(attributes)), bodyOf(MEBIBYTE - sizeOf(attributes) - spare)])
    expect(await refused(body)).toEqual({ body, attributes });
});

it.each([MEBIBYTE, MEBIBYTE - sizeOf(NAMED) + 1])('a refused message of %i bytes leaves its reason', async (bytes) => {
  expect(await refused(bodyOf(bytes))).toEqual({
    body: JSON.stringify({ messageId: 'm-1', leftOutBytes: bytes }),
    attributes: { ...NAMED, ...PARAM, ...DETAIL },
  });
});
