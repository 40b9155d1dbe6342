import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { type Queues, startQueues } from '../../local/queues.ts';
import { createReferences } from '../../local/service/references.ts';
import { serviceWith } from './event-sources/queues.ts';
import { closeAfterwards, useCleanup } from './runners.ts';

useCleanup();

const SECRET = 'secret-8d2c';

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(folder, { recursive: true, force: true }) });
  return folder;
}

interface Started {
  readonly queues: Queues;
  readonly client: SQSClient;
  send(text: string, more?: { DelaySeconds: number }): Promise<string | undefined>;
  /** What comes from a queue within `seconds`. */
  receive(queue?: string, seconds?: number): Promise<Message[]>;
  urlOf(queue: string): string;
  close(): Promise<void>;
}

/** Starts SQS with the queue `work`, whose dead-letter queue is `dead`. */
async function start({
  path,
  region = 'eu-west-1',
  visibilitySeconds = 1,
}: {
  path?: string;
  region?: string;
  visibilitySeconds?: number;
}): Promise<Started> {
  const redrive = { deadLetterTargetArn: { 'Fn::GetAtt': ['Dead', 'Arn'] }, maxReceiveCount: 2 };
  const work = { QueueName: 'work', VisibilityTimeout: visibilitySeconds, RedrivePolicy: redrive };
  const resources = {
    Work: { Type: 'AWS::SQS::Queue', Properties: work },
    Dead: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'dead' } },
  };
  const service = serviceWith(resources, region);
  const queues = await startQueues({ region, ...(path === undefined ? {} : { path }) });
  let closed: Promise<void> | undefined;
  const close = () => (closed ??= queues.close());
  closeAfterwards({ close });
  await queues.create(service, createReferences(service, queues.url));
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint: queues.url, region, credentials, maxAttempts: 1 });
  closeAfterwards({ close: () => client.destroy() });
  const urlOf = (queue: string) => `${queues.url}/000000000000/${queue}`;
  return {
    queues,
    client,
    urlOf,
    close,
    async send(text, more = { DelaySeconds: 0 }) {
      const MessageAttributes = { reason: { DataType: 'String', StringValue: `${text} attribute` } };
      const command = new SendMessageCommand({
        QueueUrl: urlOf('work'),
        MessageBody: text,
        MessageAttributes,
        ...more,
      });
      return (await client.send(command)).MessageId;
    },
    async receive(queue = 'work', seconds = 0) {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: urlOf(queue),
          MaxNumberOfMessages: 10,
          WaitTimeSeconds: seconds,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['All'],
        }),
      );
      return Messages;
    },
  };
}

/** Bytes of all files in a folder. */
async function textOf(folder: string): Promise<string> {
  const files = (await readdir(folder)).map((name) => readFile(join(folder, name), 'latin1'));
  return (await Promise.all(files)).join('\n');
}

describe('messages', () => {
  it('are there again after a restart, with their ids and attributes', async () => {
    const path = await newFolder();
    const first = await start({ path });
    const id = await first.send(SECRET);
    const sent = Date.now();
    await first.close();
    const [message] = await (await start({ path })).receive();
    expect(message).toMatchObject({
      MessageId: id,
      Body: SECRET,
      MessageAttributes: { reason: { StringValue: `${SECRET} attribute` } },
      Attributes: { ApproximateReceiveCount: '1' },
    });
    expect(Math.abs(Number(message?.Attributes?.['SentTimestamp']) - sent)).toBeLessThan(5_000);
  });

  it('are there also when nothing was closed, as after kill -9', async () => {
    const [path, killed] = [await newFolder(), await newFolder()];
    const running = await start({ path });
    await running.send('one');
    await running.send('two');
    const [received] = await running.receive();
    const { ReceiptHandle } = received ?? {};
    await running.client.send(new DeleteMessageCommand({ QueueUrl: running.urlOf('work'), ReceiptHandle }));
    await cp(path, killed, { recursive: true });
    const [left, ...more] = await (await start({ path: killed })).receive('work', 3);
    expect([left?.Body, more]).toEqual([received?.Body === 'one' ? 'two' : 'one', []]);
  });

  it('that are delayed come when they would have come', async () => {
    const path = await newFolder();
    const first = await start({ path });
    const sentAt = Date.now();
    await first.send('later', { DelaySeconds: 5 });
    await first.close();
    const second = await start({ path });
    expect(await second.receive('work', 20)).toMatchObject([{ Body: 'later' }]);
    expect(Date.now() - sentAt).toBeGreaterThanOrEqual(4_900);
  });

  it('that somebody has stay invisible for as long, and count how often they were received', async () => {
    const path = await newFolder();
    const first = await start({ path, visibilitySeconds: 5 });
    await first.send('held');
    const receivedAt = Date.now();
    expect(await first.receive()).toMatchObject([{ Body: 'held' }]);
    await first.close();
    const second = await start({ path });
    expect(await second.receive('work', 20)).toMatchObject([
      { Body: 'held', Attributes: { ApproximateReceiveCount: '2' } },
    ]);
    expect(Date.now() - receivedAt).toBeGreaterThanOrEqual(4_900);
    expect(await second.receive('work', 2)).toEqual([]);
    await second.close();
    expect(await (await start({ path })).receive('dead')).toMatchObject([{ Body: 'held' }]);
  });

  it('that were given back are there at once', async () => {
    const path = await newFolder();
    const first = await start({ path, visibilitySeconds: 600 });
    await first.send('given back');
    const [{ ReceiptHandle } = {}] = await first.receive();
    const [QueueUrl, VisibilityTimeout] = [first.urlOf('work'), 0];
    await first.client.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout }));
    await first.close();
    expect(await (await start({ path })).receive()).toMatchObject([{ Attributes: { ApproximateReceiveCount: '2' } }]);
  });

  it('stay when their queue is defined otherwise, or in another region', async () => {
    const path = await newFolder();
    const first = await start({ path });
    await first.send('stays');
    await first.close();
    const second = await start({ path, region: 'us-east-1', visibilitySeconds: 7 });
    expect(await second.receive()).toMatchObject([{ Body: 'stays' }]);
  });

  it('of a FIFO queue keep their order and their group', async () => {
    const path = await newFolder();
    const create = new CreateQueueCommand({ QueueName: 'line.fifo', Attributes: { FifoQueue: 'true' } });
    const first = await start({ path });
    await first.client.send(create);
    const sendTo = async ({ client, urlOf }: Started, ...texts: string[]) => {
      const Entries = texts.map((text) => ({
        ...{ Id: text, MessageBody: text, MessageGroupId: 'acme', MessageDeduplicationId: text },
      }));
      return (await client.send(new SendMessageBatchCommand({ QueueUrl: urlOf('line.fifo'), Entries }))).Successful;
    };
    const sent = await sendTo(first, 'one', 'two');
    await first.close();
    const second = await start({ path });
    await second.client.send(create);
    expect(await second.receive('line.fifo')).toMatchObject([
      {
        Body: 'one',
        Attributes: {
          MessageGroupId: 'acme',
          MessageDeduplicationId: 'one',
          SequenceNumber: sent?.[0]?.SequenceNumber,
        },
      },
    ]);
    const [next] = (await sendTo(second, 'three')) ?? [];
    expect(Number(next?.SequenceNumber)).toBe(Number(sent?.[1]?.SequenceNumber) + 1);
  });

  it('are sealed on disk, under a key that only its owner may read', async () => {
    const path = await newFolder();
    const running = await start({ path });
    const id = await running.send(SECRET, { DelaySeconds: 600 });
    expect(await textOf(path)).toContain(id);
    expect(await textOf(path)).not.toContain(SECRET);
    await running.close();
    expect(await textOf(path)).toContain(id);
    expect(await textOf(path)).not.toContain(SECRET);
    expect((await stat(join(path, 'key'))).mode & 0o777).toBe(0o600);
  });

  it("that can't be opened keep SQS from starting, which says what to do", async () => {
    const path = await newFolder();
    const first = await start({ path });
    await first.send('lost');
    await first.close();
    await rm(join(path, 'key'));
    await expect(start({ path })).rejects.toThrow("can't be opened. Put the key back that was in its folder");
  });

  it('are gone when SQS is restarted empty, and after that as well', async () => {
    const path = await newFolder();
    const first = await start({ path });
    await first.send('now');
    await first.send('later', { DelaySeconds: 1 });
    await first.queues.restart();
    expect(await first.receive('work', 2)).toEqual([]);
    await first.close();
    const second = await start({ path });
    expect(await second.receive('work', 1)).toEqual([]);
    await second.send('new');
    expect(await second.receive()).toMatchObject([{ Body: 'new' }]);
  });

  it('may have what SQS allows in them: all of Unicode but control and two other characters', async () => {
    const { client, urlOf, send, receive } = await start({});
    await send('\t\n\r Grüße 🌍 𝄞 \ue000 \ufffd \u{10ffff}');
    expect(await receive()).toMatchObject([{ Body: '\t\n\r Grüße 🌍 𝄞 \ue000 \ufffd \u{10ffff}' }]);
    for (const refused of ['\u0000', '\u001b', '\ufffe', '\uffff']) {
      await expect(send(`a${refused}`)).rejects.toThrow('Invalid characters found');
    }
    const Entries = ['🌍', '\uffff'].map((MessageBody, index) => ({ Id: String(index), MessageBody }));
    const { Successful, Failed } = await client.send(new SendMessageBatchCommand({ QueueUrl: urlOf('work'), Entries }));
    expect([Successful, Failed]).toMatchObject([[{ Id: '0' }], [{ Id: '1', Code: 'InvalidMessageContents' }]]);
  });
});
