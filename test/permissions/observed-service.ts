import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import OpenAI from 'openai';
import { packageTemplate } from '../../infra/osls-package.ts';
import type { Template } from '../../infra/template.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { startWorkers, WORKER_DEFAULTS } from '../../local/engine/workers.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import { encodeRestrictions } from '../../shared/access/policy-schema.ts';
import { TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { createSenderItem } from '../../shared/access/senders.ts';
import { converse } from '../end-to-end/converse.ts';
import { connectToTables } from '../end-to-end/keys.ts';
import { managedFunctions } from '../lambda-mode.ts';
import { createTask, type StandInEcs, startStandInEcs } from '../shared/gpu/upkeep/stand-in-ecs.ts';
import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { startUpstream } from '../upstreams/openai-upstream.ts';
import { type AwsRequest, arn, describeCalls } from './aws-calls.ts';
import type { AwsCall, Resolve } from './policies.ts';
import { startRecorder } from './recorder.ts';

/** A call and the short name of the function that made it; undefined if no invocation is known to have made it. */
export interface ObservedCall extends AwsCall {
  readonly function: string | undefined;
}

/** The whole service with a model of every provider, packaged for the models that it has. */
export interface ObservedService extends AsyncDisposable {
  readonly cloud: Cloud;
  readonly client: OpenAI;
  /** A client of a tenant that has stored nothing yet. */
  readonly newcomer: OpenAI;
  /** A client whose key has a guardrail. */
  readonly guarded: OpenAI;
  readonly ecs: StandInEcs;
  /** The packaged template, for this service's stage and models. */
  readonly template: Template;
  /** Returns the values that the template's references have in this service. */
  readonly resolve: Resolve;
  /** All calls to AWS that functions have made. */
  readonly calls: readonly ObservedCall[];
  /** Lets the model `compatible` answer requests that contain `wait`. */
  release(): void;
  /** Invokes a function, and returns its response. */
  invoke(name: string, event: object): Promise<string>;
}

const GPU_KEY = 'engine-key';
const EMBEDDINGS = { body: { object: 'list', data: [{ object: 'embedding', index: 0, embedding: [0.5] }] } };

/** Starts the service. Every call of its functions to AWS is recorded. */
export async function startObservedService(): Promise<ObservedService> {
  const open = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-grants-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const gate = Promise.withResolvers<void>();
  const upstream = open.use(
    await startUpstream(async ({ body }) => {
      const question = JSON.stringify(body);
      if (question.includes('fail')) return { status: 400, body: { error: { message: 'no', type: 'invalid' } } };
      if (question.includes('wait')) await gate.promise;
      return question.includes('"input"') ? EMBEDDINGS : replyAsChatModel(body);
    }),
  );
  const workers = open.adopt(await startWorkers({ count: 1, apiKey: GPU_KEY, speed: 0.2 }), (each) => each.close());
  const ecs = open.use(await startStandInEcs());
  const task = createTask('w1');
  ecs.tasks.set(task.taskArn, task);
  ecs.instances.set(task.containerInstanceArn, 'i-0123456789abcdef0');
  const models = join(folder, 'models.json');
  await writeFile(
    models,
    JSON.stringify(describeModels(upstream.baseUrl, new URL(workers.workers[0]?.url ?? '').port)),
  );

  const calls: ObservedCall[] = [];
  const callers = new Map<string, string>();
  let cloud: Cloud | undefined;
  const observe = (request: AwsRequest, invocation: string): void => {
    const running = cloud?.processes().find(({ requestIds }) => requestIds.includes(invocation));
    if (running !== undefined) callers.set(invocation, running.function);
    calls.push(...describeCalls(request).map((each) => ({ ...each, function: callers.get(invocation) })));
  };
  const endpoint = (name: string) => new URL(cloud?.endpoints[`AWS_ENDPOINT_URL_${name}`] ?? '');
  const recorder = open.use(
    await startRecorder(
      {
        bedrock: () => endpoint('BEDROCK_RUNTIME'),
        ecs: () => new URL(ecs.url),
        lambda: ({ path }) =>
          path.includes('event-source-mappings')
            ? { UUID: 'mapping', ScalingConfig: { MaximumConcurrency: 1_000 } }
            : endpoint('LAMBDA'),
        secretsmanager: () => ({ SecretString: 'upstream-key' }),
        ssm: () => ({ Parameter: { Value: GPU_KEY } }),
      },
      observe,
    ),
  );
  const observed = ['BEDROCK_RUNTIME', 'ECS', 'LAMBDA', 'SECRETS_MANAGER', 'SSM'];
  cloud = await startCloud({
    stateDir: join(folder, 'state'),
    bedrock: converse,
    guardrails: { guardrail2: () => ({ words: [] }) },
    schedules: false,
    managedFunctions: managedFunctions(),
    environment: {
      ...Object.fromEntries(observed.map((name) => [`AWS_ENDPOINT_URL_${name}`, recorder.url])),
      ...{ MODELS_FILE: models, TIMINGS_DIVISOR: '6', GPU_MAPPING_ID: 'mapping', DISPATCH_CONCURRENCY_MAX: '10' },
      WARM_TARGETS: JSON.stringify(
        ['authorize', 'chat', 'sessions', 'responses'].map((name) => ({
          functionName: `lambent-local-${name}`,
          concurrency: 1,
        })),
      ),
    },
    faults: {
      seed: 1,
      onExchange: ({ requestId, request, ...exchange }) => {
        // Event source mappings send requests without an invocation's id, with Lambda's own permissions to the queue.
        if (requestId !== '') observe({ ...exchange, body: String(request) }, requestId);
      },
    },
  });
  open.defer(() => cloud.close());
  await addTenants(cloud);
  const replyQueues = `replyQueues={"answers":"https://sqs.eu-west-1.amazonaws.com/000000000000/lambent-local-reply-answers"}`;
  const template = await packageTemplate(
    await mkdtemp(join(folder, 'package-')),
    ['--stage', 'local', '--param', replyQueues],
    models,
  );
  return {
    cloud,
    client: new OpenAI({ baseURL: cloud.url, apiKey: 'sk-local', maxRetries: 0 }),
    newcomer: new OpenAI({ baseURL: cloud.url, apiKey: 'sk-newcomer', maxRetries: 0 }),
    guarded: new OpenAI({ baseURL: cloud.url, apiKey: 'sk-guarded', maxRetries: 0 }),
    ecs,
    template,
    resolve: createResolver(template, cloud),
    calls,
    release: gate.resolve,
    async invoke(name, event) {
      return text((await cloud.invoke(name, JSON.stringify(event))).body);
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Returns a registry with every kind of target that needs a permission. */
function describeModels(upstreamUrl: string, enginePort: string): object {
  const gpu = { provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: 'qwen' };
  const upstream = { provider: 'openai-compatible', model: 'upstream', baseUrl: upstreamUrl };
  const guardrail = { id: 'guardrail1', version: '1' };
  return {
    models: {
      bedrock: { targets: [{ provider: 'bedrock', model: 'amazon.nova-lite-v1:0' }] },
      profile: { targets: [{ provider: 'bedrock', model: 'eu.amazon.nova-pro-v1:0', guardrail }] },
      compatible: { targets: [{ ...upstream, apiKey: 'secret:lambent/upstream' }] },
      gpu: { targets: [gpu] },
      'bedrock-embeddings': {
        targets: [{ provider: 'bedrock', model: 'amazon.titan-embed-text-v2:0' }],
        embeddings: {},
      },
      'compatible-embeddings': { targets: [{ ...upstream, apiKey: 'secret:lambent/upstream' }], embeddings: {} },
      'gpu-embeddings': { targets: [gpu], embeddings: {} },
      ...Object.fromEntries(
        ['bedrock', 'profile', 'compatible'].map((hosted) => [
          `gpu-${hosted}`,
          { targets: [gpu], fallbacks: [hosted] },
        ]),
      ),
    },
    guardrails: { strict: { id: 'guardrail2', version: '1' } },
    moderations: {
      'omni-moderation-latest': { guardrail: 'strict' },
      endpoint: { model: 'upstream', baseUrl: upstreamUrl, apiKey: 'secret:lambent/moderation' },
    },
    fleets: {
      qwen: {
        ecs: { cluster: 'gpu', service: 'qwen', port: Number(enginePort) },
        ...{ apiKey: 'ssm:/lambent/gpu-key', slots: 2, waitMs: 3_000 },
        scaling: { tokensPerSecond: 8000, minWorkers: 0, maxWorkers: 4 },
      },
    },
  };
}

/** Adds a key of the tenant `newcomer` and one with a guardrail, and lets the local sender send for the tenant `intake`, under a limit. */
async function addTenants(cloud: Cloud): Promise<void> {
  const table = connectToTables(cloud);
  const TableName = cloud.resources['ACCESS_TABLE'] ?? '';
  const rights = { keyId: 'test', scopes: TENANT_SCOPES };
  // It expires soon, so that the authorizer records a warning.
  const expiresAt = Math.floor(Date.now() / 1000) + 86_400;
  const key = createKeyItem('sk-newcomer', { ...rights, tenant: 'newcomer', expiresAt });
  const policy = encodeRestrictions('key', { guardrail: { name: 'strict' } });
  const guarded = createKeyItem('sk-guarded', { ...rights, tenant: 'local', policy });
  const sender = createSenderItem('000000000000', {
    ...{ ...rights, tenants: ['local', 'intake'], replyQueues: ['*'] },
    limits: { messagesPerDay: 1_000 },
  });
  for (const Item of [key, guarded, sender]) await table.send(new PutItemCommand({ TableName, Item }));
  table.destroy();
}

function createResolver({ Resources }: Template, { resources }: Cloud): Resolve {
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Partition': 'aws',
    'AWS::Region': 'eu-west-1',
    'AWS::AccountId': '000000000000',
    DataKey: arn('kms', 'key/data'),
    Bucket: `arn:aws:s3:::${resources['BUCKET']}`,
    AuditBucket: `arn:aws:s3:::${resources['AUDIT_BUCKET']}`,
    AuditKey: arn('kms', `key/${resources['AUDIT_KEY_ID']?.replace(/^.*\//, '')}`),
    DispatchEventSourceMappingSQSGpuQueue: 'mapping',
  };
  return (reference) => {
    const id = reference.replace(/\.Arn$/, '');
    const { TableName, QueueName, FunctionName, LogGroupName } = Object(Resources[id]?.Properties);
    if (pseudo[id] !== undefined) return pseudo[id];
    if (TableName !== undefined) return arn('dynamodb', `table/${TableName}`);
    if (QueueName !== undefined) return arn('sqs', QueueName);
    if (FunctionName !== undefined) return arn('lambda', `function:${FunctionName}`);
    if (LogGroupName !== undefined) return arn('logs', `log-group:${LogGroupName}`);
    throw new Error(`${reference} has no value in the local cloud`);
  };
}
