import type { Message, MessageAttributeValue } from '@aws-sdk/client-sqs';
import type { SQSMessageAttribute, SQSRecord } from 'aws-lambda';
import * as v from 'valibot';

/**
 * Converts a message to the record that a function gets.
 * @param arn the queue's ARN
 * @see https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
 */
export function toRecord(message: Message, arn: string): SQSRecord {
  const { MessageId = '', ReceiptHandle = '', Body = '', MD5OfBody = '', MD5OfMessageAttributes } = message;
  const attributes = Object.entries(message.MessageAttributes ?? {}).map(
    ([name, value]) => [name, toAttribute(value)] as const,
  );
  return {
    messageId: MessageId,
    receiptHandle: ReceiptHandle,
    body: Body,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '0',
      SenderId: '',
      ApproximateFirstReceiveTimestamp: '0',
      ...message.Attributes,
    },
    messageAttributes: Object.fromEntries(attributes),
    ...(MD5OfMessageAttributes === undefined ? {} : { md5OfMessageAttributes: MD5OfMessageAttributes }),
    md5OfBody: MD5OfBody,
    eventSource: 'aws:sqs',
    eventSourceARN: arn,
    awsRegion: arn.split(':')[3] ?? '',
  };
}

function toAttribute({ DataType = 'String', StringValue, BinaryValue }: MessageAttributeValue): SQSMessageAttribute {
  return {
    ...(StringValue === undefined ? {} : { stringValue: StringValue }),
    ...(BinaryValue === undefined ? {} : { binaryValue: Buffer.from(BinaryValue).toString('base64') }),
    stringListValues: [],
    binaryListValues: [],
    dataType: DataType,
  };
}

/** Splits records into events of at most 6 MB, with room for the JSON around the records. */
export function splitIntoEvents(records: readonly SQSRecord[], maxBytes = 6_000_000): SQSRecord[][] {
  const events: SQSRecord[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const record of records) {
    const bytes = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (size + bytes > maxBytes) {
      events.push([]);
      size = 0;
    }
    events.at(-1)?.push(record);
    size += bytes;
  }
  return events;
}

const responseSchema = v.nullish(
  v.object({ batchItemFailures: v.nullish(v.array(v.object({ itemIdentifier: v.pipe(v.string(), v.minLength(1)) }))) }),
);

/**
 * Returns the ids of the messages that a function's response reports as failed. An empty response reports none. A
 * response that is invalid, or names a message that the function did not get, reports all.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
 */
export function readFailures(response: string, records: readonly SQSRecord[]): ReadonlySet<string> {
  const all = new Set(records.map(({ messageId }) => messageId));
  const result = v.safeParse(responseSchema, parseResponse(response));
  if (!result.success) return all;
  const failed = (result.output?.batchItemFailures ?? []).map(({ itemIdentifier }) => itemIdentifier);
  return failed.every((id) => all.has(id)) ? new Set(failed) : all;
}

function parseResponse(response: string): unknown {
  if (response === '') return null;
  try {
    return JSON.parse(response);
  } catch {
    return response;
  }
}
