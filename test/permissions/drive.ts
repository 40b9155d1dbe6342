import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { LOCAL_ADMIN_KEY } from '../../local/seed.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { connectToTables } from '../end-to-end/keys.ts';
import { startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { waitUntil } from '../wait.ts';
import type { ObservedService } from './observed-service.ts';

/** Above the size from which bodies and conversation items are stored in the bucket. */
const LONG = 'long '.repeat(4_000);
const STOPPING = join(import.meta.dirname, '../../events/fleet-task-stopping.json');
const ignore = () => undefined;

/** Uses every part of the service, so that each function makes every kind of call that it ever makes. */
export async function driveService(service: ObservedService): Promise<void> {
  await service.invoke('fleet', { source: 'aws.events', 'detail-type': 'Scheduled Event' });
  await service.invoke('warmup', {});
  await limit(service);
  await chat(service);
  await embed(service);
  await checkContent(service);
  await useStoredResponses(service);
  await useConversations(service);
  await runBackgroundResponses(service);
  await runQueuedJobs(service);
  await maintainFleet(service);
  await administer(service);
  await exchangeToken(service);
  await abuseKey(service);
  await readRecorded(service);
}

/**
 * Limits the whole account, and what a project stores, so that each call of a model, each stream of a response, each job and each
 * stored record counts, compares projects with their usual rate from one call on, and lets the project `intake` queue one job.
 */
async function limit({ cloud }: ObservedService): Promise<void> {
  const tables = connectToTables(cloud);
  const administration = createPolicyAdministration(tables, cloud.resources['ACCESS_TABLE'] ?? '');
  const limits = { requestsPerDay: 100_000, resumedStreamsInFlight: 1_000, jobsQueued: 100_000 };
  await administration.changeAccount(() => ({ limits, abuse: { leastCallsPerHour: 1 } }));
  const restrictions = { limits: { storedBytes: 1_000_000_000, storedItems: 100_000 } };
  await administration.changeProject('local', (project) => ({ ...project, restrictions }));
  const oneJob = { limits: { jobsQueued: 1 } };
  await administration.changeProject('intake', (project) => ({ ...project, restrictions: oneJob }));
  tables.destroy();
}

async function chat({ client }: ObservedService): Promise<void> {
  const messages = [{ role: 'user' as const, content: 'Hello' }];
  for (const model of ['bedrock', 'profile', 'compatible', 'gpu']) {
    await client.chat.completions.create({ model, messages });
    for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
  }
  // Some wait for one of the worker's two slots. Their common prefix is long enough for the directory of prefixes.
  const long = [{ role: 'user' as const, content: LONG }];
  for (const _ of [1, 2])
    await Promise.all(
      Array.from({ length: 6 }, () => client.chat.completions.create({ model: 'gpu', messages: long }).catch(ignore)),
    );
  const headers = { 'Idempotency-Key': 'chat-1' };
  const metadata = { topic: 'sea' };
  for (const _ of [1, 2]) await client.chat.completions.create({ model: 'compatible', messages }, { headers });
  const { id } = await client.chat.completions.create({ model: 'compatible', messages: long, store: true, metadata });
  await client.chat.completions.update(id, { metadata: { topic: 'land' } });
  for await (const _ of client.chat.completions.list({ metadata: { topic: 'land' } }));
  await client.chat.completions.messages.list(id);
  await client.chat.completions.delete(id);
  const failing = { model: 'compatible', messages: [{ role: 'user' as const, content: 'fail' }] };
  await client.chat.completions.create(failing, { headers: { 'Idempotency-Key': 'chat-2' } }).catch(ignore);
}

async function embed({ client }: ObservedService): Promise<void> {
  for (const model of ['bedrock-embeddings', 'compatible-embeddings', 'gpu-embeddings'])
    await client.embeddings.create({ model, input: LONG });
  // Chats hold the worker's slots meanwhile, so that embeddings wait for one.
  const messages = [{ role: 'user' as const, content: LONG }];
  const chats = Array.from({ length: 4 }, () => client.chat.completions.create({ model: 'gpu', messages }));
  const embeddings = Array.from({ length: 4 }, () =>
    client.embeddings.create({ model: 'gpu-embeddings', input: LONG }),
  );
  await Promise.allSettled([...chats, ...embeddings]);
}

async function checkContent({ client, guarded }: ObservedService): Promise<void> {
  await guarded.embeddings.create({ model: 'compatible-embeddings', input: LONG });
  for (const model of ['compatible', 'gpu']) {
    await guarded.responses.create({ model, input: 'Hello', store: false });
    await waitForEnd(guarded, (await guarded.responses.create({ model, input: 'Hello', background: true })).id);
  }
  await client.moderations.create({ input: 'Hello' });
  // The upstream answers as a model that generates. Its key is read first.
  await client.moderations.create({ model: 'endpoint', input: 'Hello' }).catch(ignore);
  const moderated = { input: 'Hello', moderation: { model: 'endpoint' } };
  await client.responses.create({ ...moderated, model: 'compatible', store: false });
  for (const model of ['compatible', 'gpu'])
    await waitForEnd(client, (await client.responses.create({ ...moderated, model, background: true })).id);
}

async function useStoredResponses({ client }: ObservedService): Promise<void> {
  const model = 'compatible';
  const first = await client.responses.create({ model, input: LONG });
  const next = await client.responses.create({ model, input: 'And?', previous_response_id: first.id });
  await client.responses.retrieve(next.id);
  await client.responses.inputItems.list(first.id);
  await client.responses.delete(next.id);
  await client.responses.delete(first.id);
  await client.responses.retrieve('resp_missing').catch(ignore);
}

async function useConversations({ client, newcomer }: ObservedService): Promise<void> {
  const message = (content: string) => ({ type: 'message' as const, role: 'user' as const, content });
  // The tenant's first sealed record.
  await newcomer.conversations.create({ items: [message('Hello')] });
  // Chat opens the key that sessions made.
  await newcomer.responses.create({ model: 'compatible', input: 'Hello' });
  const { id } = await client.conversations.create({ items: [message('Hello')] });
  const headers = { 'Idempotency-Key': 'items-1' };
  for (const _ of [1, 2]) await client.conversations.items.create(id, { items: [message(LONG)] }, { headers });
  const missing = { headers: { 'Idempotency-Key': 'items-2' } };
  await client.conversations.items.create('conv_missing', { items: [message('Hello')] }, missing).catch(ignore);
  await client.conversations.update(id, { metadata: { topic: 'sea' } });
  await client.conversations.items.create(id, { items: [message(LONG), message('short')] });
  const items = [];
  for await (const item of client.conversations.items.list(id)) items.push(item);
  const last = items.at(0)?.id ?? '';
  await client.conversations.items.retrieve(last, { conversation_id: id });
  await client.responses.create({ model: 'compatible', input: 'Hello', conversation: id });
  await client.responses.create({ model: 'compatible', input: LONG, conversation: id });
  await client.conversations.items.delete(last, { conversation_id: id });
  for (const model of ['compatible', 'gpu'])
    await waitForEnd(
      client,
      (await client.responses.create({ model, input: LONG, conversation: id, background: true })).id,
    );
  await client.conversations.retrieve(id);
  await client.conversations.delete(id);
}

async function runBackgroundResponses({ client, invoke, release, cloud }: ObservedService): Promise<void> {
  const background = true;
  for (const model of ['compatible', 'bedrock', 'profile', 'gpu']) {
    const { id } = await client.responses.create({ model, input: LONG, background });
    await waitForEnd(client, id);
    await client.responses.delete(id);
    let streamed = '';
    for await (const event of await client.responses.create({ model, input: 'Hello', background, stream: true }))
      if (event.type === 'response.created') streamed = event.response.id;
    for await (const _ of await client.responses.retrieve(streamed, { stream: true }));
  }
  const { id } = await client.responses.create({ model: 'compatible', input: 'wait', background });
  await waitUntil('the job runs', async () => (await client.responses.retrieve(id)).status === 'in_progress');
  await client.responses.cancel(id);
  // Its ticket is lost, so the sweep sends another.
  const waiting = await client.responses.create({ model: 'compatible', input: 'wait', background });
  await waitUntil('the job runs', async () => (await client.responses.retrieve(waiting.id)).status === 'in_progress');
  for (const { pid, function: name } of cloud.processes()) if (name === 'generate') process.kill(pid, 'SIGKILL');
  await cloud.restartQueues();
  release();
  await waitUntil('the job has ended', async () => {
    await invoke('sweep', {});
    return (await client.responses.retrieve(waiting.id)).status === 'completed';
  });
}

async function runQueuedJobs(service: ObservedService): Promise<void> {
  const { client, cloud } = service;
  const { BUCKET: Bucket = '', GENERATION_DLQ_URL: QueueUrl } = cloud.resources;
  const endpoint = cloud.endpoints['AWS_ENDPOINT_URL_S3'] ?? '';
  const s3 = new S3Client({ region: 'eu-west-1', credentials: cloud.credentials, endpoint, forcePathStyle: true });
  const key = 'local/inbox/order-1.json';
  await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: JSON.stringify({ model: 'gpu', input: LONG }) }));
  s3.destroy();
  const order2 = describeJob('order-2', { body: { model: 'compatible', input: 'Hello' }, replyTo: 'answers' });
  const newTenant = { ...describeJob('order-3', { body: { model: 'compatible', input: LONG } }), tenant: 'intake' };
  const order1 = describeJob('order-1', { bodyPointer: { bucket: Bucket, key }, replyTo: 'answers' });
  await sendMessages(service, [{ unusable: true }, order1, order2, newTenant]);
  for (const each of ['order-1', 'order-2']) await waitForEnd(client, deriveResponseId('local', each));
  // A repetition, and a different request under the same key.
  const otherRequest = describeJob('order-2', { body: { model: 'compatible', input: LONG } });
  await sendMessages(service, [order2, newTenant, otherRequest]);
  for (const queue of ['JOBS_QUEUE_URL', 'GPU_QUEUE_URL']) await sendMessages(service, [{ ticket: 'none' }], queue);
  const sqs = createQueueClient(service);
  await waitUntil('both unusable messages are refused', async () => {
    const AttributeNames = ['ApproximateNumberOfMessages' as const];
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames }));
    return Number(Attributes?.['ApproximateNumberOfMessages']) >= 2;
  });
  sqs.destroy();
}

function createQueueClient({ cloud }: ObservedService): SQSClient {
  const endpoint = cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '';
  return new SQSClient({ region: 'eu-west-1', credentials: cloud.credentials, endpoint });
}

function describeJob(idempotencyKey: string, fields: object): object {
  const type = { version: 1, type: 'generate', endpoint: '/v1/responses' };
  return { ...type, tenant: 'local', idempotencyKey, ...fields };
}

/** Sends messages to a queue. */
async function sendMessages(
  service: ObservedService,
  messages: readonly object[],
  queue = 'GENERATION_QUEUE_URL',
): Promise<void> {
  const sqs = createQueueClient(service);
  const QueueUrl = service.cloud.resources[queue];
  for (const each of messages) await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(each) }));
  sqs.destroy();
}

async function maintainFleet(service: ObservedService): Promise<void> {
  const { client, invoke, ecs } = service;
  await invoke('fleet', {
    ...{ source: 'aws.ec2', 'detail-type': 'EC2 Spot Instance Interruption Warning' },
    detail: { 'instance-id': 'i-0123456789abcdef0', 'instance-action': 'terminate' },
  });
  await invoke('fleet', JSON.parse(await readFile(STOPPING, 'utf8')));
  ecs.tasks.clear();
  await invoke('fleet', { source: 'aws.events', 'detail-type': 'Scheduled Event' });
  // Without a worker, hosted models answer; a job that only the fleet can run waits, and the next run starts a worker.
  for (const model of ['gpu-bedrock', 'gpu-profile', 'gpu-compatible']) {
    const { id } = await client.responses.create({ model, input: LONG, background: true });
    await waitForEnd(client, id);
  }
  await client.chat.completions.create({ model: 'gpu', messages: [{ role: 'user', content: 'Hi' }] }).catch(ignore);
  await sendMessages(service, [describeJob('order-4', { body: { model: 'gpu', input: 'Hello' }, replyTo: 'answers' })]);
  const id = deriveResponseId('local', 'order-4');
  await waitUntil('the job waits', () => client.responses.retrieve(id).catch(ignore));
  await waitForLimit(service);
  await invoke('fleet', { source: 'aws.events', 'detail-type': 'Scheduled Event' });
  await invoke('sweep', {});
  await client.responses.cancel(id);
  await invoke('sweep', {});
}

/** Sends two jobs of a project that may queue one, while no worker runs any. The second waits until its third delivery. */
async function waitForLimit(service: ObservedService): Promise<void> {
  const jobs = ['order-5', 'order-6'].map((key) => describeJob(key, { body: { model: 'gpu', input: 'Hello' } }));
  await sendMessages(
    service,
    jobs.map((job) => ({ ...job, tenant: 'intake' })),
  );
  await waitUntil('intake reads whether a limit made the message wait', () =>
    service.calls.some(
      ({ action, context }) =>
        action === 'dynamodb:GetItem' && context['dynamodb:LeadingKeys']?.some((key) => key.startsWith('wait#')),
    ),
  );
}

async function administer({ client }: ObservedService): Promise<void> {
  const { projects } = client.withOptions({ adminAPIKey: LOCAL_ADMIN_KEY }).admin.organization;
  const { id: project_id } = await projects.create({ name: 'Website' });
  await projects.update(project_id, { name: 'Shop' });
  for await (const _ of projects.list());
  const { id, api_key } = await projects.serviceAccounts.create(project_id, { name: 'web' });
  await projects.apiKeys.update(api_key?.id ?? '', { project_id, scopes: [] });
  await projects.modelPermissions.update(project_id, { mode: 'deny_list', model_ids: ['bedrock'] });
  await administerIssuers(client, project_id, id);
  await projects.serviceAccounts.delete(id, { project_id });
  await administerSenders(client, project_id);
  await projects.archive(project_id);
  await client
    .withOptions({ apiKey: LOCAL_ADMIN_KEY })
    .post('/organization/projects', { body: { name: 'Newcomer', id: 'newcomer' } });
}

async function administerIssuers(client: ObservedService['client'], project_id: string, service_account_id: string) {
  const { workloadIdentityProviders } = client.withOptions({ adminAPIKey: LOCAL_ADMIN_KEY }).admin.organization;
  const origin = { issuer: 'https://issuer.example.com', audience: 'lambent' };
  const { id } = await workloadIdentityProviders.create({ type: 'oidc', name: 'CI', ...origin });
  const matchers = { attribute_matchers: { repository_id: '74' } };
  await workloadIdentityProviders.federationRules.create(id, { ...matchers, project_id, service_account_id });
}

async function administerSenders(client: ObservedService['client'], project_id: string): Promise<void> {
  const admin = client.withOptions({ apiKey: LOCAL_ADMIN_KEY });
  const id = 'AROAEXAMPLEORDERS0001';
  await admin.post('/organization/senders', { body: { id, project_ids: [project_id] } });
  await admin.post(`/organization/senders/${id}`, { body: { messages_per_day: 5 } });
  await admin.get('/organization/senders');
  await admin.delete(`/organization/senders/${id}`);
}

async function exchangeToken(service: ObservedService): Promise<void> {
  await using issuer = await startOidcIssuer();
  const admin = service.client.withOptions({ apiKey: LOCAL_ADMIN_KEY, adminAPIKey: LOCAL_ADMIN_KEY });
  const { workloadIdentityProviders, projects } = admin.admin.organization;
  const { id: project_id } = await projects.create({ name: 'Tokens' });
  const { id: service_account_id } = await projects.serviceAccounts.create(project_id, { name: 'web' });
  const origin = { issuer: issuer.url, audience: 'lambent' };
  const { id } = await workloadIdentityProviders.create({ type: 'oidc', name: 'CI', ...origin });
  const matchers = { attribute_matchers: { sub: 'web' } };
  await workloadIdentityProviders.federationRules.create(id, { ...matchers, project_id, service_account_id });
  const account = `/organization/projects/${project_id}/service_accounts/${service_account_id}`;
  await admin.post(`${account}/policy`, { body: { ipRanges: ['127.0.0.0/8', '::1'] } });
  const token = await issuer.sign({ sub: 'web', aud: 'lambent' });
  await service.client.withOptions({ apiKey: token }).models.list();
  await service.client.post('/oauth/token', {
    body: {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    },
  });
  await projects.serviceAccounts.delete(service_account_id, { project_id });
}

/** Uses a key until the service holds it. */
async function abuseKey({ client }: ObservedService): Promise<void> {
  const admin = client.withOptions({ apiKey: LOCAL_ADMIN_KEY, adminAPIKey: LOCAL_ADMIN_KEY });
  const { projects } = admin.admin.organization;
  const { id } = await projects.create({ name: 'Abused' });
  const { api_key } = await projects.serviceAccounts.create(id, { name: 'web' });
  const path = `/organization/projects/${id}`;
  await admin.post(`${path}/policy`, { body: { abuse: { networksPerHour: 1, hold: ['networks'] } } });
  await client.withOptions({ apiKey: api_key?.value ?? '' }).models.list();
  await waitUntil('the key is held', async () => {
    const { data } = (await admin.get(`${path}/key_holds`)) as { data: readonly unknown[] };
    return data.length > 0;
  });
}

/** Waits until calls and administrative acts were recorded, and reads them. */
async function readRecorded({ client }: ObservedService): Promise<void> {
  const { usage, auditLogs } = client.withOptions({ adminAPIKey: LOCAL_ADMIN_KEY }).admin.organization;
  const start_time = Math.floor(Date.now() / 1_000) - 86_400;
  await waitUntil('acts and usage are recorded', async () => {
    const { data: acts } = await auditLogs.list();
    const { data: days } = await usage.completions({ start_time, bucket_width: '1d' });
    return acts.length > 0 && days.some(({ results }) => results.length > 0);
  });
}

async function waitForEnd(client: ObservedService['client'], id: string): Promise<void> {
  await waitUntil(`${id} has ended`, async () => {
    const response = await client.responses.retrieve(id).catch(ignore);
    return response !== undefined && !['queued', 'in_progress'].includes(response.status ?? '');
  });
}
