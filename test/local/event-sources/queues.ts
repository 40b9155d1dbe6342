import {
  ChangeMessageVisibilityCommand,
  GetQueueAttributesCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import {
  type EventSource,
  type EventSourceOptions,
  startEventSource,
} from '../../../local/event-sources/event-source.ts';
import type { RunnerOptions } from '../../../local/lambda/runner.ts';
import { type Queues, startQueues } from '../../../local/queues.ts';
import { createReferences } from '../../../local/service/references.ts';
import type { Service } from '../../../local/service/service.ts';
import { closeAfterwards, defineFunction, startTestRunner } from '../runners.ts';

const REGION = 'eu-west-1';
export const QUEUE_ARN = `arn:aws:sqs:${REGION}:000000000000:work`;

/** A record as the function `queue` logs it. */
export interface LoggedRecord {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Id of the process that received the record. */
  readonly pid: number;
  /** The number of records in its batch. */
  readonly of: number;
}

export interface MappedQueue extends EventSource {
  readonly client: SQSClient;
  readonly queueUrl: string;
  readonly queues: Queues;
  readonly runner: Awaited<ReturnType<typeof startTestRunner>>;
  /** Returns the records that the function has received so far, in the order of its log. */
  records(): LoggedRecord[];
  /** Sends one message with each body, in batches. */
  send(bodies: readonly object[]): Promise<void>;
  /** Makes received messages visible again, as when their visibility timeout expires. */
  expireVisibility(records: readonly LoggedRecord[]): Promise<void>;
  /** Returns how many messages are visible, and how many are in flight. */
  depth(): Promise<{ readonly visible: number; readonly inFlight: number }>;
}

/** Creates a service that consists of resources only. */
export function createServiceWith(resources: Service['resources'], region = REGION): Service {
  return {
    name: 'test',
    stage: 'local',
    region,
    functions: [],
    routes: [],
    schedules: [],
    eventSources: [],
    logSubscriptions: [],
    gatewayResponses: [],
    binaryMediaTypes: [],
    corsOrigin: undefined,
    resources,
  };
}

/**
 * Starts a queue that is mapped to the function `queue`. The visibility timeout is longer than a test by default, so that
 * a slow machine causes no second delivery.
 */
export async function startMappedQueue({
  visibilitySeconds = 600,
  maxReceives = 1_000,
  runner: runnerOptions = {},
  ...options
}: {
  readonly visibilitySeconds?: number;
  /** Receives after which the queue `dead` gets a message. */
  readonly maxReceives?: number;
  readonly runner?: Partial<RunnerOptions>;
} & Partial<Omit<EventSourceOptions, 'runner'>> = {}): Promise<MappedQueue> {
  const queues = closeAfterwards(await startQueues());
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint: queues.url, region: REGION, credentials });
  closeAfterwards({ close: () => client.destroy() });
  const queueUrl = `${queues.url}/000000000000/work`;
  const service = createServiceWith({
    Dead: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'dead' } },
    Work: {
      Type: 'AWS::SQS::Queue',
      Properties: {
        QueueName: 'work',
        VisibilityTimeout: visibilitySeconds,
        RedrivePolicy: { deadLetterTargetArn: { 'Fn::GetAtt': ['Dead', 'Arn'] }, maxReceiveCount: maxReceives },
      },
    },
  });
  await queues.create(service, createReferences(service, queues.url));
  const runner = await startTestRunner({ functions: [defineFunction('queue')], ...runnerOptions });
  const source = startEventSource({
    function: 'queue',
    queueUrl,
    queueArn: QUEUE_ARN,
    batchSize: 10,
    windowMs: 0,
    partialFailures: true,
    maximumConcurrency: 10,
    client,
    runner,
    growEveryMs: 20,
    waitSeconds: 1,
    ...options,
  });
  return closeAfterwards({
    ...source,
    client,
    queueUrl,
    queues,
    runner,
    records: () => runner.logs.flatMap(({ text }): LoggedRecord[] => (text.startsWith('{') ? [JSON.parse(text)] : [])),
    async send(bodies) {
      for (let first = 0; first < bodies.length; first += 10) {
        const Entries = bodies
          .slice(first, first + 10)
          .map((body, index) => ({ Id: String(index), MessageBody: JSON.stringify(body) }));
        const [single] = Entries.length === 1 ? Entries : [];
        await (single === undefined
          ? client.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }))
          : client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: single.MessageBody })));
      }
    },
    async expireVisibility(records) {
      for (const { receiptHandle: ReceiptHandle } of records) {
        await client.send(
          new ChangeMessageVisibilityCommand({ QueueUrl: queueUrl, ReceiptHandle, VisibilityTimeout: 0 }),
        );
      }
    },
    async depth() {
      const { Attributes: found = {} } = await client.send(
        new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }),
      );
      return {
        visible: Number(found.ApproximateNumberOfMessages),
        inFlight: Number(found.ApproximateNumberOfMessagesNotVisible),
      };
    },
  });
}
