import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DATA_IDS } from '../../../infra/deploy/data.ts';
import { runRemoveCommand } from '../../../infra/deploy/remove.ts';
import { type AwsStandIn, type Operations, startAws } from '../operate/aws-stand-in.ts';
import { ACCOUNT, CALLER, createContext, DATA, describeStack, KeptData, listResources } from './aws.ts';

const DELETE_DATA = ['--delete-data', '--yes-delete-data-of', 'dev'];

describe('npm run remove', () => {
  let folder: string;
  let stagesFile: string;
  let data: KeptData;
  let aws: AwsStandIn | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-remove-'));
    stagesFile = join(folder, 'stages.json');
    await writeFile(stagesFile, JSON.stringify({ dev: { account: ACCOUNT, region: 'eu-west-1' } }));
    data = new KeptData();
    return () => rm(folder, { recursive: true });
  });
  afterEach(() => aws?.close());

  const removed: Operations = { DescribeStacks: () => describeStack(undefined) };

  /** Runs the command. Returns what it prints. */
  async function remove(operations: Operations, ...args: string[]): Promise<string> {
    await aws?.close();
    aws = await startAws({ ...CALLER, ...data.operations, ...operations });
    const context = createContext(aws.clientConfig, stagesFile);
    await runRemoveCommand(['--stage', 'dev', ...args], context);
    return context.lines.join('\n');
  }

  it.each(['UPDATE_IN_PROGRESS', 'UPDATE_ROLLBACK_IN_PROGRESS', 'CREATE_IN_PROGRESS'])(
    'a stack in the state %s keeps its zips, which the running change may need',
    async (status) => {
      const result = remove({ DescribeStacks: () => describeStack(status) });
      await expect(result).rejects.toThrow(`The stack lambent-dev is being changed (${status}). Run the command again`);
      expect(aws?.requested).toEqual(['GetCallerIdentity', 'DescribeStacks']);
    },
  );

  it('a stack that is protected against deletion loses nothing, and the error has the command that permits it', async () => {
    const protection = '<EnableTerminationProtection>true</EnableTerminationProtection>';
    const result = remove({ DescribeStacks: () => describeStack('UPDATE_COMPLETE', protection) });
    await expect(result).rejects.toThrow(
      'update-termination-protection --no-enable-termination-protection --region eu-west-1',
    );
    expect(aws?.requested).toEqual(['GetCallerIdentity', 'DescribeStacks']);
  });

  it('data that an earlier removal kept is found although a stack without data exists, as after a failed adoption', async () => {
    let isDeleted = false;
    const text = await remove({
      DescribeStacks: () => describeStack(isDeleted ? 'DELETE_COMPLETE' : 'REVIEW_IN_PROGRESS'),
      ListStackResources: () => listResources({}),
      DeleteStack: () => {
        isDeleted = true;
        return {};
      },
    });
    for (const [id, physicalId] of Object.entries(DATA)) expect(text).toContain(`  ${id} ${physicalId}\n`);
  });

  it('the data of a complete stack is known without a search for it', async () => {
    let isDeleted = false;
    const text = await remove({
      DescribeStacks: () => describeStack(isDeleted ? 'DELETE_COMPLETE' : 'UPDATE_COMPLETE'),
      ListStackResources: () => listResources(DATA),
      DeleteStack: () => {
        isDeleted = true;
        return {};
      },
    });
    for (const [id, physicalId] of Object.entries(DATA)) expect(text).toContain(`  ${id} ${physicalId}\n`);
    expect(aws?.requested).not.toContain('ListKeys');
  });

  it.each(DATA_IDS.slice(0, -1).map((id, index) => [id, index] as const))(
    'a deletion of data that failed at %s can be continued',
    async (id, index) => {
      data.failAfter = index;
      await expect(remove(removed, ...DELETE_DATA)).rejects.toThrow(`no permission to delete ${id}`);
      expect(JSON.parse(await readFile(stagesFile, 'utf8'))).toHaveProperty('dev');
      data.failAfter = Number.POSITIVE_INFINITY;
      await remove(removed, ...DELETE_DATA);
      expect([...data.remaining]).toEqual([]);
      expect(JSON.parse(await readFile(stagesFile, 'utf8'))).toEqual({});
    },
  );

  it('a table whose deletion is under way is waited for and not changed', async () => {
    let reads = 0;
    const DescribeTable: Operations[string] = ({ TableName, ...parameters }) => {
      if (TableName !== 'lambent-dev-jobs')
        return data.operations['DescribeTable']?.({ TableName, ...parameters }) ?? {};
      reads += 1;
      const key = 'arn:aws:kms:eu-west-1:123456789012:key/data-key';
      const Table = { TableStatus: 'DELETING', SSEDescription: { KMSMasterKeyArn: key } };
      return reads < 4 ? { body: { Table } } : { error: 'ResourceNotFoundException' };
    };
    await remove({ ...removed, DescribeTable }, ...DELETE_DATA);
    expect([...data.remaining]).toEqual(['JobsTable']);
  });

  it('buckets of other regions are not listed, because this region’s endpoint does not serve them', async () => {
    let query: object = {};
    await remove({
      ...removed,
      'GET /': (parameters) => {
        query = parameters;
        return data.operations['GET /']?.(parameters) ?? {};
      },
    });
    expect(query).toMatchObject({ prefix: 'lambent-dev-auditbucket-', 'bucket-region': 'eu-west-1' });
  });

  it('with several possible vault keys, --vault-key names the one', async () => {
    const KeyMetadata = { Description: "Wraps the tenants' keys of lambent-dev", KeyState: 'Enabled' };
    const operations: Operations = {
      ...removed,
      DescribeKey: ({ KeyId }) => ({ body: { KeyMetadata: { ...KeyMetadata, KeyId } } }),
    };
    await expect(remove(operations)).rejects.toThrow(
      'Each of the keys foreign-key, data-key, vault-key, audit-key may have wrapped the tenants',
    );
    expect(await remove(operations, '--vault-key', 'vault-key')).toContain('VaultKey vault-key\n');
  });

  it('a stage whose vault key was deleted by hand can be removed with its data', async () => {
    data.remaining.delete('VaultKey');
    await remove(removed, ...DELETE_DATA);
    expect([...data.remaining]).toEqual([]);
  });
});
