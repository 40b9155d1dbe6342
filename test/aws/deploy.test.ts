import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CloudFormationClient,
  CreateStackCommand,
  DescribeStacksCommand,
  UpdateStackCommand,
} from '@aws-sdk/client-cloudformation';
import { DescribeTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DescribeKeyCommand, KMSClient, ListKeysCommand, PutKeyPolicyCommand } from '@aws-sdk/client-kms';
import { GetFunctionCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { HeadBucketCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CommandContext } from '../../infra/deploy/context.ts';
import { deployPackage } from '../../infra/deploy/deploy.ts';
import { parseDeployOptions } from '../../infra/deploy/options.ts';
import { runRemoveCommand } from '../../infra/deploy/remove.ts';
import { readStagePackage, type StagePackage } from '../../infra/deploy/stage-package.ts';
import { packageTemplate } from '../../infra/osls-package.ts';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';
import { adaptToMoto } from './moto-template.ts';

const ACCOUNT = '123456789012';
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const REFUSAL = {
  error: { message: 'Incorrect API key', type: 'invalid_request_error', param: null, code: 'invalid_api_key' },
};

describe.skipIf(!HAS_PYTHON)('npm run deploy and npm run remove', () => {
  let folder: string;
  let dev: StagePackage;
  let moto: Moto;
  let lines: string[];
  let context: CommandContext;
  /** What the deployed API answers: moto's has no stage. */
  let respond: () => Response;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-deploy-'));
    moto = await startMoto();
    dev = await packageFolder('dev');
  });
  afterAll(async () => {
    await moto?.stop();
    await rm(folder, { recursive: true });
  });

  beforeEach(async () => {
    await fetch(`${moto.url}/moto-api/reset`, { method: 'POST' });
    lines = [];
    respond = () => Response.json(REFUSAL, { status: 401 });
    const stagesFile = join(await mkdtemp(join(folder, 'stages-')), 'stages.json');
    context = {
      clientConfig: { endpoint: moto.url, credentials },
      stagesFile,
      print: (line) => lines.push(line),
      ask: async () => undefined,
      request: async () => respond(),
      pollMs: 1,
    };
  });

  async function packageFolder(stage: string, ...args: string[]): Promise<StagePackage> {
    const service = await mkdtemp(join(folder, `${stage}-`));
    await packageTemplate(service, ['--stage', stage, ...args]);
    const packaged = await readStagePackage(join(service, '.serverless'));
    return { ...packaged, template: adaptToMoto(packaged.template) };
  }

  const deploy = (packaged: StagePackage, ...args: string[]) =>
    deployPackage(packaged, parseDeployOptions(['--packaged', ...args]), context);
  const remove = (...args: string[]) => runRemoveCommand(args, context);
  const create = <C>(client: new (config: object) => C) =>
    new client({ region: 'eu-west-1', endpoint: moto.url, credentials, forcePathStyle: true });
  const readStatus = async (name: string) => {
    const { Stacks = [] } = await create(CloudFormationClient).send(new DescribeStacksCommand({ StackName: name }));
    return Stacks[0]?.StackStatus;
  };

  /** moto fails to describe a key with the policy object of a template. */
  async function rewriteKeyPolicies(): Promise<void> {
    const client = create(KMSClient);
    const { Keys = [] } = await client.send(new ListKeysCommand({}));
    for (const { KeyId } of Keys)
      await client.send(new PutKeyPolicyCommand({ KeyId, PolicyName: 'default', Policy: '{}' }));
  }

  it('a first deployment deploys the packaged zips, records the account and prints what users need', async () => {
    await deploy(dev);
    expect(await readStatus('lambent-dev')).toBe('UPDATE_COMPLETE');
    const { Configuration } = await create(LambdaClient).send(
      new GetFunctionCommand({ FunctionName: 'lambent-dev-chat' }),
    );
    const chat = dev.artefacts.find(({ file }) => file === 'chat.zip');
    expect(Configuration?.CodeSha256).toBe(Buffer.from(chat?.sha256 ?? '', 'hex').toString('base64'));
    expect(JSON.parse(await readFile(context.stagesFile, 'utf8'))).toEqual({
      dev: { account: ACCOUNT, region: 'eu-west-1' },
    });
    const text = lines.join('\n');
    expect(text).toMatch(/base URL +https:\/\/\w+\.execute-api\.eu-west-1\.amazonaws\.com\/dev\/v1\n/);
    expect(text).toMatch(/generation queue +http\S+lambent-dev-generation\n/);
    expect(text).toMatch(/bucket +lambent-dev-bucket-\w+\n {2}KMS key +[\w-]{36}\n/);
    expect(text).toContain('It refuses a request without a key, as it should.');
    expect(lines.at(-1)).toBe('\nNext: npm run admin -- bootstrap --stage dev --region eu-west-1');
  });

  it('a second deployment of the same sources changes and uploads nothing', async () => {
    await deploy(dev);
    lines = [];
    await deploy(await packageFolder('dev'));
    expect(lines).toContain('Nothing has changed since the last deployment.');
    // The functions' zips and the template.
    const files = dev.artefacts.length + 1;
    expect(lines).toContain(`Uploaded 0 of ${files} files; the others were there already`);
  });

  it('--diff shows a change, and deploys it only after a yes', async () => {
    await deploy(dev);
    lines = [];
    const changed = await packageFolder('dev', '--param', 'chatMemoryMb=2048');
    await deploy(changed, '--diff');
    expect(lines.find((line) => line.startsWith('action'))).toMatch(/^action +resource +type +replaced +changes$/);
    expect(lines.some((line) => /^Modify +ChatLambdaFunction +AWS::Lambda::Function/.test(line))).toBe(true);
    expect(lines.at(-1)).toBe('Nothing was deployed.');
    const readMemory = async () => {
      const request = new GetFunctionCommand({ FunctionName: 'lambent-dev-chat' });
      return (await create(LambdaClient).send(request)).Configuration?.MemorySize;
    };
    expect(await readMemory()).toBe(1024);

    context = { ...context, ask: async () => 'yes' };
    await deploy(changed, '--diff');
    expect(await readMemory()).toBe(2048);
  });

  it('two stages live in one region, and removing one leaves the other', async () => {
    const test = await packageFolder('test');
    await deploy(dev);
    await deploy(test);
    await remove('--stage', 'dev');
    expect(await readStatus('lambent-test')).toBe('UPDATE_COMPLETE');
    await create(DynamoDBClient).send(new DescribeTableCommand({ TableName: 'lambent-test-jobs' }));
  });

  it('a stage that osls deployed is updated in place', async () => {
    const cloudFormation = create(CloudFormationClient);
    const s3 = create(S3Client);
    const StackName = 'lambent-dev';
    await cloudFormation.send(new CreateStackCommand({ StackName, TemplateBody: JSON.stringify(dev.bucketTemplate) }));
    const { Buckets = [] } = await s3.send(new ListBucketsCommand({}));
    const Bucket = Buckets[0]?.Name ?? '';
    const prefix = 'serverless/lambent/dev/1700000000000-2023-11-14T22:13:20.000Z/';
    for (const { file } of dev.artefacts) {
      const Body = await readFile(join(dev.folder, file));
      await s3.send(new PutObjectCommand({ Bucket, Key: `${prefix}${file}`, Body }));
    }
    const template = JSON.stringify(dev.template).replaceAll(/code\/[0-9a-f]{64}\//g, prefix);
    await s3.send(new PutObjectCommand({ Bucket, Key: `${prefix}template.json`, Body: template }));
    const TemplateURL = `https://s3.eu-west-1.amazonaws.com/${Bucket}/${prefix}template.json`;
    await cloudFormation.send(new UpdateStackCommand({ StackName, TemplateURL, Capabilities: ['CAPABILITY_IAM'] }));
    const dynamoDb = create(DynamoDBClient);
    const readTableId = async () =>
      (await dynamoDb.send(new DescribeTableCommand({ TableName: 'lambent-dev-jobs' }))).Table?.TableId;
    const tableId = await readTableId();

    await deploy(dev);
    // Each function has its code in another place.
    expect(lines).toContain(`Changing ${dev.artefacts.length} resources`);
    expect(await readTableId()).toBe(tableId);
  });

  it('credentials of another account, and another region, are refused before anything is changed', async () => {
    await writeFile(context.stagesFile, JSON.stringify({ dev: { account: '210987654321', region: 'eu-west-1' } }));
    const refusal = `The credentials belong to account ${ACCOUNT}, but the stage dev is deployed in 210987654321.`;
    await expect(deploy(dev)).rejects.toThrow(refusal);
    await expect(remove('--stage', 'dev')).rejects.toThrow(refusal);
    await writeFile(context.stagesFile, JSON.stringify({ dev: { account: ACCOUNT, region: 'us-east-1' } }));
    await expect(deploy(dev)).rejects.toThrow('The stage dev is deployed in us-east-1, not eu-west-1.');
    await expect(remove('--stage', 'dev', '--region', 'eu-west-1')).rejects.toThrow(
      'deployed in us-east-1, not eu-west-1',
    );
    await expect(readStatus('lambent-dev')).rejects.toThrow('does not exist');
  });

  it('options that name another stage or region than the package are refused', async () => {
    await expect(deploy(dev, '--stage', 'prod')).rejects.toThrow('The package is for stage dev, not prod.');
    await expect(deploy(dev, '--region', 'us-east-1')).rejects.toThrow(
      'The package is for region eu-west-1, not us-east-1.',
    );
  });

  it('a zip that is not the packaged one is refused', async () => {
    const copy = await mkdtemp(join(folder, 'changed-'));
    await cp(dev.folder, copy, { recursive: true });
    await writeFile(join(copy, 'chat.zip'), 'something else');
    await expect(readStagePackage(copy)).rejects.toThrow('chat.zip is not the file that was packaged');
    await expect(deploy({ ...dev, folder: copy })).rejects.toThrow('chat.zip is not the file that was packaged');
  });

  it('a deployed service that does not respond as it should fails the command', async () => {
    respond = () => Response.json({ message: 'Forbidden' }, { status: 403 });
    await expect(deploy(dev)).rejects.toThrow('does not respond as it should: 403 {"message":"Forbidden"}');
  });

  it('kept data is neither overwritten nor deleted by a deployment without --adopt', async () => {
    await deploy(dev);
    await rewriteKeyPolicies();
    await remove('--stage', 'dev');
    const text = lines.join('\n');
    expect(text).toMatch(
      / {2}Bucket lambent-dev-bucket-\w+\n[\s\S]* {2}KeysTable lambent-dev-keys\n {2}DataKey [\w-]{36}\n/,
    );
    expect(text).toContain('npm run deploy -- --stage dev --region eu-west-1 --adopt');
    await expect(deploy(dev)).rejects.toThrow(
      /lambent-dev was removed, but its data is still there: lambent-dev-access, /,
    );
    await create(DynamoDBClient).send(new DescribeTableCommand({ TableName: 'lambent-dev-jobs' }));
  });

  it('deleting data needs both options, with the name of the stage', async () => {
    const twice = ['--delete-data', '--yes-delete-data-of'];
    await expect(remove('--stage', 'dev', '--delete-data')).rejects.toThrow('--yes-delete-data-of is missing');
    await expect(remove('--stage', 'dev', ...twice, 'prod')).rejects.toThrow("the stage's name, dev");
    await expect(remove('--stage', 'dev', '--yes-delete-data-of', 'dev')).rejects.toThrow('needs --delete-data');
  });

  it('removing a stage with its data deletes tables, bucket and keys, and the record of its account', async () => {
    await deploy(dev);
    const bucket = /bucket +(\S+)/.exec(lines.join('\n'))?.[1];
    const key = /KMS key +(\S+)/.exec(lines.join('\n'))?.[1];
    await rewriteKeyPolicies();
    await remove('--stage', 'dev', '--delete-data', '--yes-delete-data-of', 'dev');
    const client = create(DynamoDBClient);
    for (const name of ['access', 'admin', 'keys', 'jobs', 'sessions', 'limits', 'fleet', 'usage']) {
      await expect(client.send(new DescribeTableCommand({ TableName: `lambent-dev-${name}` }))).rejects.toThrow();
    }
    await expect(create(S3Client).send(new HeadBucketCommand({ Bucket: bucket }))).rejects.toThrow();
    const { KeyMetadata } = await create(KMSClient).send(new DescribeKeyCommand({ KeyId: key }));
    expect(KeyMetadata?.KeyState).toBe('PendingDeletion');
    expect(await readFile(context.stagesFile, 'utf8')).toBe('{}\n');
  });
});
