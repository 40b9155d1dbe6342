import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createReferences } from '../../../local/service/references.ts';
import { loadService } from '../../../local/service/service.ts';
import { BUNDLES, closeAfterwards, useCleanup } from '../runners.ts';

useCleanup();

const ROOT = resolve(import.meta.dirname, '../fixtures/service');
const load = (root = ROOT) => loadService({ root, stage: 'local', bundlesDir: BUNDLES });

/** Copies the fixture, and replaces `from` with `to` in the copy. */
async function copyWithChange(from: string, to: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(root, { recursive: true }) });
  await cp(join(ROOT, 'serverless.yml'), join(root, 'serverless.yml'));
  await change(root, from, to);
  return root;
}

async function change(root: string, from: string, to: string): Promise<void> {
  const yaml = await readFile(join(root, 'serverless.yml'), 'utf8');
  expect(yaml).toContain(from);
  await writeFile(join(root, 'serverless.yml'), yaml.replace(from, to));
}

describe('loadService', () => {
  it('loadService returns functions, schedules and event sources with the settings of the stage', async () => {
    const service = await load();
    expect(service).toMatchObject({ name: 'fixture', stage: 'local', region: 'eu-central-1' });
    const [authorizer, echo] = service.functions;
    expect(authorizer).toEqual({
      name: 'authorizer',
      functionName: 'fixture-local-authorizer',
      taskRoot: join(BUNDLES, 'authorizer'),
      handler: 'index.handler',
      timeoutMs: 20_000,
      memoryMb: 256,
      background: false,
      environment: { COLOR: 'red' },
    });
    expect(echo).toMatchObject({ timeoutMs: 10_000, memoryMb: 1024, reservedConcurrency: 3 });
    expect(service.functions.filter(({ background }) => background).map(({ name }) => name)).toEqual(['queue']);
    expect(service.schedules).toEqual([{ function: 'echo', expression: 'rate(2 hours)', input: undefined }]);
    expect(service.eventSources).toEqual([
      {
        function: 'queue',
        arn: { 'Fn::GetAtt': ['WorkQueue', 'Arn'] },
        batchSize: 5,
        windowMs: 1_000,
        partialFailures: true,
        maximumConcurrency: 2,
      },
    ]);
  });

  it('loadService returns the routes with their authorizers and CORS preflight', async () => {
    const { routes } = await load();
    const authorizer = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 30_000 };
    expect(routes).toEqual([
      {
        kind: 'function',
        method: 'GET',
        resource: '/items/{id}',
        function: 'echo',
        streamed: false,
        timeoutMs: 29_000,
        authorizer,
      },
      { kind: 'function', method: 'ANY', resource: '/items', function: 'echo', streamed: false, timeoutMs: 5_000 },
      {
        kind: 'function',
        method: 'POST',
        resource: '/stream',
        function: 'stream',
        streamed: true,
        timeoutMs: 29_000,
        authorizer,
      },
      {
        kind: 'mock',
        method: 'OPTIONS',
        resource: '/items/{id}',
        headers: {
          'Access-Control-Allow-Origin': 'https://app.test',
          'Access-Control-Allow-Headers': 'authorization',
          'Access-Control-Allow-Methods': 'OPTIONS,GET',
          'Access-Control-Max-Age': '60',
        },
        body: '',
      },
    ]);
  });

  it("loadService returns API Gateway's error responses with the CORS header that browsers require", async () => {
    expect((await load()).gatewayResponses).toEqual([
      {
        responseType: 'UNAUTHORIZED',
        statusCode: 401,
        templates: { 'application/json': '{"error":"who are you?"}' },
        parameters: {
          'gatewayresponse.header.x-request-id': 'context.requestId',
          'gatewayresponse.header.access-control-allow-origin': "'https://app.test'",
        },
      },
    ]);
  });

  it('loadService reads serverless.yml again after it changes', async () => {
    const root = await copyWithChange('timeout: 10', 'timeout: 11');
    expect((await load(root)).functions[1]?.timeoutMs).toBe(11_000);
    await change(root, 'timeout: 11', 'timeout: 120');
    expect((await load(root)).functions[1]?.timeoutMs).toBe(120_000);
  });

  it.each([
    {
      setting: 'an undefined variable',
      from: 'param:color',
      to: 'param:colour',
      message: 'provider.environment.COLOR',
    },
    {
      setting: 'a cached authorizer without an identity source',
      from: 'identitySource: method.request.header.Authorization',
      to: '',
      message: 'identity source',
    },
    { setting: 'an unsupported authorizer type', from: 'type: request', to: 'type: token', message: 'authorizer' },
    {
      setting: 'an identity source that is not a header',
      from: 'method.request.header.Authorization',
      to: 'method.request.querystring.key',
      message: 'must name headers only',
    },
    {
      setting: 'message filters',
      from: 'enabled: false\n\nresources',
      to: 'filterPatterns: []\n\nresources',
      message: 'filterPatterns',
    },
    {
      setting: 'a large batch without a batching window',
      from: 'batchSize: 5\n          maximumBatchingWindow: 1',
      to: 'batchSize: 50',
      message: 'window',
    },
    {
      setting: 'an unsupported route setting',
      from: 'timeoutInMillis: 5000',
      to: 'private: true',
      message: 'private',
    },
  ])('loadService rejects $setting with an error that names it', async ({ from, to, message }) => {
    const root = await copyWithChange(from, to);
    await expect(load(root)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining(message),
    });
  });
});

describe('createReferences', () => {
  it('a reference resolves to the local name, ARN or URL of the resource', async () => {
    const service = await load();
    const references = createReferences(service, 'http://127.0.0.1:9');
    const environment = service.functions[1]?.environment;
    expect(references.resolve(environment, 'functions.echo.environment')).toEqual({
      COLOR: 'red',
      TABLE: 'fixture-local-items',
      TABLE_ARN: 'arn:aws:dynamodb:eu-central-1:000000000000:table/fixture-local-items',
      QUEUE: 'http://127.0.0.1:9/000000000000/fixture-work',
      NAMED: 'eu-central-1/fixture-work',
      JOINED: '000000000000-fixture-local-echo',
      COUNT: '7',
    });
    expect(references.getName('DeadQueue')).toBe('fixture-local-DeadQueue');
    expect(references.getName('BodiesBucket')).toBe('fixture-local-bodiesbucket');
  });

  it.each([
    { value: { Ref: 'Missing' }, reference: 'Missing' },
    { value: { 'Fn::GetAtt': ['ItemsTable', 'StreamArn'] }, reference: 'ItemsTable.StreamArn' },
    { value: { 'Fn::ImportValue': 'x' }, reference: 'Fn::ImportValue' },
    { value: { 'Fn::Sub': `a $${'{Unauthorized}'}` }, reference: 'Unauthorized' },
  ])('a reference without a local value is an error that names it: $reference', async ({ value, reference }) => {
    const references = createReferences(await load(), 'http://127.0.0.1:9');
    expect(() => references.resolve({ TABLE: value }, 'functions.echo.environment')).toThrow(
      `functions.echo.environment: the local cloud has no value for ${reference}`,
    );
  });
});
