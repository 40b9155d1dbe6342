import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../shared/access/api-key.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { createSenderItem } from '../../shared/access/senders.ts';
import { deriveResponseId } from '../../shared/api/queue-message.ts';
import { PUBLIC_ROUTES } from '../../shared/api/route-table.ts';
import { findByType, listFunctions } from '../infra/packaged.ts';
import { startUpstream, type Upstream } from '../upstreams/openai-upstream.ts';
import { waitUntil } from '../wait.ts';
import { type DeployedStage, deployStage } from './deployed-stage.ts';
import { HAS_PYTHON } from './moto.ts';

/** The sender of all messages in moto. */
const MOTO_SENDER = 'AIDAIT2UOQQY3AUEKVGXU';

describe.skipIf(!HAS_PYTHON)('a stage that was deployed to moto', () => {
  let upstream: Upstream;
  let stage: DeployedStage;
  let client: OpenAI;
  beforeAll(async () => {
    upstream = await startUpstream();
    const target = { provider: 'openai-compatible', model: 'upstream', baseUrl: upstream.baseUrl };
    stage = await deployStage({ models: { default: { targets: [target] } } });
    const table = new DynamoDBClient(stage.clientConfig);
    const rights = { keyId: 'test', scopes: TENANT_SCOPES };
    const apiKey = generateKey('project');
    const key = createKeyItem(apiKey, { ...rights, tenant: 'acme' });
    const sender = createSenderItem(MOTO_SENDER, { ...rights, tenants: ['acme'], replyQueues: [] });
    for (const Item of [key, sender]) await table.send(new PutItemCommand({ TableName: 'lambent-dev-access', Item }));
    table.destroy();
    client = new OpenAI({ baseURL: stage.url, apiKey, maxRetries: 0 });
  });
  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]();
    await upstream?.close();
  });

  const model = 'default';

  it('each function has its zip, memory, timeout and variables without unresolved references', () => {
    const packaged = listFunctions(stage.packaged.template);
    expect(stage.functions.map(({ functionName }) => functionName).toSorted()).toEqual(
      packaged.map(({ properties }) => properties['FunctionName']).toSorted(),
    );
    for (const { properties } of packaged) {
      const { FunctionName, MemorySize, Timeout, Handler, Environment } = Object(properties);
      const deployed = stage.functions.find(({ functionName }) => functionName === FunctionName);
      expect(deployed).toMatchObject({ handler: Handler, memoryMb: MemorySize, timeoutSeconds: Timeout });
      expect(Object.keys(deployed?.variables ?? {}).toSorted()).toEqual(Object.keys(Environment.Variables).toSorted());
      for (const value of Object.values(deployed?.variables ?? {})) expect(value).not.toMatch(/\$\{|Fn::|undefined/);
    }
  });

  it('the API has every packaged route, behind the authorizer, and streams', () => {
    const methods = findByType(stage.packaged.template, 'AWS::ApiGateway::Method');
    const withBackend = methods.filter(({ properties }) => Object(properties['Integration']).Type !== 'MOCK');
    expect(stage.api.routes).toHaveLength(withBackend.length);
    const publicRoutes: readonly string[] = PUBLIC_ROUTES;
    for (const route of stage.api.routes) {
      if (publicRoutes.includes(`${route.method} ${route.resource}`)) {
        expect(route.authorizer, route.resource).toBeUndefined();
        continue;
      }
      expect(route, route.resource).toMatchObject({
        streamed: true,
        authorizer: { function: 'lambent-dev-authorize', identityHeaders: ['authorization'], ttlMs: 30_000 },
      });
    }
  });

  it('each queue is mapped to its function, and failed messages are reported one by one', () => {
    const queue = (name: string) => `arn:aws:sqs:eu-west-1:123456789012:lambent-dev-${name}`;
    expect(stage.mappings.toSorted((one, other) => one.queueArn.localeCompare(other.queueArn))).toEqual([
      { functionName: 'lambent-dev-intake', queueArn: queue('generation'), batchSize: 10, partialFailures: true },
      { functionName: 'lambent-dev-dispatch', queueArn: queue('gpu'), batchSize: 10, partialFailures: true },
      { functionName: 'lambent-dev-generate', queueArn: queue('jobs'), batchSize: 4, partialFailures: true },
    ]);
  });

  it('a chat is answered, streamed and in one piece', async () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    const { choices } = await client.chat.completions.create({ model, messages });
    expect(choices[0]?.message.content).toBe('You said: Hello');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
      text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe('You said: Hello');
    const stranger = new OpenAI({ baseURL: stage.url, apiKey: 'sk-other', maxRetries: 0 });
    // API Gateway's own status for a denial. The template makes it 401, but moto has no gateway responses.
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 403 });
  });

  it('a background response is queued, generated and retrieved', async () => {
    const { id } = await client.responses.create({ model, input: 'Hello', background: true });
    expect(await waitForEnd(id)).toMatchObject({ status: 'completed', output_text: 'You said: Hello' });
  });

  it('a message on the generation queue becomes a job that is completed', async () => {
    const sqs = new SQSClient(stage.clientConfig);
    const type = { version: 1, type: 'generate', tenant: 'acme', endpoint: '/v1/responses' };
    const message = { ...type, idempotencyKey: 'order-1', body: { model, input: 'Hello from SQS' } };
    const QueueUrl = stage.functions.find(({ functionName }) => functionName === 'lambent-dev-intake')?.variables[
      'GENERATION_QUEUE_URL'
    ];
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(message) }));
    sqs.destroy();
    const ended = await waitForEnd(deriveResponseId('acme', 'order-1'));
    expect(ended).toMatchObject({ status: 'completed', output_text: 'You said: Hello from SQS' });
  });

  it('a conversation keeps its turns', async () => {
    const { id } = await client.conversations.create();
    await client.responses.create({ model, input: 'Hello', conversation: id });
    const items = await client.conversations.items.list(id);
    expect(items.data).toHaveLength(2);
    await client.conversations.delete(id);
  });

  /** Waits until a response has ended, and returns it. It is not found until its message has become a job. */
  function waitForEnd(id: string): Promise<OpenAI.Responses.Response> {
    return waitUntil(`${id} has ended`, async () => {
      const response = await client.responses.retrieve(id).catch(() => undefined);
      return response !== undefined && !['queued', 'in_progress'].includes(response.status ?? '') && response;
    });
  }
});
