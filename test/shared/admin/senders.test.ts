import { CreateTableCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { revokeGrant } from '../../../infra/operate/access.ts';
import { createSenderTable } from '../../../shared/access/sender-table.ts';
import { createSenderItem, getSenderPartition } from '../../../shared/access/senders.ts';
import { createSenderItems } from '../../../shared/admin/sender-items.ts';
import { type Item, marshall } from '../../../shared/aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table } from '../../../shared/aws/table.ts';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';

const ROLE = 'AROAEXAMPLEORDERS0001';
const NOW = Date.parse('2027-01-31T12:00:00Z');
const SENDERS = '/v1/organization/senders';
const SENDER = `${SENDERS}/{sender}`;

type Request = ReturnType<typeof createAdministration>;
let access: Table;
let now: number;
let erased: ReadonlySet<string>;
let request: (...args: Parameters<Request>) => Promise<Record<string, unknown>>;

beforeEach(async () => {
  const table = await startAccessTable();
  onTestFinished(() => table[Symbol.asyncDispose]());
  access = { client: table.client, name: table.name };
  await table.client.send(new CreateTableCommand(createTableInput('admin')));
  now = NOW;
  erased = new Set();
  const history = { state: 'deleted', deletedAt: 0 } as const;
  const tenantKeys = { read: async (tenant: string) => (erased.has(tenant) ? history : undefined) };
  const administration = createAdministration(table.client, { admin: 'admin', access: table.name }, () => now, {
    tenantKeys,
  });
  request = async (...args) => ({ ...(await administration(...args)) });
  for (const id of ['acme', 'shop']) await request('POST /v1/organization/projects', {}, { name: id, id });
});

const create = (fields: object = {}) => request(`POST ${SENDERS}`, {}, { id: ROLE, project_ids: ['acme'], ...fields });
const update = (sender: string, body: object) => request(`POST ${SENDER}`, { sender }, body);
const read = (sender: string) => request(`GET ${SENDER}`, { sender });
const list = async () => (await request(`GET ${SENDERS}`, {}))['data'];
const find = (sender: string) => createSenderTable(access.client, access.name).find(sender, now);
const write = (item: Item) => putItem(access, item);
const byHand = { keyId: 'orders', tenants: ['acme', 'unnamed'], scopes: ['inference'], replyQueues: ['old'] };

describe('a sender that the API creates', () => {
  it('a created sender may send at once what the request says, and is shown with all fields', async () => {
    const expected = {
      ...{ id: ROLE, object: 'organization.sender', name: 'Orders', key_id: ROLE, status: 'active' },
      ...{ created_at: NOW / 1000, expires_at: NOW / 1000 + 60, project_ids: ['acme', 'shop'], scopes: ['generate'] },
      ...{ reply_queues: ['answers'], messages_per_minute: 60, messages_per_day: null },
    };
    const fields = { name: 'Orders', reply_queues: ['answers'], messages_per_minute: 60, expires_in_seconds: 60 };
    expect(await create({ project_ids: ['acme', 'shop', 'acme'], ...fields })).toEqual(expected);
    expect(await read(ROLE)).toEqual(expected);
    expect(await list()).toEqual([expected]);
    expect(await find(`${ROLE}:session`)).toEqual({
      ...{ keyId: ROLE, tenants: ['acme', 'shop'], scopes: ['generate'], replyQueues: ['answers'] },
      limits: { messagesPerMinute: 60 },
    });
    now += 60_000;
    expect(await read(ROLE)).toMatchObject({ status: 'expired' });
  });

  it('a sender needs only its id and projects: then it never expires, has no limits, and may name no reply queue', async () => {
    expect(await create({ id: `${ROLE}:session` })).toMatchObject({
      ...{ id: ROLE, name: ROLE, expires_at: null, reply_queues: [], messages_per_minute: null },
    });
    expect(await find(ROLE)).toEqual({ keyId: ROLE, tenants: ['acme'], scopes: ['generate'], replyQueues: [] });
  });

  it.each(['AIDAEXAMPLEUSER000001', '123456789012', ROLE])('%s is the id of a sender', async (id) => {
    expect(await create({ id })).toMatchObject({ id });
  });

  it.each([
    ['no id of AWS', { id: 'orders' }, 'id'],
    ['the ARN of a role', { id: 'arn:aws:iam::123456789012:role/orders' }, 'id'],
    ['an unknown scope', { scopes: ['everything'] }, 'scopes[0]'],
    ['a scope of the administration', { scopes: ['generate', 'admin.keys.write'] }, 'scopes[1]'],
    ['no scope to generate', { scopes: ['embeddings'] }, 'scopes'],
    ['an unknown reply queue', { reply_queues: ['answers', 'other'] }, 'reply_queues[1]'],
    ['no project', { project_ids: [] }, 'project_ids'],
    ['a limit below 0', { messages_per_day: -1 }, 'messages_per_day'],
  ])('a sender with %s is refused', async (_, fields, param) => {
    await expect(create(fields)).rejects.toMatchObject({ code: 'invalid_value', param });
    expect(await list()).toEqual([]);
    expect(await find(ROLE)).toBeUndefined();
  });

  it('a sender for a project that is unknown, archived or erased is refused, also by an update', async () => {
    await create();
    await request('POST /v1/organization/projects', {}, { name: 'Old', id: 'old' });
    await request('POST /v1/organization/projects/{project}/archive', { project: 'old' });
    erased = new Set(['shop']);
    for (const [project, code] of [
      ['none', 'not_found'],
      ['old', 'project_archived'],
      ['shop', 'tenant_deleted'],
    ] as const) {
      await expect(create({ id: '123456789012', project_ids: [project] })).rejects.toMatchObject({ code });
      await expect(update(ROLE, { project_ids: ['acme', project] })).rejects.toMatchObject({ code });
    }
    expect(await find(ROLE)).toMatchObject({ tenants: ['acme'] });
  });

  it('a second sender with the same id is refused, and the first one stays as it is', async () => {
    await create({ name: 'First' });
    await expect(create({ name: 'Second' })).rejects.toMatchObject({ code: 'invalid_value', param: 'id' });
    expect(await read(ROLE)).toMatchObject({ name: 'First' });
  });
});

describe('a sender that the API changes', () => {
  it('an update changes what it names, null removes a limit and the end, and the rest stays', async () => {
    await create({ name: 'Orders', messages_per_minute: 60, messages_per_day: 600, expires_in_seconds: 60 });
    const changes = { project_ids: ['shop'], reply_queues: ['*'], messages_per_minute: null, expires_in_seconds: null };
    expect(await update(ROLE, changes)).toMatchObject({
      ...{ name: 'Orders', project_ids: ['shop'], reply_queues: ['*'], created_at: NOW / 1000, expires_at: null },
      ...{ messages_per_minute: null, messages_per_day: 600 },
    });
    expect(await find(ROLE)).toEqual({
      ...{ keyId: ROLE, tenants: ['shop'], scopes: ['generate'], replyQueues: ['*'], limits: { messagesPerDay: 600 } },
    });
  });

  it('an update does not give a tenant back that an erasure takes away at the same time', async () => {
    await create({ project_ids: ['acme', 'shop'] });
    const items = createSenderItems(access);
    const before = await items.read(ROLE);
    if (before?.record === undefined) throw new Error('The sender was not read.');
    const grant = { kind: 'sender' as const, partition: getSenderPartition(ROLE), keyId: ROLE, others: ['shop'] };
    await revokeGrant(access.client, access.name, 'acme', grant);
    expect(await items.replace(ROLE, before, { ...before.record, name: 'Late' })).toBe(false);
    expect(await find(ROLE)).toMatchObject({ tenants: ['shop'] });
  });

  it('a deleted sender may not send, and can be created again', async () => {
    await create();
    expect(await request(`DELETE ${SENDER}`, { sender: ROLE })).toMatchObject({ id: ROLE, deleted: true });
    expect(await find(ROLE)).toBeUndefined();
    expect(await list()).toEqual([]);
    for (const route of ['GET', 'POST', 'DELETE'].map((method) => `${method} ${SENDER}`))
      await expect(request(route, { sender: ROLE })).rejects.toMatchObject({ code: 'not_found' });
    expect(await create()).toMatchObject({ status: 'active' });
  });
});

describe('a sender that was written by hand', () => {
  it('it can be read by its id, and is listed from its first update on', async () => {
    await write({ ...createSenderItem('AROAHAND', byHand), note: { S: 'ours' } });
    const shown = {
      ...{ id: 'AROAHAND', object: 'organization.sender', name: 'orders', key_id: 'orders', status: 'active' },
      ...{ created_at: null, expires_at: null, project_ids: ['acme', 'unnamed'], scopes: ['inference'] },
      ...{ reply_queues: ['old'], messages_per_minute: null, messages_per_day: null },
    };
    expect(await read('AROAHAND:session')).toEqual(shown);
    expect(await list()).toEqual([]);
    expect(await update('AROAHAND', {})).toEqual(shown);
    expect(await list()).toEqual([shown]);
    expect(await find('AROAHAND')).toEqual(byHand);
  });

  it('an update keeps its keyId, its old reply queues, tenants without a project and unknown attributes', async () => {
    await write({ ...createSenderItem('AROAHAND', byHand), note: { S: 'ours' } });
    const changes = { name: 'Orders', project_ids: ['unnamed', 'shop'], reply_queues: ['old', 'answers'] };
    expect(await update('AROAHAND', changes)).toMatchObject({ name: 'Orders', key_id: 'orders' });
    expect(await find('AROAHAND')).toEqual({
      ...{ keyId: 'orders', tenants: ['unnamed', 'shop'], scopes: ['inference'], replyQueues: ['old', 'answers'] },
    });
    expect(await getItem(access, marshall({ pk: getSenderPartition('AROAHAND') }))).toMatchObject({
      note: { S: 'ours' },
    });
  });

  it('it can be deleted, and the API does not replace it by a new one', async () => {
    await write(createSenderItem(ROLE, byHand));
    await expect(create()).rejects.toMatchObject({ code: 'invalid_value', param: 'id' });
    expect(await list()).toEqual([]);
    await request(`DELETE ${SENDER}`, { sender: ROLE });
    expect(await find(ROLE)).toBeUndefined();
  });
});

describe('a sender whose item is invalid or gone', () => {
  it('an invalid item is shown as unreadable, breaks no list, and can only be deleted', async () => {
    await create();
    await create({ id: '123456789012' });
    await write({ ...createSenderItem(ROLE, byHand), messagesPerMinute: { S: 'many' } });
    const unreadable = { id: ROLE, status: 'unreadable', project_ids: null, scopes: null, messages_per_minute: null };
    expect(await read(ROLE)).toMatchObject(unreadable);
    expect(await list()).toMatchObject([{ id: '123456789012', status: 'active' }, unreadable]);
    await expect(update(ROLE, { name: 'Orders' })).rejects.toMatchObject({
      ...{ code: 'invalid_value', message: expect.stringContaining('Delete the sender') },
    });
    await request(`DELETE ${SENDER}`, { sender: ROLE });
    expect(await list()).toMatchObject([{ id: '123456789012' }]);
  });

  it('a sender whose item was deleted by hand, or with its only tenant, is shown as removed', async () => {
    await create();
    await deleteItem(access, marshall({ pk: getSenderPartition(ROLE) }));
    const removed = { id: ROLE, status: 'removed', created_at: NOW / 1000, project_ids: null };
    expect(await read(ROLE)).toMatchObject(removed);
    expect(await list()).toMatchObject([removed]);
    await expect(update(ROLE, {})).rejects.toMatchObject({ code: 'not_found' });
    expect(await create()).toMatchObject({ status: 'active' });
    expect(await list()).toMatchObject([{ id: ROLE, status: 'active' }]);
  });
});
