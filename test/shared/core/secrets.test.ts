import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createSecretResolver, isSecretReference } from '../../../shared/core/secrets.ts';

type AwsResponse = { readonly status?: number; readonly body: object; readonly waitMs?: number };
/** Responses of AWS to the next lookups. The last one is repeated. */
let responses: AwsResponse[] = [];
let calls: { target: string; body: unknown }[] = [];

/** Stand-in for both SSM and Secrets Manager, which use the same JSON protocol. */
const aws = createServer(async (request, response) => {
  let text = '';
  for await (const piece of request) text += piece;
  calls.push({ target: String(request.headers['x-amz-target']), body: JSON.parse(text) });
  const next = responses.length > 1 ? responses.shift() : responses[0];
  await sleep(next?.waitMs ?? 0);
  response.writeHead(next?.status ?? 200, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(next?.body));
});

const SAVED = { ...process.env };

beforeAll(async () => {
  aws.listen(0, '127.0.0.1');
  await once(aws, 'listening');
  const address = aws.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_SSM: url,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: url,
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  });
});
afterAll(() => {
  process.env = SAVED;
  aws.close();
  aws.closeAllConnections();
});
beforeEach(() => {
  calls = [];
});

const parameter = (value: string): AwsResponse => ({ body: { Parameter: { Name: 'n', Value: value } } });
const failure = (status: number, type: string): AwsResponse => ({ status, body: { __type: type, message: 'because' } });

async function catchError(work: Promise<string>): Promise<LambentError> {
  const outcome = await work.catch((error: unknown) => error);
  if (outcome instanceof LambentError) return outcome;
  throw new Error(`Expected a LambentError, got ${String(outcome)}`);
}

describe('an env: reference', () => {
  it('an env: reference resolves to the variable without a trailing line break', async () => {
    const resolve = createSecretResolver({ environment: { KEY: 'sk-1\n' } });
    expect(await resolve('env:KEY')).toBe('sk-1');
  });

  it.each([undefined, '', ' \n'])(
    'an env: reference to the value %j is a configuration error that names the reference',
    async (value) => {
      const resolve = createSecretResolver({ environment: { KEY: value } });
      expect(await catchError(resolve('env:KEY'))).toMatchObject({
        code: 'configuration',
        message: 'env:KEY is missing or empty',
      });
    },
  );

  it('an env: reference is resolved without a call to AWS', async () => {
    await createSecretResolver({ environment: { KEY: 'x' } })('env:KEY');
    expect(calls).toEqual([]);
  });
});

it('an invalid reference is a configuration error that does not quote it', async () => {
  const error = await catchError(createSecretResolver({ environment: {} })('sk-oops-a-key'));
  expect(error.code).toBe('configuration');
  expect(error.message).not.toContain('oops');
  expect(['env:A', 'ssm:/a/b', 'secret:a', 'sk-1', 'https://x', 'env:'].map(isSecretReference)).toEqual([
    ...[true, true, true],
    ...[false, false, false],
  ]);
});

describe('a reference to an AWS service', () => {
  it('an ssm: reference resolves to a decrypted parameter', async () => {
    responses = [parameter('sk-ssm')];
    expect(await createSecretResolver({ environment: {} })('ssm:/lambent/key')).toBe('sk-ssm');
    expect(calls).toEqual([{ target: 'AmazonSSM.GetParameter', body: { Name: '/lambent/key', WithDecryption: true } }]);
  });

  it('a secret: reference resolves to a secret string by name or ARN', async () => {
    responses = [{ body: { SecretString: 'sk-secret' } }];
    const arn = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf';
    expect(await createSecretResolver({ environment: {} })(`secret:${arn}`)).toBe('sk-secret');
    expect(calls).toEqual([{ target: 'secretsmanager.GetSecretValue', body: { SecretId: arn } }]);
  });

  it('a secret is looked up again after its time to live', async () => {
    responses = [parameter('old'), parameter('new')];
    let now = 0;
    const resolve = createSecretResolver({ environment: {}, ttlMs: 1_000, now: () => now });
    expect(await resolve('ssm:a')).toBe('old');
    now = 999;
    expect(await resolve('ssm:a')).toBe('old');
    now = 1_000;
    expect(await resolve('ssm:a')).toBe('new');
    expect(calls).toHaveLength(2);
  });

  it('a secret is looked up once for concurrent requests', async () => {
    responses = [{ ...parameter('shared'), waitMs: 50 }];
    const resolve = createSecretResolver({ environment: {} });
    expect(await Promise.all([1, 2, 3].map(() => resolve('ssm:a')))).toEqual(['shared', 'shared', 'shared']);
    expect(calls).toHaveLength(1);
  });

  it.each([
    ['ssm:a', 400, 'ParameterNotFound'],
    ['ssm:a', 400, 'AccessDeniedException'],
    ['secret:a', 400, 'ResourceNotFoundException'],
    ['secret:a', 400, 'DecryptionFailure'],
  ])(
    'a reference %s for which AWS returns %i %s is a configuration error that is not cached',
    async (reference, status, type) => {
      responses = [
        failure(status, type),
        reference.startsWith('ssm') ? parameter('fixed') : { body: { SecretString: 'fixed' } },
      ];
      const resolve = createSecretResolver({ environment: {} });
      const error = await catchError(resolve(reference));
      expect(error).toMatchObject({ code: 'configuration', message: `${reference} could not be read (${type})` });
      expect(await resolve(reference)).toBe('fixed');
    },
  );

  it('a reference to a secret without a string value is a configuration error', async () => {
    responses = [{ body: { SecretBinary: 'AAEC' } }];
    expect((await catchError(createSecretResolver({ environment: {} })('secret:binary'))).code).toBe('configuration');
  });

  it('a lookup fails with a retryable error while AWS is unavailable', async () => {
    responses = [failure(500, 'InternalServerError')];
    expect(await catchError(createSecretResolver({ environment: {} })('ssm:a'))).toMatchObject({
      code: 'upstream_unavailable',
      retryable: true,
    });
  });

  it('a secret keeps its expired value while AWS is unavailable, but not when AWS denies access', async () => {
    responses = [parameter('known'), failure(500, 'InternalServerError')];
    let now = 0;
    const resolve = createSecretResolver({ environment: {}, ttlMs: 10, now: () => now });
    await resolve('ssm:a');
    now = 10;
    expect(await resolve('ssm:a')).toBe('known');
    responses = [failure(400, 'AccessDeniedException')];
    expect((await catchError(resolve('ssm:a'))).code).toBe('configuration');
  });
});
