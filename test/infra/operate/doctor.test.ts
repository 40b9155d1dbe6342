import { execFile } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { runDoctor } from '../../../infra/operate/doctor.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { type Answer, type AwsStandIn, type Operations, type Parameters, startAws } from './aws-stand-in.ts';

const NOW = Date.parse('2026-11-30T12:00:00Z');
const MODELS = {
  m: {
    targets: [{ provider: 'openai-compatible', model: 'm', baseUrl: 'https://example.com/v1', apiKey: 'ssm:/key' }],
  },
};
const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:lambent-dev-alarms';
const CHAT = '/functions/lambent-dev-chat';

const RESOURCES = [
  ['AWS::Lambda::Function', 'Chat', 'lambent-dev-chat'],
  ['AWS::Lambda::Function', 'Warmup', 'lambent-dev-warmup'],
  ['AWS::Lambda::EventSourceMapping', 'Mapping', 'uuid-1'],
  ['AWS::Lambda::Alias', 'Alias', 'arn:aws:lambda:eu-west-1:123456789012:function:lambent-dev-chat:provisioned'],
  ['AWS::DynamoDB::Table', 'JobsTable', 'lambent-dev-jobs'],
  ['AWS::S3::Bucket', 'Bucket', 'lambent-dev-bucket-1'],
  ['AWS::KMS::Key', 'DataKey', 'key-1'],
  ['AWS::SQS::Queue', 'JobsQueue', 'QUEUES/lambent-dev-jobs'],
  ['AWS::SQS::Queue', 'JobsDlq', 'QUEUES/lambent-dev-jobs-dlq'],
  ['AWS::SNS::Topic', 'AlarmTopic', TOPIC],
  ['AWS::CloudWatch::Alarm', 'JobsDlqAlarm', 'lambent-dev-jobs-dlq'],
];

const metric = (value: number) => ({ body: { MetricDataResults: [{ Id: 'value', Values: [value] }] } });
const readMetricName = (parameters: object): unknown =>
  Object(parameters).MetricDataQueries[0].MetricStat.Metric.MetricName;
const lifecycle = (status: string) =>
  `<LifecycleConfiguration><Rule><ID>Expired</ID><Status>${status}</Status><Filter/><Expiration><Days>61</Days></Expiration></Rule></LifecycleConfiguration>`;
const subscription = (arn: string) =>
  `<Subscriptions><member><SubscriptionArn>${arn}</SubscriptionArn><TopicArn>${TOPIC}</TopicArn></member></Subscriptions>`;
const activeFunction = () => ({ body: { State: 'Active', LastUpdateStatus: 'Successful' } });

/** A stage of which nothing is wrong. */
const createHealthy = (url: () => string): Operations => ({
  DescribeStacks: () => ({ body: describeStack('UPDATE_COMPLETE', url()) }),
  ListStackResources: () => ({ body: describeResources(url()) }),
  'GET /dev/v1/models': () => ({ status: 401 }),
  [`GET /2015-03-31${CHAT}/configuration`]: activeFunction,
  'GET /2015-03-31/functions/lambent-dev-warmup/configuration': activeFunction,
  'GET /2015-03-31/event-source-mappings/uuid-1': () => ({ body: { State: 'Enabled' } }),
  [`GET /2019-09-30${CHAT}/provisioned-concurrency`]: () => ({ body: { Status: 'READY' } }),
  'GET /2016-08-19/account-settings': () => ({
    body: { AccountLimit: { ConcurrentExecutions: 1000, UnreservedConcurrentExecutions: 1000 } },
  }),
  [`GET /2019-09-30${CHAT}/concurrency`]: () => ({ body: {} }),
  'GET /2019-09-30/functions/lambent-dev-warmup/concurrency': () => ({ body: {} }),
  GetMetricData: (parameters) => metric(readMetricName(parameters) === 'Errors' ? 0 : 12),
  DescribeTable: () => ({ body: { Table: { TableStatus: 'ACTIVE', DeletionProtectionEnabled: true } } }),
  DescribeContinuousBackups: () => ({
    body: {
      ContinuousBackupsDescription: { PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: 'ENABLED' } },
    },
  }),
  DescribeTimeToLive: () => ({ body: { TimeToLiveDescription: { TimeToLiveStatus: 'ENABLED' } } }),
  'GET /lambent-dev-bucket-1/': () => ({ xml: lifecycle('Enabled') }),
  DescribeKey: () => ({ body: { KeyMetadata: { KeyId: 'key-1', KeyState: 'Enabled' } } }),
  GetQueueAttributes: () => ({ body: { Attributes: { ApproximateNumberOfMessages: '0' } } }),
  DescribeAlarms: () => ({ body: { MetricAlarms: [] } }),
  ListSubscriptionsByTopic: () => ({ body: subscription(`${TOPIC}:1`) }),
  DescribeParameters: () => ({
    body: { Parameters: [{ Name: '/key', Type: 'SecureString', KeyId: 'alias/aws/ssm' }] },
  }),
});

function describeStack(status: string, url: string | undefined): string {
  const output = `<member><OutputKey>BaseUrl</OutputKey><OutputValue>${url}/dev/v1</OutputValue></member>`;
  const outputs = url === undefined ? '' : `<Outputs>${output}</Outputs>`;
  return `<Stacks><member><StackName>lambent-dev</StackName><StackStatus>${status}</StackStatus>${outputs}</member></Stacks>`;
}

function describeResources(url: string, more: typeof RESOURCES = []): string {
  const status = 'CREATE_COMPLETE';
  const members = [...RESOURCES, ...more].map(
    ([type, id, name = '']) =>
      `<member><ResourceType>${type}</ResourceType><LogicalResourceId>${id}</LogicalResourceId><PhysicalResourceId>${name.replace('QUEUES', `${url}/123456789012`)}</PhysicalResourceId><ResourceStatus>${status}</ResourceStatus></member>`,
  );
  return `<StackResourceSummaries>${members.join('')}</StackResourceSummaries>`;
}

let aws: AwsStandIn | undefined;
afterEach(() => aws?.close());

/** Runs the command on a stage that differs from a healthy one by `operations`. */
async function run(operations: Operations = {}, args: readonly string[] = ['--stage', 'dev']) {
  aws = await startAws({ ...createHealthy(() => aws?.clientConfig.endpoint ?? ''), ...operations });
  const lines: string[] = [];
  const isHealthy = await runDoctor(args, {
    print: (line) => void lines.push(line),
    now: () => NOW,
    clientConfig: aws.clientConfig,
    registry: parseModelRegistry(JSON.stringify({ models: MODELS }), 'models.json'),
  });
  return { isHealthy, output: lines.join('\n') };
}

describe('runDoctor', () => {
  it('doctor reports each check of a healthy stage as ok', async () => {
    const { isHealthy, output } = await run();
    expect(output).not.toMatch(/wrong {2}|warning|unknown/);
    expect(output.match(/ ok$/gm)).toHaveLength(15);
    expect(output).toContain('Nothing is wrong with lambent-dev in eu-west-1.');
    expect(isHealthy).toBe(true);
  });

  it('doctor only reads', async () => {
    await run();
    const reads = /^(Describe|List|Get)|^GET /;
    expect(aws?.requested.filter((operation) => !reads.test(operation))).toEqual([]);
    expect(aws?.requested).not.toContain('ReceiveMessage');
  });

  const table = (change: object): Answer => ({
    body: { Table: { TableStatus: 'ACTIVE', DeletionProtectionEnabled: true, ...change } },
  });
  const stack = (status: string, url = () => aws?.clientConfig.endpoint): Operations => ({
    DescribeStacks: () => ({ body: describeStack(status, url()) }),
  });
  it('a stage without fleets is healthy though Lambda does not read the queue of GPU workers', async () => {
    const mapping = { State: 'Disabled', EventSourceArn: 'arn:aws:sqs:eu-west-1:123456789012:lambent-dev-gpu' };
    const { isHealthy } = await run({ 'GET /2015-03-31/event-source-mappings/uuid-1': () => ({ body: mapping }) });
    expect(isHealthy).toBe(true);
  });

  it('a stage with fleets is wrong if Lambda does not read the queue of GPU workers', async () => {
    const mapping = { State: 'Disabled', EventSourceArn: 'arn:aws:sqs:eu-west-1:123456789012:lambent-dev-gpu' };
    const fleetAlarm = ['AWS::CloudWatch::Alarm', 'FleetStoppedAlarm', 'lambent-dev-fleet-stopped'];
    const { isHealthy, output } = await run({
      ListStackResources: () => ({ body: describeResources(aws?.clientConfig.endpoint ?? '', [fleetAlarm]) }),
      'GET /2015-03-31/event-source-mappings/uuid-1': () => ({ body: mapping }),
    });
    expect(output).toContain('Lambda does not read the queue lambent-dev-gpu');
    expect(isHealthy).toBe(false);
  });

  it.each<[string, Operations]>([
    [
      'whose functions have reserved concurrency',
      { [`GET /2019-09-30${CHAT}/concurrency`]: () => ({ body: { ReservedConcurrentExecutions: 5 } }) },
    ],
    ['whose tables are being updated', { DescribeTable: () => table({ TableStatus: 'UPDATING' }) }],
  ])('a stage %s is healthy', async (_, operations) => {
    expect(await run(operations)).toMatchObject({ isHealthy: true });
  });

  const alarm = {
    AlarmName: 'lambent-dev-jobs-dlq',
    AlarmDescription: 'Something failed. Runbook: docs/alarms.md#jobs-dlq',
    StateValue: 'ALARM',
  };
  it.each<[string, Operations, string, string]>([
    ['a failed deployment', stack('UPDATE_ROLLBACK_COMPLETE'), 'The last deployment failed', 'describe-stack-events'],
    ['a running deployment', stack('UPDATE_IN_PROGRESS'), 'A deployment is in progress', 'Wait'],
    ['a missing output', stack('UPDATE_COMPLETE', () => undefined), 'no output BaseUrl', 'deploy'],
    ['an endpoint that answers 500', { 'GET /dev/v1/models': () => ({ status: 500 }) }, 'answered 500', 'gateway-5xx'],
    [
      'a failed function',
      { [`GET /2015-03-31${CHAT}/configuration`]: () => ({ body: { State: 'Failed', StateReason: 'no role' } }) },
      'lambent-dev-chat is Failed: no role',
      'Deploy again',
    ],
    [
      'a failed update',
      {
        [`GET /2015-03-31${CHAT}/configuration`]: () => ({ body: { State: 'Active', LastUpdateStatus: 'Failed' } }),
      },
      'The last update of lambent-dev-chat is Failed',
      'Deploy again',
    ],
    [
      'a disabled event source',
      {
        'GET /2015-03-31/event-source-mappings/uuid-1': () => ({
          body: { State: 'Disabled', EventSourceArn: 'arn:aws:sqs:eu-west-1:123456789012:lambent-dev-jobs' },
        }),
      },
      'does not read the queue lambent-dev-jobs',
      '--uuid uuid-1 --enabled',
    ],
    [
      'failed provisioned concurrency',
      { [`GET /2019-09-30${CHAT}/provisioned-concurrency`]: () => ({ body: { Status: 'FAILED' } }) },
      'environments of lambent-dev-chat are ready: FAILED',
      'quota',
    ],
    [
      'a function whose concurrency is 0',
      { [`GET /2019-09-30${CHAT}/concurrency`]: () => ({ body: { ReservedConcurrentExecutions: 0 } }) },
      'lambent-dev-chat is stopped',
      'delete-function-concurrency',
    ],
    [
      'an unprotected table',
      { DescribeTable: () => table({ DeletionProtectionEnabled: false }) },
      'protected',
      'update-table',
    ],
    ['a table in another state', { DescribeTable: () => table({ TableStatus: 'DELETING' }) }, 'is DELETING', 'Deploy'],
    ['a table without backups', { DescribeContinuousBackups: () => ({}) }, "can't be restored", 'update-continuous'],
    ['a table without time to live', { DescribeTimeToLive: () => ({}) }, 'keeps expired items', 'update-time-to-live'],
    [
      'a bucket whose rule is disabled',
      { 'GET /lambent-dev-bucket-1/': () => ({ xml: lifecycle('Disabled') }) },
      'keeps expired objects',
      'Deploy again',
    ],
    [
      'a bucket without rules',
      {
        'GET /lambent-dev-bucket-1/': () => ({
          status: 404,
          xml: '<Error><Code>NoSuchLifecycleConfiguration</Code></Error>',
        }),
      },
      'keeps expired objects',
      'Deploy again',
    ],
    [
      'a key that is pending deletion',
      { DescribeKey: () => ({ body: { KeyMetadata: { KeyId: 'key-1', KeyState: 'PendingDeletion' } } }) },
      'key-1 is PendingDeletion',
      'cancel-key-deletion',
    ],
    [
      'messages in a dead-letter queue',
      { GetQueueAttributes: () => ({ body: { Attributes: { ApproximateNumberOfMessages: '3' } } }) },
      'lambent-dev-jobs-dlq holds 3 messages',
      'docs/alarms.md#jobs-dlq',
    ],
    [
      'an old message',
      { GetMetricData: (parameters) => metric(readMetricName(parameters) === 'Errors' ? 0 : 1_800) },
      'The oldest message of lambent-dev-jobs is 30 minutes old',
      'docs/alarms.md#jobs-queue-age',
    ],
    [
      'failures of warmup',
      { GetMetricData: (parameters) => metric(readMetricName(parameters) === 'Errors' ? 2 : 12) },
      '2 of 12 runs of lambent-dev-warmup failed',
      'docs/alarms.md#environments-are-cold',
    ],
    [
      'an active alarm',
      {
        DescribeAlarms: () => ({
          body: { MetricAlarms: [{ ...alarm, StateValue: 'OK' }, alarm, { ...alarm, AlarmName: 'lambent-dev-2-x' }] },
        }),
      },
      'lambent-dev-jobs-dlq: Something failed.',
      'See docs/alarms.md#jobs-dlq',
    ],
    [
      'an alarm that acts on missing data',
      {
        DescribeAlarms: () => ({
          body: {
            MetricAlarms: [{ ...alarm, StateValue: 'INSUFFICIENT_DATA', InsufficientDataActions: ['topic'] }],
          },
        }),
      },
      'lambent-dev-jobs-dlq: Something failed.',
      'See docs/alarms.md#jobs-dlq',
    ],
    [
      'an unconfirmed subscription',
      { ListSubscriptionsByTopic: () => ({ body: subscription('PendingConfirmation') }) },
      '1 of 1 subscriptions to alarms are not confirmed',
      'mail',
    ],
    [
      'a parameter that holds no key',
      { DescribeParameters: () => ({ body: { Parameters: [{ Name: '/key', Type: 'StringList' }] } }) },
      'The parameter /key is a StringList',
      'put-parameter',
    ],
    [
      'a check that is denied',
      { DescribeKey: () => ({ error: 'AccessDeniedException', message: 'no kms:DescribeKey' }) },
      'could not be made: no kms:DescribeKey',
      'Allow',
    ],
  ])('doctor finds %s and says what to do', async (_, operations, problem, remedy) => {
    const { isHealthy, output } = await run(operations);
    const [line, next] = output
      .split('\n')
      .flatMap((each, index, all) => (/ {2}(wrong|unknown) {2}/.test(each) ? [each, all[index + 1]] : []));
    expect(line).toContain(problem);
    expect(next).toContain(remedy);
    expect(output).toContain('1 of these must be repaired');
    expect(isHealthy).toBe(false);
  });

  it('doctor looks at the published version of a managed function, the only one that can be invoked', async () => {
    const managed = (published: object) => ({
      [`GET /2015-03-31${CHAT}/configuration`]: ({ Qualifier }: Parameters): Answer => ({
        body: {
          CapacityProviderConfig: { LambdaManagedInstancesCapacityProviderConfig: { CapacityProviderArn: 'arn' } },
          ...(Qualifier === '$LATEST.PUBLISHED' ? published : { State: 'ActiveNonInvocable' }),
        },
      }),
    });
    const healthy = await run(managed({ State: 'Active', LastUpdateStatus: 'Successful' }));
    expect(healthy.output).toContain('Nothing is wrong');
    await aws?.close();
    const failed = await run(managed({ State: 'Failed', StateReason: 'no capacity' }));
    expect(failed.output).toContain('lambent-dev-chat is Failed: no capacity');
  });

  it('a stage with warnings only is not wrong', async () => {
    const { isHealthy, output } = await run({
      ListSubscriptionsByTopic: () => ({ body: '<Subscriptions/>' }),
      GetMetricData: () => ({ body: { MetricDataResults: [] } }),
      [`GET /2019-09-30${CHAT}/provisioned-concurrency`]: () => ({ body: { Status: 'IN_PROGRESS' } }),
      DescribeParameters: () => ({ body: {} }),
    });
    expect(output.match(/ {2}warning {2}/g)).toHaveLength(4);
    expect(isHealthy).toBe(true);
  });

  it('doctor names a stage that does not exist, and the region', async () => {
    const missing = () => ({ error: 'ValidationError', message: 'Stack with id lambent-dev does not exist' });
    await expect(run({ DescribeStacks: missing }, ['--stage', 'dev', '--region', 'us-east-1'])).rejects.toThrow(
      /^lambent-dev in us-east-1: no such stack in this account and region$/,
    );
  });

  it.each([
    [[], '--stage is missing'],
    [['dev'], "takes only options, not 'dev'"],
    [['--stag', 'dev'], 'unknown option --stag; did you mean --stage?'],
  ])('runDoctor rejects the arguments %s', async (args, reason) => {
    await expect(run({}, args)).rejects.toMatchObject({ name: 'UsageError', message: expect.stringContaining(reason) });
  });

  it('the doctor command prints an error and its usage, without a stack trace', async () => {
    const [status, output] = await new Promise<[unknown, string]>((resolve) => {
      execFile(process.execPath, ['infra/operate/doctor.ts'], (error, _stdout, stderr) =>
        resolve([error?.code, stderr]),
      );
    });
    expect(status).toBe(1);
    expect(output).toMatch(/^--stage is missing\n\nusage:\n/);
  });
});
