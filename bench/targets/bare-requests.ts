/**
 * Server process: makes the AWS requests of queued jobs, and nothing else: no sealing, no model, no functions.
 *
 * `node bare-requests.ts <cloud> <table> <queue-url>`, where the cloud is its endpoints and credentials in JSON. `POST /<jobs>/<name>` makes the requests of so many
 * jobs and responds with a `BareRun` in JSON.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SendMessageBatchCommand } from '@aws-sdk/client-sqs';
import type { Cloud } from '../../local/cloud.ts';
import { marshall } from '../../shared/aws/attributes.ts';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';
import { getItem, putItem, updateAndGetItem } from '../../shared/aws/table.ts';
import { REGION } from './functions.ts';
import { BATCH_SIZE, createGenerateMessage, createSqsClient, mapConcurrently, PRODUCERS } from './producers.ts';

export interface BareRun {
  readonly ms: number;
  /** Processor time of this process. */
  readonly cpuMs: number;
}

const [cloudJson = '', tableName = '', QueueUrl = ''] = process.argv.slice(2);
const cloud: Pick<Cloud, 'endpoints' | 'credentials'> = JSON.parse(cloudJson);
const { endpoints, credentials } = cloud;
const { accessKeyId, secretAccessKey } = credentials;
Object.assign(process.env, endpoints, {
  AWS_REGION: REGION,
  AWS_ACCESS_KEY_ID: accessKeyId,
  AWS_SECRET_ACCESS_KEY: secretAccessKey,
});
// The functions' own client, so that their further work is all that the targets add.
const table = { client: createDynamoDBClient(), name: tableName };
const sqs = createSqsClient(cloud);

/** About as large as a sealed short question and its sealed answer. */
const SEALED = new Uint8Array(700);
const EXPIRES_AT = Math.ceil(Date.now() / 1000) + 86_400;

const server = createServer(async (request, response) => {
  const [, jobs = '0', name = ''] = (request.url ?? '').split('/');
  const startedAt = performance.now();
  const before = process.cpuUsage();
  await runJobs(Number(jobs), name);
  const { user, system } = process.cpuUsage(before);
  const run: BareRun = { ms: performance.now() - startedAt, cpuMs: (user + system) / 1_000 };
  response.end(JSON.stringify(run));
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));

async function runJobs(count: number, name: string): Promise<void> {
  const ids = Array.from({ length: count }, (_, index) => `${name}-${index}`);
  const batches = Array.from({ length: Math.ceil(count / BATCH_SIZE) }, (_, index) =>
    ids.slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE),
  );
  await mapConcurrently(PRODUCERS, batches, async (batch) => {
    await passThroughQueue(batch.map((id) => createGenerateMessage(id)));
    await Promise.all(batch.map(createJob));
    await passThroughQueue(batch.map((id) => JSON.stringify({ version: 1, type: 'job', tenant: 'bench', id })));
    await Promise.all(batch.map(runJob));
  });
}

/** Sends messages, receives as many, and deletes them. */
async function passThroughQueue(bodies: readonly string[]): Promise<void> {
  const sent = bodies.map((MessageBody, index) => ({ Id: `${index}`, MessageBody }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries: sent }));
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: BATCH_SIZE }));
  const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle }));
  if (Entries.length > 0) await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
}

const keyOf = (id: string, sk: string) => marshall({ pk: `bench#${id}`, sk });
const IS_NEW = 'attribute_not_exists(pk) OR expiresAt <= :now';
const IS_HELD =
  'attribute_exists(pk) AND attribute_not_exists(deletedAt) AND expiresAt > :now AND #status = :status AND epoch = :epoch';

/** Three writes: input, job, and the confirmation of the ticket. */
async function createJob(id: string): Promise<void> {
  const values = marshall({ ':now': Math.floor(Date.now() / 1000) });
  const input = { ...keyOf(id, 'input'), ...marshall({ bytes: SEALED, expiresAt: EXPIRES_AT }) };
  await putItem(table, input, { condition: IS_NEW, values });
  const job = {
    ...{ tenant: 'bench', id, endpoint: '/v1/responses', model: 'bench', status: 'queued', tier: 'default' },
    ...{ epoch: 0, attempts: 0, releases: 0, cancelRequested: false, background: true, streamed: false, stored: true },
    ...{ createdAt: Date.now(), deadline: Date.now() + 86_400_000, expiresAt: EXPIRES_AT },
    ...{ input: { place: 'table', epoch: 0, sizeBytes: SEALED.length }, duePartition: 'bench#0', dueAt: Date.now() },
  };
  await putItem(table, { ...keyOf(id, 'job'), ...marshall(job) }, { condition: IS_NEW, values });
  await updateJob(id, 'SET duePartition = :partition, dueAt = :at', 'queued', 0, { partition: 'bench#1' });
}

/** The claim, a read of the input, the begin, the output, and the commit. */
async function runJob(id: string): Promise<void> {
  const claim =
    'SET #status = :next, #owner = :owner, leaseExpiresAt = :at, duePartition = :partition, dueAt = :at ADD epoch :one';
  await updateJob(id, claim, 'queued', 0, { next: 'in_progress', owner: id, partition: 'bench#2', one: 1 });
  await getItem(table, keyOf(id, 'input'));
  await updateJob(id, 'SET begun = :begun, leaseExpiresAt = :at ADD attempts :one', 'in_progress', 1, {
    ...{ begun: true, one: 1 },
  });
  await putItem(table, { ...keyOf(id, 'output#1'), ...marshall({ bytes: SEALED, expiresAt: EXPIRES_AT }) });
  const commit = 'SET #status = :next, completedAt = :at REMOVE duePartition, dueAt, #owner, leaseExpiresAt';
  await updateJob(id, commit, 'in_progress', 1, { next: 'completed' });
}

async function updateJob(id: string, change: string, status: string, epoch: number, rest: object): Promise<void> {
  const at = Date.now();
  const values = { now: Math.floor(at / 1000), at, status, epoch, ...rest };
  const used = Object.entries(values).filter(([name]) => `${change} ${IS_HELD}`.includes(`:${name}`));
  const updated = await updateAndGetItem(table, keyOf(id, 'job'), {
    change,
    condition: IS_HELD,
    names: { '#status': 'status', ...(change.includes('#owner') ? { '#owner': 'owner' } : {}) },
    values: marshall(Object.fromEntries(used.map(([name, value]) => [`:${name}`, value]))),
  });
  if (updated === undefined) throw new Error(`an update of ${id} was refused`);
}
