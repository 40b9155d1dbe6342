import { execFile } from 'node:child_process';
import { CreateTableCommand, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runTenantCommand } from '../../../infra/operate/tenant.ts';
import { keyItem, keyPartition } from '../../../shared/access/keys.ts';
import { createSenderTable } from '../../../shared/access/sender-table.ts';
import { senderItem } from '../../../shared/access/senders.ts';
import { catchCode, type Services, startEnvironment, startServices } from '../../shared/vault/environments.ts';
import { NAME } from '../../shared/vault/records.ts';

const text = (words: string) => Buffer.from(words, 'utf8');
const neighbour = { ...NAME, tenant: 'acme2' };

let services: Services;
let table: Awaited<ReturnType<Services['newTable']>>;
let environment: Readonly<Record<string, string>>;
let created = 0;

beforeAll(async () => {
  services = await startServices();
});
afterAll(() => services[Symbol.asyncDispose]());
beforeEach(async () => {
  services.faults.dynamodb = () => undefined;
  table = await services.newTable();
  const access = `access-${created++}`;
  await services.dynamodb.send(
    new CreateTableCommand({
      TableName: access,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
    }),
  );
  environment = { KEYS_TABLE: table.name, ACCESS_TABLE: access };
});

async function run(...args: string[]): Promise<string> {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  await runTenantCommand(args, { client: services.dynamodb, environment, print, now: () => services.clock.now });
  return lines.join('\n');
}

const start = (of = table) => startEnvironment(services, of);

describe('erasing a tenant', () => {
  const senders = { mixed: 'AROA1', own: 'AROA2', other: 'AROA3' };

  /** Two tenants with keys, API keys, and senders; the records of both. */
  async function twoTenants() {
    const items = [
      keyItem('sk-acme', { tenant: NAME.tenant, keyId: 'acme-web', scopes: ['inference'] }),
      keyItem('sk-acme2', { tenant: neighbour.tenant, keyId: 'acme2-web', scopes: ['inference'] }),
      senderItem(senders.mixed, { keyId: 'mixed', tenants: [NAME.tenant, neighbour.tenant], scopes: ['inference'] }),
      senderItem(senders.own, { keyId: 'own', tenants: [NAME.tenant], scopes: ['inference'] }),
      senderItem(senders.other, { keyId: 'other', tenants: [neighbour.tenant], scopes: ['inference'] }),
    ];
    for (const Item of items) {
      await services.dynamodb.send(new PutItemCommand({ TableName: environment['ACCESS_TABLE'], Item }));
    }
    const vault = start();
    return [await vault.seal(NAME, text('x')), await vault.seal(neighbour, text('y'))] as const;
  }
  const tenantOf = async (key: string) => {
    const { Item } = await services.dynamodb.send(
      new GetItemCommand({ TableName: environment['ACCESS_TABLE'], Key: { pk: { S: keyPartition(key) } } }),
    );
    return Item?.['tenant']?.S;
  };
  const tenantsOf = async (sender: string) =>
    (await createSenderTable(services.dynamodb, environment['ACCESS_TABLE'] ?? '').find(sender, 0))?.tenants;

  test('says what would go and changes nothing, unless it is told to', async () => {
    const [sealed] = await twoTenants();
    const said = await run('erase', NAME.tenant);
    for (const name of ['acme-web', 'mixed: stays, for acme2', 'own: goes', '1 version', '--yes']) {
      expect(said).toContain(name);
    }
    expect(said).not.toContain('acme2-web');
    expect(await start().open(NAME, sealed)).toEqual(text('x'));
    expect(await tenantOf('sk-acme')).toBe(NAME.tenant);
    expect(await tenantsOf(senders.own)).toEqual([NAME.tenant]);
  });

  test('takes its keys, its API keys and its senders, and nothing of its neighbours', async () => {
    const [sealed, other] = await twoTenants();
    await run('erase', NAME.tenant, '--yes');
    expect(await catchCode(start().open(NAME, sealed))).toBe('tenant_deleted');
    expect(await catchCode(start().seal(NAME, text('again')))).toBe('tenant_deleted');
    expect(await tenantOf('sk-acme')).toBeUndefined();
    expect(await tenantsOf(senders.own)).toBeUndefined();
    expect(await tenantsOf(senders.mixed)).toEqual([neighbour.tenant]);

    expect(await start().open(neighbour, other)).toEqual(text('y'));
    expect(await tenantOf('sk-acme2')).toBe(neighbour.tenant);
    expect(await tenantsOf(senders.other)).toEqual([neighbour.tenant]);
  });

  test('again finishes what was left, and keeps the day', async () => {
    await twoTenants();
    await run('erase', NAME.tenant, '--yes');
    const deletedAt = services.clock.now;
    services.clock.now += 86_400_000;
    const late = keyItem('sk-late', { tenant: NAME.tenant, keyId: 'late', scopes: ['inference'] });
    await services.dynamodb.send(new PutItemCommand({ TableName: environment['ACCESS_TABLE'], Item: late }));
    expect(await run('erase', NAME.tenant, '--yes')).toContain(new Date(deletedAt).toISOString());
    expect(await tenantOf('sk-late')).toBeUndefined();
    expect(await table.read(NAME.tenant)).toEqual({ state: 'deleted', deletedAt });
  });

  test('takes the API keys first, so that a failure leaves no open door to lost records', async () => {
    const [sealed] = await twoTenants();
    services.faults.dynamodb = (operation) =>
      operation === 'PutItem' ? { status: 400, type: 'AccessDeniedException' } : undefined;
    await expect(run('erase', NAME.tenant, '--yes')).rejects.toThrow(`${table.name}: `);
    expect(await tenantOf('sk-acme')).toBeUndefined();
    expect(await start().open(NAME, sealed)).toEqual(text('x'));
  });

  test('of a name that nobody has used says so', async () => {
    expect(await run('erase', 'nobody')).toContain('it has stored nothing');
  });

  test('finds the tables of a stage by their names', async () => {
    await expect(run('erase', NAME.tenant, '--stage', 'prod')).rejects.toThrow(
      /^lambent-prod-keys: there is no such table/,
    );
  });
});

describe('replaying tombstones', () => {
  /** A keys table as it was before the tenant was deleted, and the tenant's record. */
  async function restoredFromBefore() {
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

  test('buries in a restored table who was deleted since, and nobody else', async () => {
    const { sealed, other, restored } = await restoredFromBefore();
    const replay = ['replay-tombstones', '--from', table.name, '--to', restored.name];
    expect(await run(...replay)).toContain('0 were in');
    expect(await start(restored).open(NAME, sealed)).toEqual(text('x'));

    expect(await run(...replay, '--yes')).toContain('1 are now');
    expect(await catchCode(start(restored).open(NAME, sealed))).toBe('tenant_deleted');
    expect(await start(restored).open(neighbour, other)).toEqual(text('y'));
    expect(await run(...replay, '--yes')).toContain('1 were in');
  });

  test('fails on a table that is not there, though there be nothing to do', async () => {
    await expect(run('replay-tombstones', '--from', table.name, '--to', 'no-such')).rejects.toThrow(/^no-such: /);
    await expect(run('replay-tombstones', '--from', 'no-such', '--to', table.name)).rejects.toThrow(/^no-such: /);
  });
});

describe('what can not be meant', () => {
  test.each([
    [[], 'which command?'],
    [['delete', 'acme'], "no command 'delete'"],
    [['erase'], 'a tenant is missing'],
    [['erase', ''], 'a tenant is missing'],
    [['erase', 'a b'], "'a b'"],
    [['erase', 'acme', 'other'], 'takes one tenant, not 2'],
    [['erase', 'acme', '--from', 'x'], 'no --from'],
    [['erase', 'acme', '--force'], '--force'],
    [['erase', 'acme', '--stage', 'no/stage'], '--stage'],
    [['replay-tombstones', '--to', 'restored'], '--from is missing'],
    [['replay-tombstones', '--from', 'keys'], '--to is missing'],
    [['replay-tombstones', '--from', 'keys', '--to', 'keys'], 'same table'],
    [['replay-tombstones', 'acme', '--from', 'keys', '--to', 'restored'], "not 'acme'"],
  ])('is refused: %s', async (args, why) => {
    await expect(run(...args)).rejects.toMatchObject({ name: 'UsageError', message: expect.stringContaining(why) });
  });

  test.each(['KEYS_TABLE', 'ACCESS_TABLE'])('is refused when %s is empty and no stage is named', async (name) => {
    environment = { ...environment, [name]: '' };
    await expect(run('erase', 'acme')).rejects.toThrow(name);
  });

  test('is told by the command itself, without a stack', async () => {
    const [status, said] = await new Promise<[unknown, string]>((resolve) => {
      execFile(process.execPath, ['infra/operate/tenant.ts', 'erase'], (error, _stdout, stderr) => {
        resolve([error?.code, stderr]);
      });
    });
    expect(status).toBe(1);
    expect(said).toMatch(/^a tenant is missing\n\nusage:\n/);
    expect(said).not.toContain('    at ');
  });
});
