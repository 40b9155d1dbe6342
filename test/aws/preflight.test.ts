import { CloudFormationClient, CreateStackCommand } from '@aws-sdk/client-cloudformation';
import { CloudWatchLogsClient, CreateLogGroupCommand } from '@aws-sdk/client-cloudwatch-logs';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateSecretCommand, DeleteSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
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
