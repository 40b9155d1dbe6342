import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runKeysCommand } from '../../../infra/operate/keys.ts';
import { publishEnvironment } from '../../../local/environment-file.ts';
import { listen } from '../../../local/listen.ts';
import { startTables, type Tables } from '../../../local/tables.ts';
import { createKeyAdministration } from '../../../shared/access/key-administration.ts';
import { createKeyTable } from '../../../shared/access/key-table.ts';
import { createKeyItem, getKeyPartition } from '../../../shared/access/keys.ts';
import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { TENANT_SCOPES } from '../../../shared/access/scopes.ts';
import type { Item } from '../../../shared/aws/attributes.ts';
import { createTenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createTableInput } from '../../tables.ts';

const NOW = Date.parse('2026-11-30T00:00:00Z');
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };

let tables: Tables;
let dynamodb: DynamoDBClient;
/** Regions for which the command created a client. */
let regions: unknown[] = [];
let stage = '';
let created = 0;

beforeAll(async () => {
  tables = await startTables({});
  dynamodb = new DynamoDBClient({ endpoint: tables.url, region: 'eu-west-1', credentials });
});
afterAll(async () => {
  dynamodb.destroy();
  await tables.close();
});
beforeEach(async () => {
  regions = [];
  stage = `s${created++}`;
  await createStage(`lambent-${stage}`);
});

async function createStage(prefix: string): Promise<void> {
  await dynamodb.send(
    new CreateTableCommand({
      TableName: `${prefix}-access`,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );
  await dynamodb.send(new CreateTableCommand(createTableInput(`${prefix}-keys`)));
}

/** Runs a command. Returns the lines of its result and its notes. */
async function run(args: readonly string[], { environment }: { readonly environment?: string } = {}) {
  const printed: string[] = [];
  const noted: string[] = [];
  await runKeysCommand(args, {
    localEnvironment: async () => environment,
    createClient: (config) => {
      regions.push(config.region);
      return new DynamoDBClient({ endpoint: tables.url, credentials, maxAttempts: 1, ...config });
    },
    print: (line) => void printed.push(line),
    note: (line) => void noted.push(line),
    now: () => NOW,
  });
  return { printed, notes: noted.join('\n') };
}

const runOnStage = (...args: string[]) => run([...args, '--tenant', 'acme', '--stage', stage]);
const find = (key = '', now = NOW, name = `lambent-${stage}-access`) => createKeyTable(dynamodb, name).find(key, now);

describe('keys create', () => {
  it('keys create prints only the key, which the authorizer resolves to the tenant and its scopes', async () => {
    const { printed, notes } = await runOnStage('create', '--name', 'acme-web-1', '--scopes', 'models');
    expect(printed).toEqual([expect.stringMatching(/^sk-[0-9a-f]{64}$/)]);
    expect(await find(printed[0])).toEqual({
      ...{ tenant: 'acme', keyId: 'acme-web-1', scopes: ['models.read'] },
      policy: UNRESTRICTED,
    });
    expect(notes).toContain('acme-web-1');
    expect(notes).not.toContain(printed[0]);
  });

  it('keys create stores the hash of the key and no part of the key itself', async () => {
    const { printed } = await runOnStage('create');
    const { Items = [] } = await dynamodb.send(new ScanCommand({ TableName: `lambent-${stage}-access` }));
    expect(Items.map(({ pk }) => pk?.S)).toEqual([getKeyPartition(printed[0] ?? '')]);
    expect(JSON.stringify(Items)).not.toContain(printed[0]?.slice(3, 19));
  });

  it('keys create gives each key all scopes and an id of its own by default', async () => {
    const keys = [await runOnStage('create'), await runOnStage('create')];
    const principals = await Promise.all(keys.map(({ printed }) => find(printed[0])));
    expect(principals.map((principal) => principal?.scopes.toSorted())).toEqual([
      TENANT_SCOPES.toSorted(),
      TENANT_SCOPES.toSorted(),
    ]);
    expect(new Set(principals.map((principal) => principal?.keyId)).size).toBe(2);
  });

  it.each([
    ['sandbox', ['conversations.read', 'models.read', 'responses.read']],
    ['sandbox, embeddings', ['conversations.read', 'embeddings', 'models.read', 'responses.read']],
    ['generate,generate', ['generate']],
    ['models', ['models.read']],
  ])('keys create --scopes %j makes a key with the scopes %j', async (scopes, expected) => {
    const { printed } = await runOnStage('create', '--scopes', scopes);
    expect((await find(printed[0]))?.scopes.toSorted()).toEqual(expected);
  });

  it.each([
    ['90d', '2027-02-28T00:00:00Z'],
    ['2027-01-31', '2027-01-31T00:00:00Z'],
    ['2027-01-31T12:00:00+01:00', '2027-01-31T11:00:00Z'],
  ])('keys create --expires %s makes a key that works until %s', async (text, time) => {
    const { printed } = await runOnStage('create', '--expires', text);
    expect(await find(printed[0], Date.parse(time) - 1)).toBeDefined();
    expect(await find(printed[0], Date.parse(time))).toBeUndefined();
  });

  it('keys create refuses an id that the tenant already uses, but not that of another tenant', async () => {
    await runOnStage('create', '--name', 'web');
    await expect(runOnStage('create', '--name', 'web')).rejects.toThrow('already has a key with the id web');
    await run(['create', '--tenant', 'other', '--stage', stage, '--name', 'web']);
  });

  it('keys create refuses an erased tenant', async () => {
    await createTenantKeyTable(dynamodb, `lambent-${stage}-keys`).markErased({ tenant: 'acme', deletedAt: 1 });
    await expect(runOnStage('create')).rejects.toThrow('The tenant acme was erased');
  });

  it('no key is created without a scope, because DynamoDB has no empty sets', async () => {
    const tenantKeys = createTenantKeyTable(dynamodb, `lambent-${stage}-keys`);
    const administration = createKeyAdministration(dynamodb, `lambent-${stage}-access`, tenantKeys);
    const result = administration.create({ tenant: 'acme', keyId: 'web', scopes: [] });
    await expect(result).rejects.toMatchObject({ code: 'invalid_value', message: 'A key needs a scope.' });
  });

  it('keys create names a stage that does not exist', async () => {
    await expect(run(['create', '--tenant', 'acme', '--stage', 'none'])).rejects.toThrow(
      'the stage none in eu-west-1 has no table lambent-none-access',
    );
  });

  it('keys create uses the region of serverless.yml unless --region names another', async () => {
    await runOnStage('create');
    await runOnStage('create', '--region', 'us-east-1');
    expect(regions).toEqual(['eu-west-1', 'us-east-1']);
  });

  it('keys create says in one line that AWS refused the credentials', async () => {
    const { url, close } = await startRefusal('UnrecognizedClientException');
    const result = runKeysCommand(['create', '--tenant', 'acme', '--stage', stage], {
      localEnvironment: async () => undefined,
      createClient: (config) => new DynamoDBClient({ ...config, endpoint: url, credentials }),
      ...{ print: () => {}, note: () => {}, now: () => NOW },
    });
    await expect(result).rejects.toThrow(/^the stage s\d+ in eu-west-1: AWS does not know the access key: [^\n]*$/);
    await close();
  });
});

describe('keys list and keys revoke', () => {
  it('keys list shows the ids, scopes and expiry of the tenant’s keys only', async () => {
    await runOnStage('create', '--name', 'b', '--scopes', 'models', '--expires', '1d');
    await runOnStage('create', '--name', 'a');
    await run(['create', '--tenant', 'other', '--stage', stage]);
    await putItem({
      ...createKeyItem('x', { tenant: 'acme', keyId: 'c', scopes: ['models'] }),
      scopes: { S: 'models' },
    });
    await putItem({ pk: { S: 'reserved#1' }, tenant: { S: 'acme' }, keyId: { S: 'no-key' } });
    await putItem(createKeyItem('y', { tenant: 'acme', keyId: 'd', scopes: ['models'], expiresAt: 1 }));
    expect((await runOnStage('list')).printed).toEqual([
      expect.stringMatching(/^a {2}[a-z., ]*\bgenerate\b[a-z., ]*; never expires$/),
      'b  models.read; expires at 2026-12-01T00:00:00.000Z',
      'c  not valid: the authorizer refuses it',
      'd  models; expired at 1970-01-01T00:00:01.000Z',
    ]);
  });

  it('keys list says that a tenant has no key', async () => {
    expect((await runOnStage('list')).notes).toContain('acme has no key');
  });

  it('keys revoke deletes the tenant’s keys with this id, and no other', async () => {
    const [first, second] = [await runOnStage('create', '--name', 'one'), await runOnStage('create', '--name', 'two')];
    await putItem(createKeyItem('by-hand', { tenant: 'acme', keyId: 'one', scopes: ['models'] }));
    const other = await run(['create', '--tenant', 'other', '--stage', stage, '--name', 'one']);
    expect((await runOnStage('revoke', 'one')).notes).toContain('2 keys with the id one');
    const keys = [first.printed[0], 'by-hand', second.printed[0], other.printed[0]];
    const found = await Promise.all(keys.map((key) => find(key)));
    expect(found.map((principal) => principal?.keyId)).toEqual([undefined, undefined, 'two', 'one']);
  });

  it('keys revoke names the nearest id if there is no such key', async () => {
    await runOnStage('create', '--name', 'acme-web-1');
    await expect(runOnStage('revoke', 'acme-web1')).rejects.toThrow('did you mean acme-web-1?');
  });
});

describe('keys --local', () => {
  it('keys --local creates a key in the tables that .local/env names', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lambent-keys-'));
    const file = join(folder, 'env');
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    await publishEnvironment(file, 'http://127.0.0.1:3000/v1', 'eu-west-1', credentials, {
      AWS_ENDPOINT_URL_DYNAMODB: tables.url,
      ACCESS_TABLE: `lambent-${stage}-access`,
      KEYS_TABLE: `lambent-${stage}-keys`,
    });
    const environment = await readFile(file, 'utf8');
    await rm(folder, { recursive: true });
    const { printed } = await run(['create', '--local', '--tenant', 'acme'], { environment });
    expect(await find(printed[0])).toMatchObject({ tenant: 'acme' });
  });

  it('keys --local says that Lambent does not run here', async () => {
    await expect(run(['list', '--local', '--tenant', 'acme'])).rejects.toThrow('start it with npm start');
  });
});

describe('runKeysCommand', () => {
  it.each([
    [[], 'the command is missing'],
    [['creat'], "unknown command 'creat'; did you mean create?"],
    [['create', '--stage', 'dev'], '--tenant is missing'],
    [['create', '--tenant', 'acme'], 'set --stage, or --local'],
    [['create', 'acme'], "takes only options, not 'acme'"],
    [['create', '--tenant', 'a b', '--stage', 'dev'], "--tenant has an invalid value: 'a b'"],
    [['create', '--tenant', 'acme', '--stage', 'no/stage'], '--stage has an invalid value'],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--region', 'europe'], '--region has an invalid value'],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--local'], '--local takes neither'],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--name', '-x y'], '--name'],
    [
      ['create', '--tenant', 'acme', '--stage', 'dev', '--scopes', 'generat'],
      "unknown scope 'generat'; the scopes and roles are generate",
    ],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--expires', 'soon'], '--expires has an invalid value'],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--expires', '2026-01-01'], '--expires is in the past'],
    [['create', '--tenant', 'acme', '--stage', 'dev', '--expires', '2026-11-30'], '--expires is in the past'],
    [['list', '--tenant', 'acme', '--stage', 'dev', '--name', 'x'], 'list does not take --name'],
    [['revoke', 'web', '--tenant', 'acme', '--stage', 'dev', '--expires', '1d'], 'revoke does not take --expires'],
    [['revoke', '--tenant', 'acme', '--stage', 'dev'], "the key's id is missing"],
    [['create', '--tenat', 'acme'], 'unknown option --tenat; did you mean --tenant?'],
    [['create', '--zzzzzzz'], /^unknown option --zzzzzzz$/],
  ])('runKeysCommand rejects the arguments %s', async (args, reason) => {
    const message = typeof reason === 'string' ? expect.stringContaining(reason) : expect.stringMatching(reason);
    await expect(run(args)).rejects.toMatchObject({ name: 'UsageError', message });
    expect(regions).toEqual([]);
  });

  it('the keys command prints an error and its usage, without a stack trace', async () => {
    const [status, output] = await new Promise<[unknown, string]>((resolve) => {
      execFile(process.execPath, ['infra/operate/keys.ts', 'create'], (error, _stdout, stderr) => {
        resolve([error?.code, stderr]);
      });
    });
    expect(status).toBe(1);
    expect(output).toMatch(/^--tenant is missing\n\nusage:\n/);
    expect(output).not.toContain('    at ');
  });
});

async function putItem(Item: Item): Promise<void> {
  await dynamodb.send(new PutItemCommand({ TableName: `lambent-${stage}-access`, Item }));
}

/** Starts a DynamoDB that refuses every request with an error of this type. */
async function startRefusal(type: string): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' });
    response.end(
      JSON.stringify({ __type: `com.amazon.coral.service#${type}`, message: 'The security token\nis invalid' }),
    );
  });
  const { port, close } = await listen(server, { port: 0 });
  return { url: `http://127.0.0.1:${port}`, close };
}
