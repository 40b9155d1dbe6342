import type { buildApp } from 'fauxqs';
import * as v from 'valibot';

const sentMessage = v.object({ MessageId: v.string() });
const sentBatch = v.object({ Successful: v.array(sentMessage) });
const received = v.looseObject({
  Messages: v.optional(v.array(v.looseObject({ MessageId: v.string(), ReceiptHandle: v.string() })), []),
});
const receiveRequest = v.object({
  AttributeNames: v.optional(v.array(v.string()), []),
  MessageSystemAttributeNames: v.optional(v.array(v.string()), []),
});
const deleted = v.object({ ReceiptHandle: v.string() });
const deletedBatch = v.object({ Entries: v.array(deleted) });

/**
 * Makes a fauxqs app keep the trace header of a message's sender and return it as the system attribute `AWSTraceHeader`, as
 * SQS does. Lambda counts the invocations of a chain by it. Call it before the app is ready.
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-message-system-attributes
 */
export function keepTraceHeaders(app: ReturnType<typeof buildApp>): void {
  /** The trace header of a message and its last receipt handle, by the message's id. */
  const traces = new Map<string, { readonly header: string; readonly receiptHandle?: string }>();
  /** Ids of messages in `traces`, by their last receipt handle. */
  const ids = new Map<string, string>();

  function remember(id: string, header: string, receiptHandle: string): void {
    ids.delete(traces.get(id)?.receiptHandle ?? '');
    ids.set(receiptHandle, id);
    traces.set(id, { header, receiptHandle });
  }

  function forget(receiptHandle: string): void {
    traces.delete(ids.get(receiptHandle) ?? '');
    ids.delete(receiptHandle);
  }

  app.addHook('preHandler', async ({ body }) => {
    if (v.is(deletedBatch, body)) for (const { ReceiptHandle } of body.Entries) forget(ReceiptHandle);
    else if (v.is(deleted, body)) forget(body.ReceiptHandle);
  });

  app.addHook('onSend', async (request, reply, payload) => {
    if (typeof payload !== 'string' || reply.statusCode !== 200) return payload;
    const target = request.headers['x-amz-target'];
    if (target === 'AmazonSQS.ReceiveMessage') return addHeaders(request.body, payload);
    const header = request.headers['x-amzn-trace-id'];
    if (typeof header !== 'string') return payload;
    const response: unknown = JSON.parse(payload);
    if (target === 'AmazonSQS.SendMessage' && v.is(sentMessage, response)) traces.set(response.MessageId, { header });
    if (target === 'AmazonSQS.SendMessageBatch' && v.is(sentBatch, response)) {
      for (const { MessageId } of response.Successful) traces.set(MessageId, { header });
    }
    return payload;
  });

  function addHeaders(request: unknown, payload: string): string {
    if (traces.size === 0) return payload;
    const asked = v.parse(receiveRequest, request);
    const names = [...asked.AttributeNames, ...asked.MessageSystemAttributeNames];
    const isAsked = names.includes('All') || names.includes('AWSTraceHeader');
    const response = v.parse(received, JSON.parse(payload));
    if (response.Messages.length === 0) return payload;
    const Messages = response.Messages.map((message) => {
      const AWSTraceHeader = traces.get(message.MessageId)?.header;
      if (AWSTraceHeader === undefined) return message;
      remember(message.MessageId, AWSTraceHeader, message.ReceiptHandle);
      return isAsked ? { ...message, Attributes: { ...Object(message['Attributes']), AWSTraceHeader } } : message;
    });
    return JSON.stringify({ ...response, Messages });
  }
}
