import {
  DeleteMessageCommand,
  type MessageSystemAttributeName,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { expect, it } from 'vitest';
import { startQueues } from '../../local/queues.ts';
import { createReferences } from '../../local/service/references.ts';
import { createServiceWith } from './event-sources/queues.ts';
import { closeAfterwards, useCleanup } from './runners.ts';

useCleanup();

const TRACE = 'Root=1-abc;Lineage=a87bd80c:1';

/** Starts SQS with the queue `work` and a client that sends the trace header of a function. */
async function start() {
  const service = createServiceWith({ Work: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'work' } } });
  const queues = closeAfterwards(await startQueues());
  await queues.create(service, createReferences(service, queues.url));
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint: queues.url, region: 'eu-west-1', credentials });
  client.middlewareStack.add(
    (next) => (args) => {
      Object.assign(Object(args.request).headers, { 'X-Amzn-Trace-Id': TRACE });
      return next(args);
    },
    { step: 'build' },
  );
  closeAfterwards({ close: () => client.destroy() });
  const QueueUrl = `${queues.url}/000000000000/work`;
  const receive = async (...names: MessageSystemAttributeName[]) => {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: 10,
        VisibilityTimeout: 0,
        MessageSystemAttributeNames: names,
      }),
    );
    return Messages;
  };
  return { client, QueueUrl, receive };
}

it('a message has the trace header of its sender, if its receiver asks for it', async () => {
  const { client, QueueUrl, receive } = await start();
  await client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'text' }));
  for (const name of ['All', 'AWSTraceHeader'] as const) {
    expect(await receive(name)).toMatchObject([{ Body: 'text', Attributes: { AWSTraceHeader: TRACE } }]);
  }
  const [message] = await receive('SenderId');
  expect(message?.Attributes).toEqual({ SenderId: '000000000000' });
  await client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message?.ReceiptHandle }));
  expect(await receive('All')).toEqual([]);
});

it('each message of a batch has the trace header of its sender', async () => {
  const { client, QueueUrl, receive } = await start();
  const Entries = ['0', '1'].map((Id) => ({ Id, MessageBody: Id }));
  await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  const messages = await receive('All');
  expect(messages.map(({ Attributes }) => Attributes?.AWSTraceHeader)).toEqual([TRACE, TRACE]);
});
