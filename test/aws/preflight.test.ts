import { APIGatewayClient, CreateDomainNameCommand } from '@aws-sdk/client-api-gateway';
import {
  AutoScalingClient,
  CreateAutoScalingGroupCommand,
  DescribeAutoScalingGroupsCommand,
} from '@aws-sdk/client-auto-scaling';
import { CloudFormationClient, CreateStackCommand } from '@aws-sdk/client-cloudformation';
import { CloudWatchClient, PutMetricAlarmCommand } from '@aws-sdk/client-cloudwatch';
import { CloudWatchLogsClient, CreateLogGroupCommand } from '@aws-sdk/client-cloudwatch-logs';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateLaunchTemplateCommand, EC2Client } from '@aws-sdk/client-ec2';
import { CreateCapacityProviderCommand, CreateClusterCommand, ECSClient } from '@aws-sdk/client-ecs';
import { EventBridgeClient, PutRuleCommand } from '@aws-sdk/client-eventbridge';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateSecretCommand, DeleteSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CreateTopicCommand, SNSClient } from '@aws-sdk/client-sns';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { CreateWebACLCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLogRole } from '../../infra/operate/preflight/gateway.ts';
import { checkNames } from '../../infra/operate/preflight/names.ts';
import { checkReferences } from '../../infra/operate/preflight/references.ts';
import { type PreflightInput, runPreflight } from '../../infra/operate/preflight.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { createTableInput } from '../tables.ts';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';

/** Returns a registry whose models have these keys. */
function createRegistry(...keys: readonly string[]) {
  const target = { provider: 'openai-compatible', model: 'm', baseUrl: 'https://example.com/v1' };
  const models = Object.fromEntries(keys.map((apiKey, index) => [`m${index}`, { targets: [{ ...target, apiKey }] }]));
  return parseModelRegistry(JSON.stringify({ models: { plain: { targets: [target] }, ...models } }), 'models.json');
}

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };

/** Creates a group on the launch template of the same name. Returns its description. */
async function createGroup(client: AutoScalingClient, name: string) {
  await client.send(
    new CreateAutoScalingGroupCommand({
      ...{ AutoScalingGroupName: name, MinSize: 0, MaxSize: 0, AvailabilityZones: ['eu-central-1a'] },
      LaunchTemplate: { LaunchTemplateName: name, Version: '$Latest' },
    }),
  );
  const { AutoScalingGroups = [] } = await client.send(new DescribeAutoScalingGroupsCommand());
  return { AutoScalingGroupARN: AutoScalingGroups[0]?.AutoScalingGroupARN };
}

describe.skipIf(!HAS_PYTHON)('the preflight', () => {
  let moto: Moto;
  let input: PreflightInput;
  beforeAll(async () => {
    moto = await startMoto();
    input = {
      stage: 'dev',
      region: 'eu-west-1',
      stackName: 'lambent-dev',
      template: { Resources: {} },
      settings: {},
      registry: createRegistry(),
      clientConfig: { endpoint: moto.url, credentials },
    };
  });
  afterAll(() => moto?.stop());

  it('the preflight finds nothing wrong with a stage that lacks nothing', async () => {
    const findings = await runPreflight(input);
    // moto has neither IAM's simulation nor Lambda's account settings.
    expect(findings.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('the preflight lists the names of the template that other resources have, and deletes nothing', async () => {
    const config = { ...input.clientConfig, region: 'eu-central-1' };
    await new DynamoDBClient(config).send(new CreateTableCommand(createTableInput('lambent-dev-jobs')));
    await new SQSClient(config).send(new CreateQueueCommand({ QueueName: 'lambent-dev-jobs' }));
    await new CloudWatchLogsClient(config).send(
      new CreateLogGroupCommand({ logGroupName: '/aws/lambda/lambent-dev-chat' }),
    );
    const { KeyMetadata } = await new KMSClient(config).send(new CreateKeyCommand());
    await new KMSClient(config).send(
      new CreateAliasCommand({ AliasName: 'alias/lambent-dev', TargetKeyId: KeyMetadata?.KeyId }),
    );
    const template = {
      Resources: {
        JobsTable: { Type: 'AWS::DynamoDB::Table', Properties: { TableName: 'lambent-dev-jobs' } },
        KeysTable: { Type: 'AWS::DynamoDB::Table', Properties: { TableName: 'lambent-dev-keys' } },
        JobsQueue: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'lambent-dev-jobs' } },
        GpuQueue: { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'lambent-dev-gpu' } },
        ChatLogGroup: { Type: 'AWS::Logs::LogGroup', Properties: { LogGroupName: '/aws/lambda/lambent-dev-chat' } },
        OtherLogGroup: { Type: 'AWS::Logs::LogGroup', Properties: { LogGroupName: '/aws/lambda/lambent-dev-cha' } },
        DataKeyAlias: { Type: 'AWS::KMS::Alias', Properties: { AliasName: 'alias/lambent-dev' } },
        VaultKeyAlias: { Type: 'AWS::KMS::Alias', Properties: { AliasName: 'alias/lambent-dev-vault' } },
        Chat: { Type: 'AWS::Lambda::Function', Properties: { FunctionName: 'lambent-dev-chat' } },
      },
    };
    const findings = await checkNames({ ...input, region: config.region, template });
    expect(findings.map(({ level, problem }) => [level, problem.split(' exists')[0]])).toEqual([
      ['error', 'The table lambent-dev-jobs'],
      ['error', 'The queue lambent-dev-jobs'],
      ['error', 'The log group /aws/lambda/lambent-dev-chat'],
      ['error', 'The alias of a key alias/lambent-dev'],
    ]);
    expect(findings.every(({ remedy }) => remedy.includes('--region eu-central-1'))).toBe(true);
  });

  it('the preflight lists the names of alarms, topics, rules, GPU resources and edge resources that others have', async () => {
    const config = { ...input.clientConfig, region: 'eu-central-1' };
    const name = 'lambent-dev-gpu';
    const alarms = Array.from({ length: 130 }, (_, index) => `lambent-dev-alarm-${index}`);
    const metric = {
      Namespace: 'Lambent',
      MetricName: 'm',
      Statistic: 'Sum',
      Period: 60,
      EvaluationPeriods: 1,
    } as const;
    for (const AlarmName of [alarms[0], alarms[129]])
      await new CloudWatchClient(config).send(
        new PutMetricAlarmCommand({ ...metric, AlarmName, Threshold: 1, ComparisonOperator: 'GreaterThanThreshold' }),
      );
    await new SNSClient(config).send(new CreateTopicCommand({ Name: 'lambent-dev-alarms' }));
    await new EventBridgeClient(config).send(
      new PutRuleCommand({ Name: 'lambent-dev-rule', ScheduleExpression: 'rate(1 minute)' }),
    );
    await new EC2Client(config).send(
      new CreateLaunchTemplateCommand({
        LaunchTemplateName: name,
        LaunchTemplateData: { ImageId: 'ami-12c6146b', InstanceType: 't3.micro' },
      }),
    );
    const { AutoScalingGroupARN } = await createGroup(new AutoScalingClient(config), name);
    const ecs = new ECSClient(config);
    await ecs.send(new CreateClusterCommand({ clusterName: 'gpu' }));
    await ecs.send(
      new CreateCapacityProviderCommand({
        name,
        autoScalingGroupProvider: { autoScalingGroupArn: AutoScalingGroupARN },
      }),
    );
    await new APIGatewayClient(config).send(new CreateDomainNameCommand({ domainName: 'api.example.com' }));
    await new WAFV2Client(config).send(
      new CreateWebACLCommand({
        ...{ Name: 'lambent-dev', Scope: 'REGIONAL', DefaultAction: { Allow: {} } },
        VisibilityConfig: { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: false, MetricName: 'm' },
      }),
    );
    const named: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
      'AWS::SNS::Topic': { TopicName: ['lambent-dev-alarms', 'lambent-dev-other'] },
      'AWS::CloudWatch::Alarm': { AlarmName: alarms },
      'AWS::Events::Rule': { Name: ['lambent-dev-rule', 'lambent-dev-rule-2'] },
      'AWS::ApiGateway::DomainName': { DomainName: ['api.example.com', 'other.example.com'] },
      'AWS::WAFv2::WebACL': { Name: ['lambent-dev', 'lambent-de'] },
      'AWS::ECS::Cluster': { ClusterName: ['gpu', 'gpus'] },
      'AWS::ECS::CapacityProvider': { Name: [name, 'lambent-dev-other'] },
      'AWS::EC2::LaunchTemplate': { LaunchTemplateName: [name, 'lambent-dev-other'] },
      'AWS::AutoScaling::AutoScalingGroup': { AutoScalingGroupName: [name, 'lambent-dev-other'] },
    };
    const resources = Object.entries(named).flatMap(([Type, properties]) =>
      Object.entries(properties).flatMap(([property, names]) =>
        names.map((each) => [`${Type}-${each}`, { Type, Properties: { [property]: each } }] as const),
      ),
    );
    const findings = await checkNames({
      ...input,
      region: config.region,
      template: { Resources: Object.fromEntries(resources) },
    });
    expect(findings.map(({ problem }) => problem.split(' exists')[0])).toEqual([
      'The topic lambent-dev-alarms',
      'The alarm lambent-dev-alarm-0',
      'The alarm lambent-dev-alarm-129',
      'The rule lambent-dev-rule',
      'The domain name of API Gateway api.example.com',
      'The web ACL lambent-dev',
      'The cluster gpu',
      `The capacity provider of ECS ${name}`,
      `The launch template ${name}`,
      `The Auto Scaling group ${name}`,
    ]);
  });

  it("the preflight does not count the names of the stage's own stack as taken", async () => {
    const region = 'eu-central-2';
    const Properties = { QueueName: 'lambent-dev-jobs' };
    const template = { Resources: { JobsQueue: { Type: 'AWS::SQS::Queue', Properties } } };
    await new CloudFormationClient({ ...input.clientConfig, region }).send(
      new CreateStackCommand({ StackName: 'lambent-dev', TemplateBody: JSON.stringify(template) }),
    );
    expect(await checkNames({ ...input, region, template })).toEqual([]);
    expect(await checkNames({ ...input, region, template, stackName: 'lambent-other' })).toHaveLength(1);
  });

  it('the preflight checks the parameters and secrets of the models file without reading them', async () => {
    const region = 'eu-west-3';
    const ssm = new SSMClient({ ...input.clientConfig, region });
    const secrets = new SecretsManagerClient({ ...input.clientConfig, region });
    const put = (Name: string, Type: 'String' | 'SecureString' | 'StringList', KeyId?: string) =>
      ssm.send(new PutParameterCommand({ Name, Type, Value: 'value', KeyId }));
    await put('/good', 'SecureString');
    await put('/stack', 'SecureString', 'alias/lambent-dev');
    await put('/foreign', 'SecureString', 'alias/other');
    await put('/plain', 'String');
    await put('/list', 'StringList');
    await secrets.send(new CreateSecretCommand({ Name: 'good', SecretString: 'value' }));
    await secrets.send(new CreateSecretCommand({ Name: 'foreign', SecretString: 'value', KmsKeyId: 'alias/other' }));
    await secrets.send(new CreateSecretCommand({ Name: 'empty' }));
    await secrets.send(new CreateSecretCommand({ Name: 'deleted', SecretString: 'value' }));
    await secrets.send(new DeleteSecretCommand({ SecretId: 'deleted' }));
    const registry = createRegistry(
      ...['good', 'stack', 'foreign', 'plain', 'list', 'missing'].map((name) => `ssm:/${name}`),
      ...['good', 'foreign', 'empty', 'deleted', 'missing'].map((name) => `secret:${name}`),
    );
    const findings = await checkReferences({ ...input, region, registry });
    expect(findings.map(({ level, problem }) => [level, problem.replace(/[ ,.](is|has|which).*/, '')])).toEqual([
      ['warning', 'The parameter /foreign'],
      ['warning', 'The parameter /plain'],
      ['error', 'The parameter /list'],
      ['warning', 'The models file refers to the parameter /missing,'],
      ['warning', 'The secret foreign'],
      ['error', 'The secret empty'],
      ['error', 'The secret deleted'],
      ['warning', 'The models file refers to the secret missing,'],
    ]);
    expect(JSON.stringify(findings)).not.toContain('"value"');
  });

  it("the preflight asks for API Gateway's role if the template has an access log", async () => {
    const Stage = { Type: 'AWS::ApiGateway::Stage', Properties: { AccessLogSetting: {} } };
    expect(await checkLogRole(input)).toEqual([]);
    expect(await checkLogRole({ ...input, template: { Resources: { Stage } } })).toMatchObject([
      { level: 'error', remedy: expect.stringContaining('--region eu-west-1 --stack-name lambent-account') },
    ]);
  });
});
