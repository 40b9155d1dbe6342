import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { GetQueueAttributesCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toVariables } from '../../local/credentials.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

const ROOT = resolve(import.meta.dirname, '../..');

let service: Service;
let sqs: SQSClient;
beforeAll(async () => {
  service = await startService();
  sqs = new SQSClient({
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    region: 'eu-west-1',
    credentials: service.cloud.credentials,
  });
});
afterAll(async () => {
  sqs.destroy();
  await service[Symbol.asyncDispose]();
});

const waitUntilCompleted = (id: string) =>
  waitUntil(`${id} is completed`, async () => {
    // Not found until its message has become a job.
    const response = await service.client.responses.retrieve(id).catch(() => undefined);
    return response?.status === 'completed';
  });

describe('a program that uses only SQS', () => {
  it('a program that uses only SQS receives its answer on the local reply queue', async () => {
    const idempotencyKey = 'answer-me';
    const body = { model: 'compatible', input: 'Hello' };
    const message = { version: 1, type: 'generate', tenant: 'local', idempotencyKey, endpoint: '/v1/responses', body };
    const { GENERATION_QUEUE_URL: QueueUrl, ANSWERS_REPLY_QUEUE_URL } = service.cloud.resources;
    await sqs.send(
      new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify({ ...message, replyTo: 'answers' }) }),
    );
    const [answer] = await waitUntil('an answer arrives', async () => {
      const { Messages } = await sqs.send(
        new ReceiveMessageCommand({
          QueueUrl: ANSWERS_REPLY_QUEUE_URL,
          WaitTimeSeconds: 20,
          MessageSystemAttributeNames: ['AWSTraceHeader'],
        }),
      );
      return Messages;
    });
    const id = deriveResponseId('local', idempotencyKey);
    expect(JSON.parse(answer?.Body ?? '')).toMatchObject({ id, idempotencyKey, status: 'completed' });
    // Intake and generate, once each: the functions' bundles pass on what Lambda counts for its recursive-loop rule.
    expect(answer?.Attributes?.AWSTraceHeader).toMatch(/;Lineage=[0-9a-f]{8}:1\|[0-9a-f]{8}:1$/);
    await waitUntilCompleted(id);
  });

  it('the sample program in docs/queue.md works unchanged', async () => {
    const page = await readFile(resolve(ROOT, 'docs/queue.md'), 'utf8');
    const sample = /```js\n(.*?)```/s.exec(page)?.[1] ?? '';
    const { endpoints, resources, credentials } = service.cloud;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', `${sample}\nconsole.log(id);`],
      {
        cwd: ROOT,
        // The variables that `source .local/env` sets.
        env: {
          ...endpoints,
          ...resources,
          AWS_REGION: 'eu-west-1',
          ...toVariables(credentials),
        },
      },
    );
    const id = stdout.trim();
    expect(id).toBe(deriveResponseId('local', 'order-19'));
    await waitUntilCompleted(id);
  });

  it('every message in docs/queue.md and events/message.json is accepted and completed', async () => {
    const page = await readFile(resolve(ROOT, 'docs/queue.md'), 'utf8');
    const { endpoints, resources } = service.cloud;
    const { GENERATION_QUEUE_URL: QueueUrl, GENERATION_DLQ_URL, BUCKET = '' } = resources;
    const samples = [...page.matchAll(/--message-body '(\{.*?\})'\n/gs)].map(([, text = '']) => text);
    const messages = [await readFile(resolve(ROOT, 'events/message.json'), 'utf8'), ...samples].map((text) =>
      text.replaceAll(`'"$BUCKET"'`, BUCKET),
    );
    const sent = messages.map((text) => JSON.parse(text));
    await upload(endpoints['AWS_ENDPOINT_URL_S3'] ?? '', sent.find(({ bodyPointer }) => bodyPointer)?.bodyPointer);
    for (const MessageBody of messages) await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
    const keys: string[] = sent.map(({ idempotencyKey }) => idempotencyKey);
    expect(keys.toSorted()).toEqual(['order-17', 'order-18', 'order-20']);
    for (const key of keys) await waitUntilCompleted(deriveResponseId('local', key));
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: GENERATION_DLQ_URL, AttributeNames: ['ApproximateNumberOfMessages'] }),
    );
    expect(Attributes?.['ApproximateNumberOfMessages']).toBe('0');
    // The page reads this message's answer, under the id that its shell command computes.
    expect(sent.filter(({ replyTo }) => replyTo === 'answers').map(({ idempotencyKey }) => idempotencyKey)).toEqual([
      /printf '5:local8:([\w-]+)'/.exec(page)?.[1],
    ]);
  });
});

/** Uploads a large body, as the page does with the AWS CLI. */
async function upload(endpoint: string, { bucket, key }: { bucket: string; key: string }): Promise<void> {
  const { credentials } = service.cloud;
  const s3 = new S3Client({ endpoint, region: 'eu-west-1', credentials, forcePathStyle: true });
  const Body = JSON.stringify({ model: 'default', input: 'What is Lambent?' });
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body }));
  s3.destroy();
}
