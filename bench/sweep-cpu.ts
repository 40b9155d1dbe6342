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
import { mapConcurrently, PRODUCERS } from './targets/producers.ts';

const SHARDS = 4;
const TABLE = 'jobs';

const JOBS = 600;
const ROUNDS = 4;

/**
 * Measures the CPU time of the sweep for each due job to which it sends a ticket, in milliseconds: the lowest of four rounds of
 * 600 jobs, because the first ones compile the code, and other work of the machine only adds time. The stand-ins run in another
 * process.
 */
export async function measureSweepCpu(): Promise<number> {
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
    const run = async (round: number) => {
      const createdAt = Date.now();
      const times = { createdAt, deadline: createdAt + 86_400_000, expiresAt: Math.ceil(createdAt / 1000) + 86_400 };
      const numbers = Array.from({ length: JOBS }, (_, number) => number);
      await mapConcurrently(PRODUCERS, numbers, (number) => {
        const job = aJob({ id: `resp_${round}x${number}`, ...times });
        return store.create(job, { purpose: 'wake', queue: 'jobs', dueAt: createdAt });
      });
      const start = process.cpuUsage();
      const { ticketsSent } = await sweepPurpose('wake', ports, Number.POSITIVE_INFINITY);
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1_000 / ticketsSent;
    };
    const rounds: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) rounds.push(await run(round));
    return Math.min(...rounds);
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
