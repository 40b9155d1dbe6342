import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { DeleteMessageCommand, GetQueueAttributesCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import { startKms } from '../../local/kms/server.ts';
import { seedAccess } from '../../local/seed.ts';
import { createDynamoDBStore } from '../../shared/jobs/dynamodb-store.ts';
import type { JobStore } from '../../shared/jobs/ports.ts';
import { FLEET, MODEL } from '../shared/gpu/fleets.ts';
import { exists, type Services, startServices } from '../shared/jobs/services.ts';
import { type Script, startUpstream, type Upstream } from '../upstreams/openai-upstream.ts';

const JOB_SHARDS = 4;

/** Stand-ins on the wire for everything that the functions call, and the functions' environment variables. */
export interface TestEnvironment extends AsyncDisposable {
  readonly services: Services;
  readonly upstream: Upstream;
  readonly jobsTable: string;
  /** The job store that the functions use. */
  readonly jobs: JobStore;
  /** The queue that programs send messages to. */
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
  /** The queue of the default lane's tickets. */
  readonly jobsQueueUrl: string;
  readonly jobsDeadLetterUrl: string;
  readonly gpuQueueUrl: string;
  readonly gpuDeadLetterUrl: string;
  readonly replyUrl: string;
  /** Environment variables of the functions. */
  readonly variables: Readonly<Record<string, string>>;
}

export interface TestEnvironmentOptions {
  /** More aliases of the upstream's model. For each, an alias with the suffix `-gpu` names the fleet's model. */
  readonly aliases?: readonly string[];
  readonly fleet?: { readonly stallMs: number; readonly waitMs: number };
}

/**
 * Starts the stand-ins, with three models: `default` answers as `script` says, `gpu` runs on a fleet whose workers the
 * test registers, and `helped` runs on that fleet and falls back to `default`.
 */
export async function startTestEnvironment(
  script?: Script,
  options: TestEnvironmentOptions = {},
): Promise<TestEnvironment> {
  const { aliases = [], fleet = { stallMs: 3_000, waitMs: 1_000 } } = options;
  const folder = await mkdtemp(join(tmpdir(), 'lambent-functions-'));
  const services = await startServices();
  const kms = await startKms({ stateFile: join(folder, 'kms.json') });
  const upstream = await startUpstream(script);
  const kmsClient = new KMSClient({
    region: 'eu-west-1',
    endpoint: kms.url,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  const keyId = (await kmsClient.send(new CreateKeyCommand({}))).KeyMetadata?.KeyId ?? '';
  kmsClient.destroy();
  const hosted = { targets: [{ provider: 'openai-compatible', model: 'upstream', baseUrl: upstream.baseUrl }] };
  const gpu = { targets: [{ provider: 'gpu', model: MODEL, fleet: FLEET }] };
  const models = {
    default: hosted,
    gpu,
    helped: { ...gpu, fallbacks: ['default'] },
    ...Object.fromEntries(
      aliases.flatMap((name) => [
        [name, hosted],
        [`${name}-gpu`, gpu],
      ]),
    ),
  };
  const fleets = { [FLEET]: fleet };
  await writeFile(join(folder, 'models.json'), JSON.stringify({ models, patterns: {}, fleets }));
  const jobsTable = await services.newTable();
  const [queueUrl, deadLetterUrl, jobsQueueUrl, jobsDeadLetterUrl, replyUrl, gpuQueueUrl, gpuDeadLetterUrl] =
    await Promise.all([
      services.newQueue(),
      services.newQueue(),
      services.newQueue(),
      services.newQueue(),
      services.newQueue(),
      services.newQueue(),
      services.newQueue(),
    ]);
  await createTable(services, 'access', ['pk']);
  await createTable(services, 'admin', ['pk', 'sk']);
  await createTable(services, 'usage', ['pk', 'sk']);
  await createTable(services, 'keys', ['pk', 'sk']);
  await createTable(services, 'sessions', ['pk', 'sk']);
  await createTable(services, 'limits', ['pk']);
  await createTable(services, 'fleet', ['pk', 'sk']);
  await seedAccess(services.dynamodb, 'access');
  return {
    services,
    upstream,
    jobsTable,
    jobs: createDynamoDBStore(services.dynamodb, { tableName: jobsTable, shards: JOB_SHARDS }),
    queueUrl,
    deadLetterUrl,
    jobsQueueUrl,
    jobsDeadLetterUrl,
    gpuQueueUrl,
    gpuDeadLetterUrl,
    replyUrl,
    variables: {
      AWS_REGION: 'eu-west-1',
      TIMINGS_DIVISOR: '10',
      AWS_TIMEOUT_FACTOR: '20',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_ENDPOINT_URL_DYNAMODB: services.urls.dynamodb,
      AWS_ENDPOINT_URL_S3: services.urls.s3,
      AWS_ENDPOINT_URL_SQS: services.urls.sqs,
      AWS_ENDPOINT_URL_KMS: kms.url,
      ACCESS_TABLE: 'access',
      CUSTOM_KEYS: 'true',
      ADMIN_TABLE: 'admin',
      USAGE_TABLE: 'usage',
      KEYS_TABLE: 'keys',
      SESSIONS_TABLE: 'sessions',
      LIMITS_TABLE: 'limits',
      JOBS_TABLE: jobsTable,
      BUCKET: services.bucketName,
      KMS_KEY_ID: keyId,
      GENERATION_QUEUE_URL: queueUrl,
      GENERATION_DLQ_URL: deadLetterUrl,
      JOBS_QUEUE_URL: jobsQueueUrl,
      JOBS_DLQ_URL: jobsDeadLetterUrl,
      JOB_SHARDS: String(JOB_SHARDS),
      GPU_QUEUE_URL: gpuQueueUrl,
      GPU_DLQ_URL: gpuDeadLetterUrl,
      FLEET_TABLE: 'fleet',
      REPLY_QUEUES: JSON.stringify({ answers: replyUrl }),
      MODELS_FILE: join(folder, 'models.json'),
      LOG_LEVEL: 'error',
    },
    async [Symbol.asyncDispose]() {
      await upstream.close();
      await kms.close();
      await services[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function createTable({ dynamodb }: Services, TableName: string, keys: readonly string[]): Promise<void> {
  await dynamodb.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: keys.map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
      KeySchema: keys.map((AttributeName, index) => ({ AttributeName, KeyType: index === 0 ? 'HASH' : 'RANGE' })),
    }),
  );
  await exists(dynamodb, TableName);
}

/** Creates an event of SQS's event source mapping with one message per body. */
export function makeQueueEvent(...bodies: unknown[]) {
  return {
    Records: bodies.map((body, index) => ({
      messageId: `message-${index}`,
      receiptHandle: `handle-${index}`,
      body: typeof body === 'string' ? body : JSON.stringify(body),
      attributes: { SenderId: '000000000000', ApproximateReceiveCount: '1' },
      eventSource: 'aws:sqs',
    })),
  };
}

/** Receives the visible messages of a queue as an event of SQS's event source mapping. */
export async function receiveEvent({ services: { sqs } }: TestEnvironment, queueUrl: string) {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: 10,
      MessageSystemAttributeNames: ['SenderId', 'ApproximateReceiveCount', 'ApproximateFirstReceiveTimestamp'],
    }),
  );
  return {
    Records: Messages.map(({ MessageId = '', ReceiptHandle = '', Body = '', Attributes = {} }) => ({
      messageId: MessageId,
      receiptHandle: ReceiptHandle,
      body: Body,
      attributes: { SenderId: '000000000000', ApproximateReceiveCount: '1', ...Attributes },
      eventSource: 'aws:sqs',
    })),
  };
}

/** Returns the number of messages in a queue, visible and hidden. */
export async function countMessages({ services: { sqs } }: TestEnvironment, queueUrl: string): Promise<number> {
  const { Attributes = {} } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }),
  );
  const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible } = Attributes;
  return Number(ApproximateNumberOfMessages) + Number(ApproximateNumberOfMessagesNotVisible);
}

/** Deletes received messages that a function has left hidden in the queue, before they become visible in a later test. */
export async function deleteMessages(
  { services: { sqs } }: TestEnvironment,
  queueUrl: string,
  { Records }: Awaited<ReturnType<typeof receiveEvent>>,
): Promise<void> {
  for (const { receiptHandle: ReceiptHandle } of Records)
    await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
}

/** Creates the context that Lambda passes to a handler. */
export function makeContext(remainingMs = 60_000, awsRequestId = 'request') {
  return { awsRequestId, getRemainingTimeInMillis: () => remainingMs };
}

/**
 * Runs the sweep again and again until `isReached` resolves to true: on a busy machine, the time of a short run may end before its
 * first pass.
 */
export async function sweepUntil(sweep: Handler, isReached: () => Promise<boolean>): Promise<void> {
  do await sweep({}, makeContext(1_000));
  while (!(await isReached()));
}

export type Handler = (event: unknown, ...rest: unknown[]) => Promise<unknown>;

/** Returns the handler that a function's module exports. */
export function getHandler(module: { readonly handler: unknown }): Handler {
  return async (...args) => Reflect.apply(module.handler as Handler, undefined, args);
}
