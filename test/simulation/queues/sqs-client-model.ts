import { type ReceiveMessageCommandInput, SQSClient, SQSServiceException } from '@aws-sdk/client-sqs';
import type { BatchResult, ReceivedMessage, SqsModel } from './sqs-model.ts';

/** A request of SQS's JSON protocol: the fields that the code under test sends. */
interface RequestBody extends Pick<ReceiveMessageCommandInput, 'MaxNumberOfMessages' | 'WaitTimeSeconds'> {
  readonly QueueUrl?: string;
  readonly MessageBody?: string;
  readonly MessageGroupId?: string;
  readonly DelaySeconds?: number;
  readonly ReceiptHandle?: string;
  readonly VisibilityTimeout?: number;
  readonly Entries?: readonly (RequestBody & { readonly Id: string })[];
}

interface HttpRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/**
 * Creates the SDK's own SQS client on models of queues. No request leaves the process or takes time, and none is retried,
 * because the SDK's pauses between attempts are in real time.
 * @param queues by queue URL
 */
export async function createSqsClientModel(queues: ReadonlyMap<string, SqsModel>): Promise<SQSClient> {
  const client = new SQSClient({
    region: 'eu-central-1',
    endpoint: 'http://sqs.invalid',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
    md5: false,
    requestHandler: {
      async handle(request: HttpRequest) {
        return { response: await respond(queues, request) };
      },
    },
  });
  // The first request reads the SDK's configuration from files, in real time. Virtual time must not have begun.
  await client.config.userAgentAppId?.();
  return client;
}

async function respond(queues: ReadonlyMap<string, SqsModel>, { headers, body }: HttpRequest) {
  try {
    const request: RequestBody = JSON.parse(new TextDecoder().decode(body));
    const queue = queues.get(request.QueueUrl ?? '');
    if (queue === undefined) throw new TypeError(`There is no queue ${request.QueueUrl}.`);
    const operation = headers['x-amz-target']?.replace('AmazonSQS.', '') ?? '';
    return toResponse(200, await run(queue, operation, request));
  } catch (thrown) {
    if (!(thrown instanceof SQSServiceException)) throw thrown;
    const { name, message, $metadata } = thrown;
    return toResponse($metadata.httpStatusCode ?? 500, { __type: `com.amazonaws.sqs#${name}`, message });
  }
}

async function run(queue: SqsModel, operation: string, request: RequestBody): Promise<unknown> {
  const { Entries = [], ReceiptHandle = '', VisibilityTimeout } = request;
  switch (operation) {
    case 'SendMessage':
      return { MessageId: await queue.send(toOutgoingMessage(request)) };
    case 'SendMessageBatch':
      return toBatchResponse(
        await queue.sendBatch(Entries.map((entry) => ({ id: entry.Id, ...toOutgoingMessage(entry) }))),
      );
    case 'ReceiveMessage': {
      const { MaxNumberOfMessages = 1, WaitTimeSeconds = 0 } = request;
      const messages = await queue.receive({
        maxMessages: MaxNumberOfMessages,
        waitSeconds: WaitTimeSeconds,
        ...(VisibilityTimeout === undefined ? {} : { visibilitySeconds: VisibilityTimeout }),
      });
      return messages.length === 0 ? {} : { Messages: messages.map(toSdkMessage) };
    }
    case 'ChangeMessageVisibility':
      return (await queue.changeVisibility(ReceiptHandle, VisibilityTimeout ?? 0)) ?? {};
    case 'ChangeMessageVisibilityBatch':
      return toBatchResponse(
        await queue.changeVisibilityBatch(
          Entries.map((entry) => ({
            id: entry.Id,
            receiptHandle: entry.ReceiptHandle ?? '',
            seconds: entry.VisibilityTimeout ?? 0,
          })),
        ),
      );
    case 'DeleteMessage':
      return (await queue.delete(ReceiptHandle)) ?? {};
    case 'DeleteMessageBatch':
      return toBatchResponse(
        await queue.deleteBatch(Entries.map((entry) => ({ id: entry.Id, receiptHandle: entry.ReceiptHandle ?? '' }))),
      );
    case 'GetQueueAttributes': {
      const { visible, hidden, delayed } = await queue.readCounts();
      return {
        Attributes: {
          ApproximateNumberOfMessages: String(visible),
          ApproximateNumberOfMessagesNotVisible: String(hidden),
          ApproximateNumberOfMessagesDelayed: String(delayed),
        },
      };
    }
    default:
      throw new TypeError(`The model doesn't have ${operation}.`);
  }
}

function toOutgoingMessage({ MessageBody = '', MessageGroupId, DelaySeconds }: RequestBody) {
  return {
    body: MessageBody,
    ...(MessageGroupId === undefined ? {} : { group: MessageGroupId }),
    ...(DelaySeconds === undefined ? {} : { delaySeconds: DelaySeconds }),
  };
}

function toSdkMessage({ messageId, receiptHandle, body, attributes }: ReceivedMessage) {
  return { MessageId: messageId, ReceiptHandle: receiptHandle, Body: body, Attributes: attributes };
}

function toBatchResponse({ successful, failed }: BatchResult) {
  return {
    Successful: successful.map((Id) => ({ Id })),
    Failed: failed.map(({ id, code, message }) => ({ Id: id, Code: code, Message: message, SenderFault: true })),
  };
}

function toResponse(statusCode: number, body: unknown) {
  const headers = { 'content-type': 'application/x-amz-json-1.0' };
  return { statusCode, headers, body: new TextEncoder().encode(JSON.stringify(body)) };
}
