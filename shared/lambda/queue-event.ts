import * as v from 'valibot';
import { LambentError } from '../core/errors.ts';
import { unwrapRejected } from './rejected-message.ts';

const record = v.object({
  messageId: v.string(),
  receiptHandle: v.string(),
  body: v.pipe(v.string(), v.transform(unwrapRejected)),
  /** The queue. Only messages of an event have it. */
  eventSourceARN: v.exactOptional(v.string()),
  attributes: v.object({
    SenderId: v.string(),
    ApproximateReceiveCount: v.optional(v.string(), '1'),
    /** Epoch milliseconds. */
    SentTimestamp: v.exactOptional(v.string()),
    /** Epoch milliseconds. */
    ApproximateFirstReceiveTimestamp: v.exactOptional(v.string()),
  }),
});

const queueEvent = v.object({ Records: v.array(record) });

/** A message in an event of SQS's event source mapping: the fields that Lambent reads. */
export type QueueRecord = v.InferOutput<typeof record>;

/**
 * Parses an SQS event into its messages.
 * @throws LambentError `invalid_value` for any other event. Only a direct invocation can send one
 */
export function parseQueueEvent(event: unknown): readonly QueueRecord[] {
  const result = v.safeParse(queueEvent, event);
  if (result.success) return result.output.Records;
  throw new LambentError('invalid_value', 'The event is not a batch of messages from SQS.');
}

/** A message in SQS's response to a receive. */
interface ReceivedMessage {
  readonly MessageId?: unknown;
  readonly ReceiptHandle?: unknown;
  readonly Body?: unknown;
  readonly Attributes?: unknown;
}

/**
 * Returns a message that was received from SQS as the event would contain it.
 * @throws LambentError `invalid_value` if SQS left out what was requested
 */
export function parseReceivedMessage({ MessageId, ReceiptHandle, Body, Attributes }: ReceivedMessage): QueueRecord {
  const result = v.safeParse(record, {
    messageId: MessageId,
    receiptHandle: ReceiptHandle,
    body: Body,
    attributes: Attributes,
  });
  if (result.success) return result.output;
  throw new LambentError('invalid_value', 'SQS delivered an incomplete message.');
}
