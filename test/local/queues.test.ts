import {
  ChangeMessageVisibilityCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Queues, type QueuesOptions, startQueues } from '../../local/queues.ts';
import { createReferences } from '../../local/service/references.ts';
import { createServiceWith } from './event-sources/queues.ts';
import { closeAfterwards, useCleanup } from './runners.ts';

useCleanup();

const REGION = 'eu-west-1';

interface QueuesFixture {
  readonly queues: Queues;
  readonly client: SQSClient;
  send(text: string): Promise<void>;
  /** Receives the messages of a queue that are visible now. */
  receive(queue?: string): Promise<Message[]>;
  getUrl(queue: string): string;
}

/** Starts SQS with the queue `work`, whose dead-letter queue is `dead`. */
async function start(options: QueuesOptions = {}): Promise<QueuesFixture> {
  const redrive = { deadLetterTargetArn: { 'Fn::GetAtt': ['Dead', 'Arn'] }, maxReceiveCount: 2 };
  const resources = {
    Work: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'work', RedrivePolicy: redrive } },
    Dead: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'dead' } },
  };
  const service = createServiceWith(resources, REGION);
  const queues = closeAfterwards(await startQueues(options));
  await queues.create(service, createReferences(service, queues.url));
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint: queues.url, region: REGION, credentials, maxAttempts: 1 });
  closeAfterwards({ close: () => client.destroy() });
  const getUrl = (queue: string) => `${queues.url}/000000000000/${queue}`;
  return {
    queues,
    client,
    getUrl,
    async send(MessageBody) {
      await client.send(new SendMessageCommand({ QueueUrl: getUrl('work'), MessageBody }));
    },
    async receive(queue = 'work') {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({ QueueUrl: getUrl(queue), MaxNumberOfMessages: 10 }),
      );
      return Messages;
    },
  };
}

describe('the SQS stand-in', () => {
  it('the SQS stand-in loses its messages and keeps its queues when it restarts', async () => {
    const { queues, send, receive } = await start();
    await send('lost');
    await queues.restart();
    expect(await receive()).toEqual([]);
    await send('new');
    expect(await receive()).toMatchObject([{ Body: 'new' }]);
  });

  it('the SQS stand-in moves a message to the dead-letter queue after two receives', async () => {
    const { client, getUrl, send, receive } = await start();
    await send('poison');
    for (const _ of [1, 2]) {
      const [{ ReceiptHandle } = {}] = await receive();
      await client.send(
        new ChangeMessageVisibilityCommand({ QueueUrl: getUrl('work'), ReceiptHandle, VisibilityTimeout: 0 }),
      );
    }
    expect(await receive()).toEqual([]);
    expect(await receive('dead')).toMatchObject([{ Body: 'poison' }]);
  });

  it('the SQS stand-in lets other messages overtake the given share of messages', async () => {
    // Messages arrive late by this clock, which stands still, however slow the machine is.
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const { client, getUrl, send, receive } = await start({ overtaken: 1 });
    await send('first');
    const QueueUrl = getUrl('work');
    await client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'second', DelaySeconds: 0 }));
    expect(await receive()).toMatchObject([{ Body: 'second' }]);
    vi.setSystemTime(Date.now() + 1_000);
    expect(await receive()).toMatchObject([{ Body: 'first' }]);
    const Entries = [{ Id: '0', MessageBody: 'third' }];
    await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
    expect(await receive()).toEqual([]);
  });

  it('the SQS stand-in accepts the characters that SQS accepts, and refuses the others', async () => {
    const { client, getUrl, send, receive } = await start();
    // The client checks the MD5 digests of what it sent and of what it received.
    await send('\t\n\r Grüße 🌍 𝄞 \ue000 \ufffd \u{10ffff}');
    expect(await receive()).toMatchObject([{ Body: '\t\n\r Grüße 🌍 𝄞 \ue000 \ufffd \u{10ffff}' }]);
    for (const refused of ['\u0000', '\u001b', '\ufffe', '\uffff']) {
      await expect(send(`a${refused}`)).rejects.toThrow('Invalid characters found');
    }
    const Entries = ['🌍', '\uffff'].map((MessageBody, index) => ({ Id: String(index), MessageBody }));
    const { Successful, Failed } = await client.send(
      new SendMessageBatchCommand({ QueueUrl: getUrl('work'), Entries }),
    );
    expect([Successful, Failed]).toMatchObject([[{ Id: '0' }], [{ Id: '1', Code: 'InvalidMessageContents' }]]);
    expect(await receive()).toMatchObject([{ Body: '🌍' }]);
  });
});
