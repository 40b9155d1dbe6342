import { CloudFormationClient, type Stack, type StackEvent } from '@aws-sdk/client-cloudformation';
import { CreateTableCommand, DescribeTableCommand, DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { KMSClient } from '@aws-sdk/client-kms';
import { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { adoptData } from '../../infra/deploy/adopt.ts';
import { DATA_IDS, type DataClients } from '../../infra/deploy/data.ts';
import { cleanUpFirstDeployment, hasNeverSucceeded } from '../../infra/deploy/first-deployment.ts';
import type { StackContext } from '../../infra/deploy/stack.ts';
import { listReferences, type Template } from '../../infra/template.ts';
import { type AwsStandIn, type Operations, startAws } from '../infra/operate/aws-stand-in.ts';
import { packageStage } from '../infra/packaged.ts';
import { createTableInput } from '../tables.ts';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';

const STACK_ID = 'arn:aws:cloudformation:eu-west-1:123456789012:stack/lambent-dev/1';

const FAILED: Stack = {
  StackId: STACK_ID,
  StackName: 'lambent-dev',
  StackStatus: 'UPDATE_ROLLBACK_COMPLETE',
  CreationTime: new Date(0),
};

/** Returns events of the stack: `STATUS` of itself, or `id=physicalId STATUS` of a resource. */
const createEvents = (...lines: readonly string[]): StackEvent[] =>
  lines.map((line) => {
    const [, id = 'lambent-dev', physicalId = STACK_ID, status] = /^(?:(\w+)=(\S+) )?(\w+)/.exec(line) ?? [];
    return {
      EventId: line,
      StackId: STACK_ID,
      StackName: 'lambent-dev',
      Timestamp: new Date(0),
      LogicalResourceId: id,
      PhysicalResourceId: physicalId,
      ResourceStatus: status as StackEvent['ResourceStatus'],
    };
  });

/** Returns the events as CloudFormation does: newest first. */
const formatEvents = (events: readonly StackEvent[]): string =>
  `<StackEvents>${events
    .toReversed()
    .map((event) => `<member>${Object.entries(event).map(formatField).join('')}</member>`)
    .join('')}</StackEvents>`;
const formatField = ([name, value]: [string, unknown]) =>
  `<${name}>${value instanceof Date ? value.toISOString() : value}</${name}>`;

const BEGUN = ['REVIEW_IN_PROGRESS', 'CREATE_IN_PROGRESS', 'CREATE_COMPLETE', 'UPDATE_IN_PROGRESS'];
const ROLLED_BACK = ['UPDATE_ROLLBACK_IN_PROGRESS', 'UPDATE_ROLLBACK_COMPLETE'];

describe('whether a deployment of a stack ever succeeded', () => {
  it.each([
    ['a first update that was rolled back', [...BEGUN, ...ROLLED_BACK], true],
    ['a stack that could not be created', ['CREATE_IN_PROGRESS', 'ROLLBACK_IN_PROGRESS', 'ROLLBACK_COMPLETE'], true],
    ['a later update that was rolled back', [...BEGUN, 'UPDATE_COMPLETE', ...ROLLED_BACK], false],
    ['a stack of adopted data', ['REVIEW_IN_PROGRESS', 'IMPORT_IN_PROGRESS', 'IMPORT_COMPLETE', ...ROLLED_BACK], false],
    ['a stack older than the events that CloudFormation keeps', ROLLED_BACK, false],
    [
      'a stack that was created with its tables in one step',
      ['CREATE_IN_PROGRESS', 'JobsTable=lambent-dev-jobs CREATE_COMPLETE', 'CREATE_COMPLETE', ...ROLLED_BACK],
      false,
    ],
  ])('%s: the events show it', (_, lines, expected) => {
    expect(hasNeverSucceeded(createEvents(...lines))).toBe(expected);
  });
});

describe.skipIf(!HAS_PYTHON)('a failed first deployment', () => {
  let moto: Moto;
  let aws: AwsStandIn | undefined;
  let lines: string[];
  let data: DataClients;
  beforeAll(async () => {
    moto = await startMoto();
  });
  afterAll(() => moto?.stop());
  beforeEach(async () => {
    await fetch(`${moto.url}/moto-api/reset`, { method: 'POST' });
    lines = [];
    const config = {
      region: 'eu-west-1',
      endpoint: moto.url,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      forcePathStyle: true,
    };
    data = { dynamoDb: new DynamoDBClient(config), kms: new KMSClient(config), s3: new S3Client(config) };
    for (const name of ['lambent-dev-access', 'lambent-dev-jobs']) {
      const table = { ...createTableInput('sessions'), TableName: name, DeletionProtectionEnabled: true };
      await data.dynamoDb.send(new CreateTableCommand(table));
    }
    return () => aws?.close();
  });

  const startStack = async (operations: Operations): Promise<StackContext> => {
    aws = await startAws(operations);
    return {
      cloudFormation: new CloudFormationClient({ ...aws.clientConfig, region: 'eu-west-1' }),
      stackName: 'lambent-dev',
      print: (line) => lines.push(line),
      pollMs: 1,
    };
  };

  it('a failed first deployment leaves nothing, except a table that was there before', async () => {
    const events = createEvents(
      ...BEGUN,
      'AccessTable=lambent-dev-access CREATE_COMPLETE',
      'JobsTable=lambent-dev-jobs CREATE_FAILED',
      ...ROLLED_BACK,
    );
    const context = await startStack({
      DescribeStackEvents: () => ({ body: formatEvents(events) }),
      ListStackResources: () => ({ body: '<StackResourceSummaries></StackResourceSummaries>' }),
      DeleteStack: () => ({}),
      DescribeStacks: () => ({
        body: `<Stacks><member><StackName>lambent-dev</StackName><StackStatus>DELETE_COMPLETE</StackStatus></member></Stacks>`,
      }),
    });
    await cleanUpFirstDeployment(context, data, FAILED);
    const { TableNames } = await data.dynamoDb.send(new ListTablesCommand({}));
    expect(TableNames).toEqual(['lambent-dev-jobs']);
    expect(lines).toContain('  AccessTable lambent-dev-access: deleted');
    expect(aws?.requested).toContain('DeleteStack');
  });

  it('a stack of which a deployment succeeded loses nothing', async () => {
    const events = createEvents(
      ...BEGUN,
      'AccessTable=lambent-dev-access CREATE_COMPLETE',
      'UPDATE_COMPLETE',
      ...ROLLED_BACK,
    );
    const context = await startStack({ DescribeStackEvents: () => ({ body: formatEvents(events) }) });
    await expect(cleanUpFirstDeployment(context, data, FAILED)).rejects.toThrow('may hold data');
    expect(aws?.requested).toEqual(['DescribeStackEvents']);
    await data.dynamoDb.send(new DescribeTableCommand({ TableName: 'lambent-dev-access' }));
  });
});

describe('adopting kept data', () => {
  it('an import has the rules that CloudFormation has for it, and names each kept resource', async () => {
    let sent: Readonly<Record<string, unknown>> = {};
    const aws = await startAws({
      CreateChangeSet: (parameters) => {
        sent = parameters;
        return { body: `<Id>change</Id><StackId>${STACK_ID}</StackId>` };
      },
      DescribeChangeSet: () => ({ body: '<Status>CREATE_COMPLETE</Status>' }),
      ExecuteChangeSet: () => ({}),
      DescribeStacks: () => ({
        body: '<Stacks><member><StackName>lambent-dev</StackName><StackStatus>IMPORT_COMPLETE</StackStatus></member></Stacks>',
      }),
    });
    const cloudFormation = new CloudFormationClient({ ...aws.clientConfig, region: 'eu-west-1' });
    const kept = Object.fromEntries(DATA_IDS.map((id) => [id, `kept-${id}`]));
    const template = await packageStage();
    const context = { cloudFormation, stackName: 'lambent-dev', print: () => {}, pollMs: 1 };
    const adopted = await adoptData(context, { template, stage: 'dev' }, kept);
    await aws.close();

    expect(sent['ChangeSetType']).toBe('IMPORT');
    const imported = JSON.parse(String(sent['TemplateBody'])) as Template;
    expect(imported).toEqual(adopted);
    expect(Buffer.byteLength(String(sent['TemplateBody']))).toBeLessThan(51_200);
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-import.html
    expect(Object.keys(imported.Resources).sort()).toEqual([...DATA_IDS].sort());
    expect(imported.Outputs).toBeUndefined();
    for (const resource of Object.values(imported.Resources)) expect(resource.DeletionPolicy).toMatch(/^Retain/);
    const foreign = listReferences(imported.Resources).filter((name) => !name.startsWith('AWS::'));
    expect(foreign.filter((name) => !(name in imported.Resources))).toEqual([]);
    const identifiers = {
      'AWS::DynamoDB::Table': 'TableName',
      'AWS::KMS::Key': 'KeyId',
      'AWS::S3::Bucket': 'BucketName',
    };
    for (const [index, id] of Object.keys(imported.Resources).entries()) {
      const prefix = `ResourcesToImport.member.${index + 1}`;
      expect(sent[`${prefix}.LogicalResourceId`]).toBe(id);
      const type = sent[`${prefix}.ResourceType`] as keyof typeof identifiers;
      expect(sent[`${prefix}.ResourceIdentifier.entry.1.key`]).toBe(identifiers[type]);
      expect(sent[`${prefix}.ResourceIdentifier.entry.1.value`]).toBe(`kept-${id}`);
    }
  });

  it('the resources that count as data are exactly those that the template retains', async () => {
    const { Resources } = await packageStage();
    const retained = Object.entries(Resources).filter(([, { DeletionPolicy = '' }]) =>
      DeletionPolicy.startsWith('Retain'),
    );
    expect(retained.map(([id]) => id).sort()).toEqual([...DATA_IDS].sort());
  });
});
