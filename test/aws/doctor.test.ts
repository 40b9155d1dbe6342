import { CloudFormationClient, CreateStackCommand } from '@aws-sdk/client-cloudformation';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDoctor } from '../../infra/operate/doctor.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const table = (name: string, more: object) => ({
  Type: 'AWS::DynamoDB::Table',
  Properties: {
    TableName: `lambent-dev-${name}`,
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
    KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    ...more,
  },
});
const TEMPLATE = {
  Resources: {
    JobsTable: table('jobs', { DeletionProtectionEnabled: true }),
    KeysTable: table('keys', { DeletionProtectionEnabled: false }),
    DataKey: { Type: 'AWS::KMS::Key', Properties: { KeyPolicy: {} } },
    JobsQueue: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'lambent-dev-jobs' } },
    JobsDlq: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'lambent-dev-jobs-dlq' } },
    AlarmTopic: { Type: 'AWS::SNS::Topic', Properties: { TopicName: 'lambent-dev-alarms' } },
    Bucket: { Type: 'AWS::S3::Bucket', Properties: {} },
  },
};

describe.skipIf(!HAS_PYTHON)('doctor on a stack in moto', () => {
  let moto: Moto;
  let output = '';
  beforeAll(async () => {
    moto = await startMoto();
    const clientConfig = { endpoint: moto.url, credentials };
    const config = { ...clientConfig, region: 'eu-west-1' };
    await new CloudFormationClient(config).send(
      new CreateStackCommand({ StackName: 'lambent-dev', TemplateBody: JSON.stringify(TEMPLATE) }),
    );
    const QueueUrl = `${moto.url}/123456789012/lambent-dev-jobs-dlq`;
    await new SQSClient(config).send(new SendMessageCommand({ QueueUrl, MessageBody: 'a secret prompt' }));
    const target = { provider: 'bedrock', model: 'm' };
    const registry = parseModelRegistry(JSON.stringify({ models: { m: { targets: [target] } } }), 'models.json');
    const lines: string[] = [];
    const print = (line: string) => void lines.push(line);
    await runDoctor(['--stage', 'dev'], { print, now: Date.now, clientConfig, registry });
    output = lines.join('\n');
  });
  afterAll(() => moto?.stop());

  it('doctor finds what the stack in moto lacks, and nothing of its other resources', () => {
    expect(output).toMatch(/^tables +wrong +The table lambent-dev-keys is not protected/m);
    expect(output).not.toContain('lambent-dev-jobs is not protected');
    expect(output).toMatch(/^bucket +wrong +The bucket \S+ keeps expired objects/m);
    expect(output).toMatch(/^KMS keys +ok$/m);
    expect(output).toMatch(/^dead-letter queues +wrong +lambent-dev-jobs-dlq holds 1 message\.$/m);
    expect(output).toMatch(/^queue ages +ok$/m);
    expect(output).toMatch(/^alarms +ok$/m);
    expect(output).toMatch(/^alarm subscriptions +warning +Alarms reach no one/m);
  });

  it('doctor shows no content of messages', () => {
    expect(output).not.toContain('secret');
  });
});
