import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { computeSha256 } from '../../../infra/artefacts.ts';
import { deployPackage } from '../../../infra/deploy/deploy.ts';
import { parseDeployOptions } from '../../../infra/deploy/options.ts';
import type { StagePackage } from '../../../infra/deploy/stage-package.ts';
import { type AwsStandIn, type Operations, type Parameters, startAws } from '../operate/aws-stand-in.ts';
import { CALLER, createContext, DATA, describeStack, KeptData, listResources, STACK_ID } from './aws.ts';

const TYPES: Readonly<Record<string, string>> = {
  ...{ Bucket: 'AWS::S3::Bucket', DataKey: 'AWS::KMS::Key', VaultKey: 'AWS::KMS::Key' },
};
const retained = Object.keys(DATA).map((id) => [
  id,
  { Type: TYPES[id] ?? 'AWS::DynamoDB::Table', DeletionPolicy: 'Retain' },
]);

/** A package without zips, so that only its template is uploaded. */
const PACKAGED: StagePackage = {
  ...{ folder: '', stage: 'dev', region: 'eu-west-1', stackName: 'lambent-dev', settings: {}, artefacts: [] },
  template: { Resources: { ...Object.fromEntries(retained), Topic: { Type: 'AWS::SNS::Topic' } } },
  bucketTemplate: { Resources: { ServerlessDeploymentBucket: { Type: 'AWS::S3::Bucket' } } },
};

/** A stack that executes change sets: its resources are then those of the change set's template. */
class Stack {
  status: string | undefined;
  resources: Readonly<Record<string, string>>;
  /** The parameters of each request for a change set. */
  readonly changeSets: Parameters[] = [];
  /** The status with which the next execution ends. */
  executed: string | undefined;

  constructor(status?: string, resources: Readonly<Record<string, string>> = {}) {
    this.status = status;
    this.resources = resources;
  }

  get operations(): Operations {
    return {
      DescribeStacks: () => describeStack(this.status),
      ListStackResources: () => (this.status === undefined ? describeStack(undefined) : listResources(this.resources)),
      DescribeStackEvents: () => ({ body: '<StackEvents></StackEvents>' }),
      CreateChangeSet: (parameters) => {
        this.changeSets.push(parameters);
        return { body: `<Id>change-${this.changeSets.length}</Id><StackId>${STACK_ID}</StackId>` };
      },
      DescribeChangeSet: () => ({ body: '<Status>CREATE_COMPLETE</Status>' }),
      DeleteChangeSet: () => ({}),
      DeleteStack: () => {
        this.status = undefined;
        return {};
      },
      ExecuteChangeSet: () => {
        const { ChangeSetType, TemplateBody } = this.changeSets.at(-1) ?? {};
        this.status = this.executed ?? `${ChangeSetType}_COMPLETE`;
        const { Resources } = TemplateBody === undefined ? PACKAGED.template : JSON.parse(String(TemplateBody));
        const ids = Object.keys(Resources).map((id) => [id, DATA[id] ?? id.toLowerCase()]);
        this.resources = Object.fromEntries(ids);
        return {};
      },
    };
  }
}

/** Adds a deployment bucket that has no objects, and accepts all. */
function withObjects(operations: Operations): Operations {
  const isObject = /^(HEAD|PUT) \/serverlessdeploymentbucket\//;
  return new Proxy(operations, {
    get: (known, name: string) =>
      known[name] ?? (isObject.test(name) ? () => (name.startsWith('HEAD') ? { status: 404 } : {}) : undefined),
  });
}

describe('npm run deploy', () => {
  let folder: string;
  let aws: AwsStandIn | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-deploy-'));
    return async () => {
      await aws?.close();
      await rm(folder, { recursive: true });
    };
  });

  /** Runs the command. Returns what it prints. */
  async function deploy(operations: Operations, ...args: string[]): Promise<string> {
    return deployPackaged(PACKAGED, operations, ...args);
  }

  /** What the last command has printed. */
  let lines: readonly string[] = [];
  async function deployPackaged(packaged: StagePackage, operations: Operations, ...args: string[]): Promise<string> {
    aws = await startAws(withObjects({ ...CALLER, ...operations }));
    const context = createContext(aws.clientConfig, join(folder, 'stages.json'));
    ({ lines } = context);
    await deployPackage(packaged, parseDeployOptions(['--packaged', ...args]), context);
    return lines.join('\n');
  }

  const BUCKET = { ServerlessDeploymentBucket: 'serverlessdeploymentbucket' };
  const LISTED: Operations = {
    'GET /serverlessdeploymentbucket/': () => ({ xml: '<ListBucketResult></ListBucketResult>' }),
  };

  it('kept data is imported alone, then the deployment bucket is added to it, then the rest', async () => {
    const stack = new Stack();
    await deploy({ ...new KeptData().operations, ...stack.operations, ...LISTED }, '--adopt');
    expect(stack.changeSets.map(({ ChangeSetType }) => ChangeSetType)).toEqual(['IMPORT', 'UPDATE', 'UPDATE']);
    const bodies = stack.changeSets.slice(0, 2).map(({ TemplateBody }) => JSON.parse(String(TemplateBody)).Resources);
    expect(Object.keys(bodies[0]).sort()).toEqual(Object.keys(DATA).sort());
    expect(Object.keys(bodies[1]).sort()).toEqual([...Object.keys(DATA), 'ServerlessDeploymentBucket'].sort());
    expect(stack.changeSets[2]?.['TemplateURL']).toMatch(
      /^https:\/\/s3\.eu-west-1\.amazonaws\.com\/serverlessdeploymentbucket\/templates\/[0-9a-f]{64}\.json$/,
    );
  });

  it('an adoption that ended before the stack had a deployment bucket is continued', async () => {
    const stack = new Stack('IMPORT_COMPLETE', DATA);
    await deploy({ ...stack.operations, ...LISTED });
    const [first, ...others] = stack.changeSets;
    const { Resources } = JSON.parse(String(first?.['TemplateBody']));
    expect(Object.keys(Resources).sort()).toEqual([...Object.keys(DATA), 'ServerlessDeploymentBucket'].sort());
    expect(others).toHaveLength(1);
  });

  it('--diff changes nothing in a stack that an adoption left without a deployment bucket', async () => {
    const stack = new Stack('IMPORT_COMPLETE', DATA);
    expect(await deploy(stack.operations, '--diff')).toContain('The stack has only the data that was adopted.');
    expect(stack.changeSets).toEqual([]);
  });

  it('a stack of this name that is not Lambent’s keeps its resources', async () => {
    const stack = new Stack('UPDATE_COMPLETE', { Bucket: 'someones-bucket', Website: 'someones-website' });
    await expect(deploy(stack.operations)).rejects.toThrow("has no deployment bucket; is it Lambent's?");
    expect(stack.changeSets).toEqual([]);
  });

  it('kept data without its vault key is not adopted, because no stored content could be read', async () => {
    const data = new KeptData();
    data.remaining.delete('VaultKey');
    const stack = new Stack();
    await expect(deploy({ ...data.operations, ...stack.operations }, '--adopt')).rejects.toThrow(
      'No enabled key has the description "Wraps the tenants\' keys of lambent-dev"',
    );
    expect(stack.changeSets).toEqual([]);
    expect(data.changes).toEqual([]);
  });

  it.each([
    ['UPDATE_ROLLBACK_COMPLETE', 'CloudFormation went back to the previous version of lambent-dev.'],
    ['UPDATE_ROLLBACK_FAILED', 'docs/deploy.md#if-a-deployment-fails'],
  ])('a change that ends in the state %s fails the command with: %s', async (status, consequence) => {
    const stack = new Stack('UPDATE_COMPLETE', BUCKET);
    stack.executed = status;
    await expect(deploy(stack.operations)).rejects.toThrow(
      new RegExp(`could not make the change \\(${status}\\)\\.\\n  .*\\n${consequence}`),
    );
  });

  it('a change set that another operator’s deployment made obsolete fails the command with AWS’s reason alone', async () => {
    const stack = new Stack('UPDATE_COMPLETE', BUCKET);
    const message = 'ChangeSet cannot be executed in its current execution status of [OBSOLETE]';
    const result = deploy({
      ...stack.operations,
      ExecuteChangeSet: () => ({ error: 'InvalidChangeSetStatus', message }),
    });
    await expect(result).rejects.toThrow(new RegExp(`^${message.replaceAll(/[[\]]/g, '\\$&')}$`));
  });

  const formatChange = (id: string, type: string, action: string, replacement: string) =>
    `<member><ResourceChange><Action>${action}</Action><LogicalResourceId>${id}</LogicalResourceId><ResourceType>${type}</ResourceType><Replacement>${replacement}</Replacement></ResourceChange></member>`;

  it.each([
    ['AWS::DynamoDB::Table', 'Modify', 'True'],
    ['AWS::KMS::Key', 'Modify', 'Conditional'],
    ['AWS::S3::Bucket', 'Remove', ''],
  ])('a change of %s that loses data (%s %s) is made only with --replace-data', async (type, action, replacement) => {
    const change = formatChange('Store', type, action, replacement);
    const operations = (stack: Stack): Operations => ({
      ...stack.operations,
      ...LISTED,
      DescribeChangeSet: () => ({ body: `<Status>CREATE_COMPLETE</Status><Changes>${change}</Changes>` }),
    });
    const result = deploy(operations(new Stack('UPDATE_COMPLETE', BUCKET)));
    await expect(result).rejects.toThrow('Nothing was deployed: Store would be replaced by an empty one');
    expect(aws?.requested.at(-1)).toBe('DeleteChangeSet');
    expect(aws?.requested).not.toContain('ExecuteChangeSet');
    await aws?.close();
    await deploy(operations(new Stack('UPDATE_COMPLETE', BUCKET)), '--replace-data');
    expect(aws?.requested).toContain('ExecuteChangeSet');
  });

  it('an error of the preflight prevents a deployment unless --force is given', async () => {
    const taken: Operations = { GetQueueUrl: () => ({ body: { QueueUrl: 'https://sqs/lambent-dev-jobs' } }) };
    const Queue = { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'lambent-dev-jobs' } };
    const packaged = { ...PACKAGED, template: { Resources: { ...PACKAGED.template.Resources, Queue } } };
    const run = (...args: string[]) => {
      const stack = new Stack('UPDATE_COMPLETE', BUCKET);
      return deployPackaged(packaged, { ...stack.operations, ...LISTED, ...taken }, ...args);
    };
    await expect(run()).rejects.toThrow('Nothing was deployed: the preflight found an error.');
    expect(aws?.requested).not.toContain('CreateChangeSet');
    await aws?.close();
    await run('--force');
    expect(aws?.requested).toContain('ExecuteChangeSet');
  });

  it.each([
    ['UPDATE_IN_PROGRESS', 'is being changed (UPDATE_IN_PROGRESS)'],
    ['UPDATE_ROLLBACK_FAILED', "can't be updated (UPDATE_ROLLBACK_FAILED)"],
    ['DELETE_FAILED', "can't be updated (DELETE_FAILED)"],
    ['ROLLBACK_COMPLETE', "can't be updated (ROLLBACK_COMPLETE)"],
  ])('a stack in the state %s is not touched', async (status, message) => {
    const stack = new Stack(status, BUCKET);
    await expect(deploy(stack.operations)).rejects.toThrow(message);
    expect(stack.changeSets).toEqual([]);
  });

  it('a stack that has only an old change set is created', async () => {
    const stack = new Stack('REVIEW_IN_PROGRESS');
    const data = new KeptData();
    data.remaining.clear();
    await deploy({ ...data.operations, ...stack.operations, ...LISTED });
    expect(stack.changeSets.map(({ ChangeSetType }) => ChangeSetType)).toEqual(['CREATE', 'UPDATE']);
  });

  const HOUR = 3_600_000;
  const ago = (hours: number) => new Date(Date.now() - hours * HOUR);
  /** A package with a zip, which is JSON here. */
  async function makePackage(): Promise<StagePackage> {
    await writeFile(join(folder, 'chat.zip'), '{}');
    const sha256 = computeSha256(Buffer.from('{}'));
    return { ...PACKAGED, folder, artefacts: [{ file: 'chat.zip', key: `code/${sha256}/chat.zip`, sha256 }] };
  }

  it('a deployment deletes the files of earlier ones, but neither its own nor those of the past day', async () => {
    const packaged = await makePackage();
    const templateKey = `templates/${computeSha256(Buffer.from(JSON.stringify(packaged.template)))}.json`;
    const objects = {
      ...{ [packaged.artefacts[0]?.key ?? '']: ago(48), [templateKey]: ago(48) },
      ...{ 'code/old/chat.zip': ago(25), 'templates/old.json': ago(48), 'code/of-another-operator/chat.zip': ago(23) },
    };
    const contents = Object.entries(objects).map(
      ([key, at]) => `<Contents><Key>${key}</Key><LastModified>${at.toISOString()}</LastModified></Contents>`,
    );
    const deleted: string[] = [];
    await deployPackaged(packaged, {
      ...new Stack('UPDATE_COMPLETE', BUCKET).operations,
      'GET /serverlessdeploymentbucket/': () => ({ xml: `<ListBucketResult>${contents.join('')}</ListBucketResult>` }),
      'POST /serverlessdeploymentbucket/': ({ xml }) => {
        deleted.push(...[...String(xml).matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key = '']) => key));
        return { xml: '<DeleteResult></DeleteResult>' };
      },
    });
    expect(deleted).toEqual(['code/old/chat.zip', 'templates/old.json']);
  });

  it.each([
    ['an hour ago', 1, 0],
    ['13 hours ago, which another deployment may delete soon', 13, 1],
  ])('a file that was uploaded %s is uploaded again %i times', async (_, hours, times) => {
    const packaged = await makePackage();
    const [zip] = packaged.artefacts;
    const path = `/serverlessdeploymentbucket/${zip?.key}`;
    const headers = {
      'x-amz-checksum-sha256': Buffer.from(zip?.sha256 ?? '', 'hex').toString('base64'),
      'last-modified': ago(hours).toUTCString(),
    };
    const stack = new Stack('UPDATE_COMPLETE', BUCKET);
    await deployPackaged(packaged, { ...stack.operations, ...LISTED, [`HEAD ${path}`]: () => ({ headers }) });
    expect(aws?.requested.filter((operation) => operation === `PUT ${path}`)).toHaveLength(times);
  });

  it('a stage is not deployed to another region than the recorded one', async () => {
    const record = { account: '123456789012', region: 'us-east-1' };
    await writeFile(join(folder, 'stages.json'), JSON.stringify({ dev: record }));
    const result = deploy(new Stack('UPDATE_COMPLETE', BUCKET).operations);
    await expect(result).rejects.toThrow('The stage dev is deployed in us-east-1, not eu-west-1.');
    expect(aws?.requested).toEqual([]);
  });

  it.each([{ vpcEndpoints: ['vpce-1'] }, { domainTruststore: 's3://bucket/ca.pem' }])(
    'a service that this shell may not reach is not called (%o)',
    async (settings) => {
      const stack = new Stack('UPDATE_COMPLETE', BUCKET);
      const printed = await deployPackaged({ ...PACKAGED, settings }, { ...stack.operations, ...LISTED });
      expect(printed).toContain('The service was not called');
      expect(printed).not.toContain('The service responds');
    },
  );

  /** The events of a stack whose first deployment failed after its bucket was created, the latest first. */
  const FAILED_FIRST = ['UPDATE_ROLLBACK_COMPLETE', 'UPDATE_IN_PROGRESS', 'CREATE_COMPLETE', 'CREATE_IN_PROGRESS'].map(
    (status) =>
      `<member><StackId>${STACK_ID}</StackId><PhysicalResourceId>${STACK_ID}</PhysicalResourceId><ResourceStatus>${status}</ResourceStatus></member>`,
  );
  const failedFirst = (stack: Stack): Operations => {
    const data = new KeptData();
    data.remaining.clear();
    const DescribeStackEvents = () => ({ body: `<StackEvents>${FAILED_FIRST.join('')}</StackEvents>` });
    return { ...data.operations, ...stack.operations, ...LISTED, DescribeStackEvents };
  };

  it('what a failed first deployment left is deleted before the next one', async () => {
    const stack = new Stack('UPDATE_ROLLBACK_COMPLETE', BUCKET);
    await deploy(failedFirst(stack));
    expect(aws?.requested).toContain('DeleteStack');
    expect(stack.changeSets.map(({ ChangeSetType }) => ChangeSetType)).toEqual(['CREATE', 'UPDATE']);
  });

  it('--diff deletes nothing that a failed first deployment left', async () => {
    const stack = new Stack('UPDATE_ROLLBACK_COMPLETE', BUCKET);
    const printed = await deploy(failedFirst(stack), '--diff');
    expect(printed).toContain('The first deployment of lambent-dev failed (UPDATE_ROLLBACK_COMPLETE).');
    expect(aws?.requested).not.toContain('DeleteStack');
    expect(stack.changeSets).toEqual([]);
  });

  it('a first deployment that fails prints the cause, and deletes what it left', async () => {
    const stack = new Stack();
    const operations = failedFirst(stack);
    const ExecuteChangeSet = (parameters: Parameters) => {
      const answer = operations['ExecuteChangeSet']?.(parameters) ?? {};
      if (stack.changeSets.length === 2) stack.status = 'UPDATE_ROLLBACK_COMPLETE';
      return answer;
    };
    const result = deploy({ ...operations, ExecuteChangeSet });
    await expect(result).rejects.toThrow(/^Nothing was deployed\. Remove the cause/);
    expect(lines.join('\n')).toContain('could not make the change (UPDATE_ROLLBACK_COMPLETE)');
    expect(aws?.requested).toContain('DeleteStack');
    expect(stack.status).toBeUndefined();
  });
});
