import { execFile } from 'node:child_process';
import {
  CreateTableCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  GetItemCommand,
  PutItemCommand,
} from '@aws-sdk/client-dynamodb';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { STSClient } from '@aws-sdk/client-sts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runTenantCommand } from '../../../infra/operate/tenant.ts';
import { createKeyItem, getKeyPartition } from '../../../shared/access/keys.ts';
import { createPolicyAdministration, type EnforcedProject } from '../../../shared/access/policy-administration.ts';
import { createSenderTable } from '../../../shared/access/sender-table.ts';
import { createSenderItem } from '../../../shared/access/senders.ts';
import { readEntries } from '../../../shared/audit/entry.ts';
import { parseLogEvent } from '../../../shared/lambda/log-event.ts';
import { createDynamoDBCounters } from '../../../shared/limits/dynamodb-counters.ts';
import { StoredAmounts } from '../../../shared/limits/stored-amounts.ts';
import { catchCode, type Services, startEnvironment, startServices } from '../../shared/vault/environments.ts';
import { NAME } from '../../shared/vault/records.ts';
import { createTableInput } from '../../tables.ts';
import { type AwsStandIn, startAws } from './aws-stand-in.ts';

const text = (words: string) => Buffer.from(words, 'utf8');
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const neighbour = { ...NAME, tenant: 'acme2' };

let services: Services;
/** Lambda and STS. */
let aws: AwsStandIn;
/** The acts that the function `record` got. */
let acts: unknown[];
let recordAnswer: Awaited<ReturnType<Parameters<typeof startAws>[0][string]>>;
let table: Awaited<ReturnType<Services['newTable']>>;
let environment: Readonly<Record<string, string>>;
let created = 0;
/** Regions for which the command created a client, undefined for the shell's. */
let regions: unknown[];

beforeAll(async () => {
  services = await startServices();
  const record = (event: unknown) => {
    const batch = parseLogEvent(event);
    acts.push(...(batch === undefined ? [] : readEntries(batch).entries));
    return recordAnswer;
  };
  aws = await startAws({
    GetCallerIdentity: () => ({ body: '<Arn>arn:aws:iam::123456789012:user/ada</Arn>' }),
    'POST /2015-03-31/functions/lambent-local-record/invocations': record,
    'POST /2015-03-31/functions/lambent-dev-record/invocations': record,
  });
});
afterAll(() => Promise.all([services[Symbol.asyncDispose](), aws.close()]));
beforeEach(async () => {
  regions = [];
  acts = [];
  recordAnswer = { body: {} };
  services.faults.dynamodb = () => undefined;
  table = await services.newTable();
  const access = `access-${created++}`;
  const limits = `limits-${created}`;
  for (const name of [access, limits]) await createTable(name);
  environment = {
    KEYS_TABLE: table.name,
    ACCESS_TABLE: access,
    LIMITS_TABLE: limits,
    RECORD_FUNCTION: 'lambent-local-record',
  };
});

const createTable = (TableName: string) =>
  services.dynamodb.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );

async function run(...args: string[]): Promise<string> {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const createClient = (config: DynamoDBClientConfig) => {
    regions.push(config.region);
    return new DynamoDBClient({ region: 'eu-west-1', ...config, endpoint: services.url, credentials, maxAttempts: 1 });
  };
  await runTenantCommand(args, {
    createClient,
    createLambda: (config) => new LambdaClient({ region: 'eu-west-1', ...config, ...aws.clientConfig, maxAttempts: 1 }),
    createSts: (config) => new STSClient({ region: 'eu-west-1', ...config, ...aws.clientConfig }),
    ...{ environment, print, now: () => services.clock.now },
  });
  return lines.join('\n');
}

const start = (of = table) => startEnvironment(services, of);

describe('erase', () => {
  const senders = { mixed: 'AROA1', own: 'AROA2', other: 'AROA3' };

  const administer = () => createPolicyAdministration(services.dynamodb, environment['ACCESS_TABLE'] ?? '');
  const archive = (project: EnforcedProject): EnforcedProject => ({ ...project, status: 'archived' });

  /** Creates two tenants with keys, API keys, senders and projects. Returns a sealed record of each. */
  async function createTenants() {
    const items = [
      createKeyItem('sk-acme', { tenant: NAME.tenant, keyId: 'acme-web', scopes: ['inference'] }),
      createKeyItem('sk-acme2', { tenant: neighbour.tenant, keyId: 'acme2-web', scopes: ['inference'] }),
      createSenderItem(senders.mixed, {
        keyId: 'mixed',
        tenants: [NAME.tenant, neighbour.tenant],
        scopes: ['inference'],
        replyQueues: [],
      }),
      createSenderItem(senders.own, { keyId: 'own', tenants: [NAME.tenant], scopes: ['inference'], replyQueues: [] }),
      createSenderItem(senders.other, {
        keyId: 'other',
        tenants: [neighbour.tenant],
        scopes: ['inference'],
        replyQueues: [],
      }),
    ];
    for (const Item of items) {
      await services.dynamodb.send(new PutItemCommand({ TableName: environment['ACCESS_TABLE'], Item }));
    }
    for (const { tenant } of [NAME, neighbour]) await administer().changeProject(tenant, archive);
    const vault = start();
    return [await vault.seal(NAME, text('x')), await vault.seal(neighbour, text('y'))] as const;
  }
  const findTenant = async (key: string) => {
    const { Item } = await services.dynamodb.send(
      new GetItemCommand({ TableName: environment['ACCESS_TABLE'], Key: { pk: { S: getKeyPartition(key) } } }),
    );
    return Item?.['tenant']?.S;
  };
  const findTenants = async (sender: string) =>
    (await createSenderTable(services.dynamodb, environment['ACCESS_TABLE'] ?? '').find(sender, 0))?.tenants;

  it('erase without --yes only lists the changes', async () => {
    const [sealed] = await createTenants();
    const output = await run('erase', NAME.tenant);
    for (const name of [
      'project acme: delete',
      'acme-web',
      'mixed: keep for acme2',
      'own: delete',
      'delete 1 version',
      '--yes',
    ]) {
      expect(output).toContain(name);
    }
    expect(output).not.toContain('acme2-web');
    expect(await start().open(NAME, sealed)).toEqual(text('x'));
    expect(await findTenant('sk-acme')).toBe(NAME.tenant);
    expect(await findTenants(senders.own)).toEqual([NAME.tenant]);
  });

  it('erase deletes the keys, API keys and senders of the tenant, and none of other tenants', async () => {
    const [sealed, other] = await createTenants();
    const amounts = new StoredAmounts(
      createDynamoDBCounters(services.dynamodb, environment['LIMITS_TABLE'] ?? ''),
      () => 0,
    );
    const counted = (tenant: string) => amounts.reserve(tenant, { bytes: 0n, items: 1n }, 86_400, { items: 1n });
    for (const tenant of [NAME.tenant, neighbour.tenant]) await counted(tenant);
    await run('erase', NAME.tenant, '--yes');
    expect(await counted(NAME.tenant)).toHaveProperty('settle');
    expect(await counted(neighbour.tenant)).toMatchObject({ name: 'storedItems' });
    expect(await catchCode(start().open(NAME, sealed))).toBe('tenant_deleted');
    expect(await catchCode(start().seal(NAME, text('again')))).toBe('tenant_deleted');
    expect(await findTenant('sk-acme')).toBeUndefined();
    expect(await findTenants(senders.own)).toBeUndefined();
    expect(await findTenants(senders.mixed)).toEqual([neighbour.tenant]);
    expect((await administer().readProject(NAME.tenant)).status).toBe('active');
    expect((await administer().readProject(neighbour.tenant)).status).toBe('archived');

    expect(await start().open(neighbour, other)).toEqual(text('y'));
    expect(await findTenant('sk-acme2')).toBe(neighbour.tenant);
    expect(await findTenants(senders.other)).toEqual([neighbour.tenant]);
  });

  it('a repeated erase deletes grants that were added since, and keeps the time of the first erasure', async () => {
    await createTenants();
    await run('erase', NAME.tenant, '--yes');
    const deletedAt = services.clock.now;
    services.clock.now += 86_400_000;
    const late = createKeyItem('sk-late', { tenant: NAME.tenant, keyId: 'late', scopes: ['inference'] });
    await services.dynamodb.send(new PutItemCommand({ TableName: environment['ACCESS_TABLE'], Item: late }));
    expect(await run('erase', NAME.tenant, '--yes')).toContain(new Date(deletedAt).toISOString());
    expect(await findTenant('sk-late')).toBeUndefined();
    expect(await table.read(NAME.tenant)).toEqual({ state: 'deleted', deletedAt });
  });

  it('erase deletes the API keys before the tenant keys, so that no work is accepted that would be lost', async () => {
    const [sealed] = await createTenants();
    services.faults.dynamodb = (operation) =>
      operation === 'PutItem' ? { status: 400, type: 'AccessDeniedException' } : undefined;
    await expect(run('erase', NAME.tenant, '--yes')).rejects.toThrow(`${table.name}: `);
    expect(await findTenant('sk-acme')).toBeUndefined();
    expect(await start().open(NAME, sealed)).toEqual(text('x'));
  });

  it('an erasure is an act of the tenant in the audit log', async () => {
    await createTenants();
    await run('erase', NAME.tenant);
    expect(acts).toEqual([]);
    await run('erase', NAME.tenant, '--yes');
    const act = { record: 'act', act: 'project.erased', objectId: NAME.tenant, project: NAME.tenant };
    expect(acts).toMatchObject([{ ...act, time: new Date(services.clock.now).toISOString(), details: '{}' }]);
    await run('erase', NAME.tenant, '--yes');
    expect(acts).toHaveLength(2);
    expect(new Set(acts.map((each) => Reflect.get(Object(each), 'id'))).size).toBe(2);
  });

  it('the act of an erasure in a stage names the operator', async () => {
    await services.dynamodb.send(new CreateTableCommand(createTableInput('lambent-dev-keys')));
    for (const name of ['access', 'limits']) await createTable(`lambent-dev-${name}`);
    await run('erase', NAME.tenant, '--stage', 'dev', '--yes');
    const details = JSON.stringify({ operator: 'arn:aws:iam::123456789012:user/ada' });
    expect(acts).toMatchObject([{ act: 'project.erased', details }]);
  });

  it.each([
    [{ error: 'AccessDeniedException', message: 'no permission' }, 'lambent-local-record: no permission'],
    [{ headers: { 'x-amz-function-error': 'Unhandled' } }, 'lambent-local-record: Unhandled'],
  ])('an erasure that is not recorded fails, and says that the tenant is erased: %j', async (answer, reason) => {
    await createTenants();
    recordAnswer = answer;
    const message = `The tenant is erased, but that is not recorded in the audit log. Run erase again. ${reason}`;
    await expect(run('erase', NAME.tenant, '--yes')).rejects.toThrow(message);
    expect(await table.read(NAME.tenant)).toMatchObject({ state: 'deleted' });
  });

  it('erase reports that a tenant without keys has nothing stored', async () => {
    expect(await run('erase', 'unknown')).toContain('nothing is stored');
  });

  it('erase uses the tables of the stage', async () => {
    await expect(run('erase', NAME.tenant, '--stage', 'prod')).rejects.toThrow(/^lambent-prod-keys: no such table/);
  });

  it("erase uses the stage's region in serverless.yml unless --region names another", async () => {
    const eraseInProd = (...more: string[]) => run('erase', NAME.tenant, '--stage', 'prod', ...more).catch(() => {});
    await eraseInProd();
    await eraseInProd('--region', 'us-east-1');
    expect(regions).toEqual(['eu-west-1', 'us-east-1']);
  });

  it('erase uses the region of the shell for tables that variables name, unless --region names another', async () => {
    await run('erase', NAME.tenant);
    await run('erase', NAME.tenant, '--region', 'us-east-1');
    expect(regions).toEqual([undefined, 'us-east-1']);
  });
});

describe('replay-tombstones', () => {
  /** Erases a tenant. Returns a keys table as it was before, and a sealed record of this tenant and of another. */
  async function restoreEarlierKeys() {
    const sealed = await start().seal(NAME, text('x'));
    const other = await start().seal(neighbour, text('y'));
    const restored = await services.newTable();
    for (const tenant of [NAME.tenant, neighbour.tenant]) {
      const history = await table.read(tenant);
      const key = history?.state === 'active' ? history.versions.get(1) : undefined;
      if (key !== undefined) await restored.addVersion(tenant, 1, key);
    }
    await run('erase', NAME.tenant, '--yes');
    return { sealed, other, restored };
  }

  it('replay-tombstones copies the tombstones of tenants erased since the restore point, and no others', async () => {
    const { sealed, other, restored } = await restoreEarlierKeys();
    const replay = ['replay-tombstones', '--from', table.name, '--to', restored.name, '--stage', 'prod'];
    expect(await run(...replay)).toContain('0 already in');
    expect(await start(restored).open(NAME, sealed)).toEqual(text('x'));

    expect(await run(...replay, '--yes')).toContain('1 copied now');
    expect(await catchCode(start(restored).open(NAME, sealed))).toBe('tenant_deleted');
    expect(await start(restored).open(neighbour, other)).toEqual(text('y'));
    expect(await run(...replay, '--yes')).toContain('1 already in');
  });

  it('replay-tombstones fails for an unknown table even if there is no tombstone to copy', async () => {
    const replay = ['replay-tombstones', '--stage', 'prod'];
    await expect(run(...replay, '--from', table.name, '--to', 'no-such')).rejects.toThrow(/^no-such: /);
    await expect(run(...replay, '--from', 'no-such', '--to', table.name)).rejects.toThrow(/^no-such: /);
  });

  it("replay-tombstones uses the stage's region in serverless.yml, or that of --region", async () => {
    const replay = ['replay-tombstones', '--from', table.name, '--to', (await services.newTable()).name];
    await run(...replay, '--stage', 'prod');
    await run(...replay, '--region', 'us-east-1');
    expect(regions).toEqual(['eu-west-1', 'us-east-1']);
  });
});

describe('runTenantCommand', () => {
  it.each([
    [[], 'the command is missing'],
    [['delete', 'acme'], "unknown command 'delete'"],
    [['erase'], 'the tenant is missing'],
    [['erase', ''], 'the tenant is missing'],
    [['erase', 'a b'], "'a b'"],
    [['erase', 'acme', 'other'], 'takes one tenant, not 2'],
    [['erase', 'acme', '--from', 'x'], 'neither --from'],
    [['erase', 'acme', '--force'], '--force'],
    [['erase', 'acme', '--stage', 'no/stage'], '--stage'],
    [['erase', 'acme', '--stage', 'prod', '--region', 'here'], '--region'],
    [['replay-tombstones', '--from', 'keys', '--to', 'restored'], 'set --stage or --region'],
    [['replay-tombstones', '--to', 'restored'], '--from is missing'],
    [['replay-tombstones', '--from', 'keys'], '--to is missing'],
    [['replay-tombstones', '--from', 'keys', '--to', 'keys'], 'same table'],
    [['replay-tombstones', 'acme', '--from', 'keys', '--to', 'restored'], "not 'acme'"],
  ])('runTenantCommand rejects the arguments %s', async (args, reason) => {
    await expect(run(...args)).rejects.toMatchObject({ name: 'UsageError', message: expect.stringContaining(reason) });
  });

  it.each(['KEYS_TABLE', 'ACCESS_TABLE', 'LIMITS_TABLE', 'RECORD_FUNCTION'])(
    'runTenantCommand rejects an empty %s if there is no --stage',
    async (name) => {
      environment = { ...environment, [name]: '' };
      await expect(run('erase', 'acme')).rejects.toThrow(name);
    },
  );

  it('the tenant command prints an error and its usage, without a stack trace', async () => {
    const [status, output] = await new Promise<[unknown, string]>((resolve) => {
      execFile(process.execPath, ['infra/operate/tenant.ts', 'erase'], (error, _stdout, stderr) => {
        resolve([error?.code, stderr]);
      });
    });
    expect(status).toBe(1);
    expect(output).toMatch(/^the tenant is missing\n\nusage:\n/);
    expect(output).not.toContain('    at ');
  });
});
