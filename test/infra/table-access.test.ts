import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { createExpiringKeys } from '../../shared/access/expiring-keys.ts';
import { getIssuerPartition } from '../../shared/access/federation/issuers.ts';
import { createHoldTable } from '../../shared/access/hold-table.ts';
import { createKeyTable } from '../../shared/access/key-table.ts';
import { getKeyPartition } from '../../shared/access/keys.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { ACCOUNT_PARTITION, getProjectPartition } from '../../shared/access/policy-table.ts';
import { ORGANIZATION } from '../../shared/access/principal.ts';
import { createEnforcedKeys } from '../../shared/admin/enforced-keys.ts';
import { createProjects } from '../../shared/admin/projects.ts';
import { createSenderItems } from '../../shared/admin/sender-items.ts';
import { updateItem } from '../../shared/aws/table.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { createDynamoDBPace } from '../../shared/jobs/dynamodb-pace.ts';
import { createDynamoDBSamples } from '../../shared/jobs/dynamodb-samples.ts';
import { startAccessTable } from '../shared/access/access-table.ts';
import {
  createLease,
  createLeaseRequest,
  createWorker,
  FLEET,
  type FleetTables,
  startFleetTables,
} from '../shared/gpu/fleets.ts';
import { isAllowed, observe } from './allowed-requests.ts';
import type { DynamoDBRequest } from './dynamodb-request.ts';
import { packageStage } from './packaged.ts';

let template: Template;
let tables: FleetTables;
let client: DynamoDBClient;
let tableName: string;
const requests: DynamoDBRequest[] = [];

beforeAll(async () => {
  [template, tables] = await Promise.all([packageStage(), startFleetTables()]);
  tableName = await tables.newTable();
  client = new DynamoDBClient({
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    endpoint: tables.url,
  });
  observe(client, requests);
});
afterAll(async () => {
  client.destroy();
  await tables[Symbol.asyncDispose]();
});

/** Returns the requests to DynamoDB that `run` sends. */
async function record(run: () => Promise<unknown>): Promise<DynamoDBRequest[]> {
  requests.length = 0;
  await run();
  expect(requests.length).toBeGreaterThan(0);
  return [...requests];
}

describe('the access to the fleet table', () => {
  const NOW = 1_700_000_000_000;
  const store = () => createDynamoDBFleetStore(client, { tableName });
  const { leases: _, ...worker } = createWorker({ id: 'w1' });
  const waiter = { id: 'w', model: 'm', tier: 'batch', tenant: 'acme', weight: 1, expiresAt: NOW } as const;
  const placing = {
    read: () => store().read(FLEET),
    findHolders: () => store().findHolders(FLEET, ['a', 'b']),
    recordHolders: () =>
      store().recordHolders(FLEET, [{ prefix: 'a', holders: [{ workerId: 'w1', bootId: 'b', until: NOW }] }]),
    lease: () => store().lease(FLEET, 'w1', createLeaseRequest({ id: 'l', lease: createLease(), expired: ['e'] })),
    markFirstToken: () => store().markFirstToken(FLEET, 'w1', 'l'),
    renew: () => store().renew(FLEET, 'w1', 'l', NOW),
    release: () => store().release(FLEET, 'w1', 'l'),
    putWaiter: () => store().putWaiter(FLEET, waiter),
    removeWaiter: () => store().removeWaiter(FLEET, 'w'),
    recordUnmetDemand: () => store().recordUnmetDemand(FLEET, { model: 'm', tier: 'batch', weight: 1, expiresAt: NOW }),
    suspect: () => store().setState(FLEET, 'w1', 'b', { state: 'suspect', reason: 'r', at: NOW, from: 'ready' }),
  };
  const upkeep = {
    read: placing.read,
    release: placing.release,
    removeWaiter: placing.removeWaiter,
    suspect: placing.suspect,
    register: () => store().register({ ...worker, instance: 'i-1' }),
    registerAgain: () => store().register(worker),
    deregister: () => store().deregister(FLEET, 'w1'),
  };

  it.each(Object.entries(placing))('chat and dispatch may %s', async (_name, run) => {
    for (const request of await record(run)) {
      for (const role of ['ChatRole', 'DispatchRole'])
        expect(isAllowed(template, role, 'FleetTable', request), JSON.stringify(request)).toBe(true);
    }
  });

  it.each(Object.entries(upkeep))('fleet may %s', async (_name, run) => {
    for (const request of await record(run))
      expect(isAllowed(template, 'FleetRole', 'FleetTable', request), JSON.stringify(request)).toBe(true);
  });

  it('chat and dispatch may neither register a worker nor change its address', async () => {
    const registering = await record(async () => {
      await store().register({ ...worker, bootId: 'boot-1' });
      await store().register({ ...worker, bootId: 'boot-2' });
      const Key = { pk: { S: `fleet#${FLEET}` }, sk: { S: 'worker#w1' } };
      const UpdateExpression = 'SET #url = :url';
      const named = { ExpressionAttributeNames: { '#url': 'url' }, ExpressionAttributeValues: { ':url': { S: 'x' } } };
      await client.send(new UpdateItemCommand({ TableName: tableName, Key, UpdateExpression, ...named }));
    });
    expect(registering).toHaveLength(5);
    for (const request of registering) {
      for (const role of ['ChatRole', 'DispatchRole'])
        expect(isAllowed(template, role, 'FleetTable', request), JSON.stringify(request)).toBe(false);
    }
  });
});

describe('the access to the other tables', () => {
  const listAllowed = async (table: string, roles: readonly string[], run: () => Promise<unknown>) => {
    const sent = await record(run);
    return roles.filter((role) => sent.every((request) => isAllowed(template, role, table, request)));
  };
  const JOB_ROLES = ['Chat', 'Sessions', 'Responses', 'Intake', 'Generate', 'Dispatch', 'Sweep'].map(
    (name) => `${name}Role`,
  );

  it('only generate and dispatch may change the pace of models', async () => {
    const pace = createDynamoDBPace(client, tableName);
    const change = async () => {
      await pace.read('m');
      await pace.recordThrottled('m', { window: 1, restUntil: 3, throttledAt: 2 });
    };
    expect(await listAllowed('JobsTable', JOB_ROLES, change)).toEqual(['GenerateRole', 'DispatchRole']);
  });

  it('only the sweep may record backlogs', async () => {
    const samples = createDynamoDBSamples(client, tableName);
    const change = async () => {
      await samples.read('jobs');
      await samples.write('jobs', { at: 1, ticketed: 2, missing: 3 });
    };
    expect(await listAllowed('JobsTable', JOB_ROLES, change)).toEqual(['SweepRole']);
  });

  it('only the authorizer and the administration may find an API key or a token issuer, only the administration and intake a sender, and only they, the token exchange, workers, the sweep and record a policy', async () => {
    const find = (partition: string) => ({
      action: 'dynamodb:GetItem',
      table: '',
      context: { 'dynamodb:LeadingKeys': [partition], 'dynamodb:Attributes': ['pk'] },
    });
    const roles = ['AuthorizeRole', 'TokenRole', 'AdminRole', ...JOB_ROLES, 'FleetRole', 'RecordRole'];
    const allowed = (partition: string) =>
      roles.filter((role) => isAllowed(template, role, 'AccessTable', find(partition)));
    const [key] = await record(() =>
      createKeyTable(client, tableName)
        .find('sk-any')
        .catch(() => undefined),
    );
    const [partition = ''] = key?.context['dynamodb:LeadingKeys'] ?? [];
    expect(allowed(partition)).toEqual(['AuthorizeRole', 'AdminRole']);
    expect(allowed(getIssuerPartition('https://issuer.example.com', 'lambent'))).toEqual([
      'AuthorizeRole',
      'TokenRole',
      'AdminRole',
    ]);
    expect(allowed('sender#AROA1')).toEqual(['AdminRole', 'IntakeRole']);
    const readers = ['AdminRole', 'IntakeRole', 'GenerateRole', 'DispatchRole', 'SweepRole', 'RecordRole'];
    expect(allowed(getProjectPartition('acme'))).toEqual(['AuthorizeRole', 'TokenRole', ...readers]);
    expect(allowed(ACCOUNT_PARTITION)).toEqual(['AuthorizeRole', ...readers]);
    expect(allowed('accounts')).toEqual([]);
  });

  it('only the administration may write senders', async () => {
    await using access = await startAccessTable();
    observe(access.client, requests);
    const senders = createSenderItems({ client: access.client, name: 'access' });
    const record = { keyId: 'orders', tenants: ['acme'], scopes: ['generate'], replyQueues: [] };
    const roles = ['AuthorizeRole', 'TokenRole', 'AdminRole', ...JOB_ROLES, 'FleetRole', 'RecordRole'];
    const writes = [() => senders.create('AROA1', record), () => senders.delete('AROA1')];
    for (const write of writes) expect(await listAllowed('AccessTable', roles, write)).toEqual(['AdminRole']);
  });

  it('record may hold the keys of a project, and change neither its policy nor the keys', async () => {
    await using access = await startAccessTable();
    observe(access.client, requests);
    const table = { client: access.client, name: 'access' };
    const holds = createHoldTable(table, Date.now);
    const hold = { since: 0, until: Date.now() / 1000 + 60, reason: 'rate' };
    const roles = ['RecordRole', 'AuthorizeRole', ...JOB_ROLES];
    expect(await listAllowed('AccessTable', roles, () => holds.place('acme', 'a', hold))).toEqual(['RecordRole']);
    const policies = createPolicyAdministration(access.client, 'access');
    const archive = () => policies.changeProject('acme', (project) => ({ ...project, status: 'archived' }));
    expect(await listAllowed('AccessTable', roles, archive)).toEqual([]);
    const revoke = () => updateItem(table, { pk: { S: 'key#1' } }, { change: 'REMOVE holds' });
    expect(await listAllowed('AccessTable', roles, revoke)).toEqual([]);
  });

  it('the sweep may find keys that expire soon and record that they were reported, and change nothing else of them', async () => {
    await using access = await startAccessTable();
    observe(access.client, requests);
    const table = { client: access.client, name: 'access' };
    const roles = ['AuthorizeRole', 'RecordRole', ...JOB_ROLES];
    const expiring = createExpiringKeys({ client, name: tableName });
    const list = async () => {
      for await (const _ of expiring.list('2027-01-31'));
    };
    expect(await listAllowed('AdminTable', roles, list)).toEqual(['SweepRole']);
    const objects = createProjects({ table: { client, name: tableName } });
    expect(await listAllowed('AdminTable', roles, () => objects.listAll(ORGANIZATION).next())).toEqual([]);
    const add = () => expiring.add({ partition: 'key#1', expiresAt: 1 });
    expect(await listAllowed('AdminTable', roles, add)).toEqual([]);
    const keys = createKeyTable(access.client, 'access');
    expect(await listAllowed('AccessTable', roles, () => keys.readAll(['key#1'], 0))).toEqual(['SweepRole']);
    expect(await listAllowed('AccessTable', roles, () => keys.readAll(['sender#1'], 0))).toEqual([]);
    const warn = () => keys.recordWarning('key#1', '2027-01-31');
    expect(await listAllowed('AccessTable', roles, warn)).toEqual(['AuthorizeRole', 'SweepRole']);
    const record = { tenant: 'acme', keyId: 'a', scopes: ['generate'] };
    const enforced = createEnforcedKeys(table);
    await enforced.grant('a', record);
    const prolong = () => enforced.change(getKeyPartition('a'), (before) => ({ ...before, expiresAt: 9 }));
    expect(await listAllowed('AccessTable', roles, prolong)).toEqual([]);
  });
});
