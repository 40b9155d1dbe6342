import {
  ChangeMessageVisibilityBatchCommand,
  ChangeMessageVisibilityCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { expect, it } from 'vitest';
import { startQueues } from '../../local/queues.ts';
import { createReferences } from '../../local/service/references.ts';
import { createServiceWith } from './event-sources/queues.ts';
import { closeAfterwards, useCleanup } from './runners.ts';

useCleanup();

const HOUR_SECONDS = 3_600;

/** Starts SQS with a queue of which a message was received two hours ago. */
async function startWithReceivedMessage() {
  let now = 1_800_000_000_000;
  const service = createServiceWith({ Work: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'work' } } });
  const queues = closeAfterwards(await startQueues({ now: () => now }));
  await queues.create(service, createReferences(service, queues.url));
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint: queues.url, region: 'eu-west-1', credentials });
  closeAfterwards({ close: () => client.destroy() });
  const QueueUrl = `${queues.url}/000000000000/work`;
  await client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'text' }));
  const { Messages: [message] = [] } = await client.send(
    new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 3 * HOUR_SECONDS }),
  );
  now += 2 * HOUR_SECONDS * 1000;
  return { client, QueueUrl, ReceiptHandle: message?.ReceiptHandle };
}

it('a message can be hidden until 12 hours after its receive, and no longer', async () => {
  const { client, ...received } = await startWithReceivedMessage();
  const hide = (VisibilityTimeout: number) =>
    client.send(new ChangeMessageVisibilityCommand({ ...received, VisibilityTimeout }));
  await expect(hide(10 * HOUR_SECONDS + 1)).rejects.toMatchObject({
    name: expect.stringMatching(/InvalidParameterValue$/),
  });
  await hide(10 * HOUR_SECONDS);
});

it('a batch that hides messages names those that it refused, and hides the others', async () => {
  const { client, QueueUrl, ReceiptHandle } = await startWithReceivedMessage();
  const Entries = [10 * HOUR_SECONDS + 1, 60].map((VisibilityTimeout, index) => ({
    Id: String(index),
    ReceiptHandle,
    VisibilityTimeout,
  }));
  const { Successful, Failed } = await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }));
  expect(Successful).toEqual([{ Id: '1' }]);
  expect(Failed).toMatchObject([{ Id: '0', SenderFault: true, Code: 'InvalidParameterValue' }]);
});
