import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { waitUntil } from '../wait.ts';
import { type Administrator, createAdministrator } from './administrator.ts';
import { type Service, startService } from './service.ts';

/** The id that the local SQS gives the sender of each message. */
const LOCAL = '000000000000';

let service: Service;
let admin: Administrator;
let sqs: SQSClient;
beforeAll(async () => {
  service = await startService();
  admin = createAdministrator(service);
  const { endpoints, credentials } = service.cloud;
  sqs = new SQSClient({ endpoint: endpoints['AWS_ENDPOINT_URL_SQS'] ?? '', region: 'eu-west-1', credentials });
});
afterAll(async () => {
  sqs.destroy();
  await service[Symbol.asyncDispose]();
});

/** Sends a request below `/v1/organization/`. */
async function send(method: string, path: string, body?: object) {
  const response = await fetch(`${service.cloud.url}/organization/${path}`, {
    method,
    headers: { authorization: 'Bearer sk-admin-local', 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: JSON.parse(await response.text()) };
}

let messages = 0;
const reasons = new Map<string, string>();
/** Sends a message for a project, and returns `accepted` once its job exists, or the reason for which it was rejected. */
async function sendMessage({ project, key }: { project: string; key: { value: string } }): Promise<string> {
  messages += 1;
  const idempotencyKey = `order-${messages}`;
  const { GENERATION_QUEUE_URL, GENERATION_DLQ_URL } = service.cloud.resources;
  const body = { model: 'compatible', input: 'Hello' };
  const message = { version: 1, type: 'generate', tenant: project, idempotencyKey, endpoint: '/v1/responses', body };
  await sqs.send(new SendMessageCommand({ QueueUrl: GENERATION_QUEUE_URL, MessageBody: JSON.stringify(message) }));
  return waitUntil('the message is accepted or rejected', async () => {
    const response = await fetch(`${service.cloud.url}/responses/${deriveResponseId(project, idempotencyKey)}`, {
      headers: { authorization: `Bearer ${key.value}` },
    });
    if (response.ok) return 'accepted';
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: GENERATION_DLQ_URL, MessageAttributeNames: ['All'] }),
    );
    for (const { Body, MessageAttributes } of Messages)
      reasons.set(JSON.parse(Body ?? '').message.idempotencyKey, MessageAttributes?.['reason']?.StringValue ?? '');
    return reasons.get(idempotencyKey);
  });
}

it('a sender that the API creates may send for its projects, unless one holds it, until it is deleted', async () => {
  const [acme, shop, other] = [await admin.createProject(), await admin.createProject(), await admin.createProject()];
  // The sender that `npm start` writes by hand.
  expect((await send('GET', `senders/${LOCAL}`)).json).toMatchObject({ project_ids: ['local'], key_id: 'local' });
  expect((await send('DELETE', `senders/${LOCAL}`)).json).toMatchObject({ id: LOCAL, deleted: true });
  const created = await send('POST', 'senders', { id: LOCAL, project_ids: [acme.project, shop.project] });
  expect(created).toMatchObject({ status: 200, json: { id: LOCAL, status: 'active', reply_queues: [] } });
  expect((await admin.send('POST', `${shop.project}/key_holds/${LOCAL}`)).status).toBe(200);
  expect((await admin.send('POST', `${other.project}/key_holds/${LOCAL}`)).status).toBe(404);

  expect(await sendMessage(acme)).toBe('accepted');
  expect(await sendMessage(shop)).toBe('key_held');
  expect(await sendMessage(other)).toBe('insufficient_permissions');

  expect((await admin.send('DELETE', `${shop.project}/key_holds/${LOCAL}`)).status).toBe(200);
  expect((await send('DELETE', `senders/${LOCAL}`)).status).toBe(200);
  // Intake remembers a sender, and what a project holds, for 30 s.
  await waitUntil('the deleted sender is refused', async () => {
    const result = await sendMessage(acme);
    expect(['accepted', 'insufficient_permissions']).toContain(result);
    return result === 'insufficient_permissions';
  });

  const acts = await waitUntil('the acts are recorded', async () => {
    const { data } = await admin.organization.auditLogs.list({ resource_ids: [LOCAL] });
    return data.length >= 5 ? data.map(({ type }) => String(type)) : undefined;
  });
  const held = ['sender.released', 'sender.held'];
  expect(acts).toEqual(['sender.deleted', ...held, 'sender.created', 'sender.deleted']);
});

it('lists of senders have pages', async () => {
  const { project } = await admin.createProject();
  const ids = ['AIDAEXAMPLEPAGES00001', 'AIDAEXAMPLEPAGES00002', 'AIDAEXAMPLEPAGES00003'];
  for (const id of ids) await send('POST', 'senders', { id, project_ids: [project] });
  const { json: first } = await send('GET', 'senders?limit=2');
  expect(first).toMatchObject({ data: [{ id: ids[0] }, { id: ids[1] }], has_more: true, last_id: ids[1] });
  const { json: second } = await send('GET', `senders?limit=2&after=${first.last_id}`);
  expect(second).toMatchObject({ data: [{ id: ids[2] }], has_more: false });
  const { json: newest } = await send('GET', 'senders?limit=1&order=desc');
  expect(newest.data).toMatchObject([{ id: ids[2] }]);
});

it('an admin key without the scope for limits can change all of a sender but these', async () => {
  const { project } = await admin.createProject();
  const scopes = ['admin.projects.write'];
  const { value } = await admin.organization.adminAPIKeys.create({ name: 'x', ...{ scopes } });
  const update = async (body: object) => {
    const response = await fetch(`${service.cloud.url}/organization/senders/AROAEXAMPLESCOPES0001`, {
      method: 'POST',
      headers: { authorization: `Bearer ${value}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, json: JSON.parse(await response.text()) };
  };
  await send('POST', 'senders', { id: 'AROAEXAMPLESCOPES0001', project_ids: [project], messages_per_minute: 5 });
  expect(await update({ name: 'Orders' })).toMatchObject({ status: 200, json: { messages_per_minute: 5 } });
  for (const body of [{ messages_per_minute: null }, { messages_per_day: 5 }])
    expect(await update(body)).toMatchObject({ status: 403, json: { error: { code: 'insufficient_permissions' } } });
});
