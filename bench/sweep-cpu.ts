import { join } from 'node:path';
import { CreateTableCommand, waitUntilTableExists } from '@aws-sdk/client-dynamodb';
import { CreateQueueCommand } from '@aws-sdk/client-sqs';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createSQSClient } from '../shared/aws/sqs.ts';
import { createDynamoDBStore } from '../shared/jobs/dynamodb-store.ts';
import { sweepPurpose } from '../shared/jobs/sweep.ts';
import { createTicketQueue } from '../shared/jobs/ticket-queue.ts';
import { JOB_TIMINGS } from '../shared/jobs/timings.ts';
import { aJob } from '../test/shared/jobs/jobs.ts';
import { startServer } from './processes.ts';

const SHARDS = 4;
const TABLE = 'jobs';

/**
 * Measures the CPU time of the sweep for each due job to which it sends a ticket, in milliseconds. The stand-ins run in another
 * process, and a first round of as many jobs has compiled the code.
 */
export async function measureSweepCpu(jobs: number): Promise<number> {
  await using standIns = await startServer(join(import.meta.dirname, 'targets/stand-ins.ts'));
  const [dynamodbUrl = '', sqsUrl = ''] = standIns.url.split(' ');
  const environment = {
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_ENDPOINT_URL_DYNAMODB: dynamodbUrl,
    AWS_ENDPOINT_URL_SQS: sqsUrl,
  };
  // The product's own clients read them when they are created.
  Object.assign(process.env, environment);
  const [dynamodb, sqs] = [createDynamoDBClient(), createSQSClient()];
  try {
    await dynamodb.send(new CreateTableCommand(createTableInput()));
    await waitUntilTableExists({ client: dynamodb, maxWaitTime: 30, minDelay: 0.1, maxDelay: 1 }, { TableName: TABLE });
    for (const QueueName of ['jobs', 'gpu']) await sqs.send(new CreateQueueCommand({ QueueName }));
    const store = createDynamoDBStore(dynamodb, { tableName: TABLE, shards: SHARDS });
    const urlOf = (name: string) => `${sqsUrl}/000000000000/${name}`;
    const ports = {
      ...{ jobs: store, timings: JOB_TIMINGS, shards: SHARDS, now: Date.now, steps: {} },
      queue: createTicketQueue(sqs, { JOBS_QUEUE_URL: urlOf('jobs'), GPU_QUEUE_URL: urlOf('gpu') }),
      bodies: unused,
      onStepFailed: async () => {},
      // A request that a busy stand-in answers too late is made again, and counts.
      onError: () => {},
    };
    const run = async (round: string) => {
      const createdAt = Date.now();
      const times = { createdAt, deadline: createdAt + 86_400_000, expiresAt: Math.ceil(createdAt / 1000) + 86_400 };
      for (let number = 0; number < jobs; number += 1) {
        const job = aJob({ id: `resp_${round}${number}`, ...times });
        await store.create(job, { purpose: 'wake', queue: 'jobs', dueAt: createdAt });
      }
      const start = process.cpuUsage();
      const { ticketsSent } = await sweepPurpose('wake', ports, Number.POSITIVE_INFINITY);
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1_000 / ticketsSent;
    };
    await run('first');
    return await run('second');
  } finally {
    for (const name of Object.keys(environment)) delete process.env[name];
    dynamodb.destroy();
    sqs.destroy();
  }
}

const unused = new Proxy({} as never, {
  get: () => {
    throw new Error('A waiting job has no bodies to remove.');
  },
});

function createTableInput() {
  const key = (hash: string, range: string) => [
    { AttributeName: hash, KeyType: 'HASH' as const },
    { AttributeName: range, KeyType: 'RANGE' as const },
  ];
  return {
    TableName: TABLE,
    BillingMode: 'PAY_PER_REQUEST' as const,
    AttributeDefinitions: [
      { AttributeName: 'pk', AttributeType: 'S' as const },
      { AttributeName: 'sk', AttributeType: 'S' as const },
      { AttributeName: 'duePartition', AttributeType: 'S' as const },
      { AttributeName: 'dueAt', AttributeType: 'N' as const },
    ],
    KeySchema: key('pk', 'sk'),
    GlobalSecondaryIndexes: [
      {
        IndexName: 'due',
        KeySchema: key('duePartition', 'dueAt'),
        Projection: { ProjectionType: 'KEYS_ONLY' as const },
      },
    ],
  };
}
