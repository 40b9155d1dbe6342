import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import { createSecretResolver, isSecretReference } from '../../../shared/core/secrets.ts';

/** What AWS answers to the next look-ups, the last one for ever. */
type AwsAnswer = { readonly status?: number; readonly body: object; readonly waitMs?: number };
let answers: AwsAnswer[] = [];
let asked: { target: string; body: unknown }[] = [];

/** SSM and Secrets Manager speak the same JSON protocol: one server stands for both. */
const aws = createServer(async (request, response) => {
  let text = '';
  for await (const piece of request) text += piece;
  asked.push({ target: String(request.headers['x-amz-target']), body: JSON.parse(text) });
  const answer = answers.length > 1 ? answers.shift() : answers[0];
  await sleep(answer?.waitMs ?? 0);
  response.writeHead(answer?.status ?? 200, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(answer?.body));
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
  asked = [];
});

const parameter = (value: string): AwsAnswer => ({ body: { Parameter: { Name: 'n', Value: value } } });
const failure = (status: number, type: string): AwsAnswer => ({ status, body: { __type: type, message: 'because' } });

async function errorOf(work: Promise<string>): Promise<LambentError> {
  const outcome = await work.catch((error: unknown) => error);
  if (outcome instanceof LambentError) return outcome;
  throw new Error(`Expected a LambentError, got ${String(outcome)}`);
}

describe('an env: reference', () => {
  it('is the variable, without the line break that a file leaves behind', async () => {
    const resolve = createSecretResolver({ environment: { KEY: 'sk-1\n' } });
    expect(await resolve('env:KEY')).toBe('sk-1');
  });

  it.each([undefined, '', ' \n'])('to %j is a configuration error that names it', async (value) => {
    const resolve = createSecretResolver({ environment: { KEY: value } });
    expect(await errorOf(resolve('env:KEY'))).toMatchObject({
      code: 'configuration',
      message: 'env:KEY is missing or empty',
    });
  });

  it('asks nobody', async () => {
    await createSecretResolver({ environment: { KEY: 'x' } })('env:KEY');
    expect(asked).toEqual([]);
  });
});

it('what is no reference is refused without being quoted', async () => {
  const error = await errorOf(createSecretResolver({ environment: {} })('sk-oops-a-key'));
  expect(error.code).toBe('configuration');
  expect(error.message).not.toContain('oops');
  expect(['env:A', 'ssm:/a/b', 'secret:a', 'sk-1', 'https://x', 'env:'].map(isSecretReference)).toEqual([
    ...[true, true, true],
    ...[false, false, false],
  ]);
});

describe('a reference to AWS', () => {
  it('ssm: is a parameter, decrypted', async () => {
    answers = [parameter('sk-ssm')];
    expect(await createSecretResolver({ environment: {} })('ssm:/lambent/key')).toBe('sk-ssm');
    expect(asked).toEqual([{ target: 'AmazonSSM.GetParameter', body: { Name: '/lambent/key', WithDecryption: true } }]);
  });

  it('secret: is a secret’s string, by name or by ARN', async () => {
    answers = [{ body: { SecretString: 'sk-secret' } }];
    const arn = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf';
    expect(await createSecretResolver({ environment: {} })(`secret:${arn}`)).toBe('sk-secret');
    expect(asked).toEqual([{ target: 'secretsmanager.GetSecretValue', body: { SecretId: arn } }]);
  });

  it('is asked once per time to live, and again after it', async () => {
    answers = [parameter('old'), parameter('new')];
    let now = 0;
    const resolve = createSecretResolver({ environment: {}, ttlMs: 1_000, now: () => now });
    expect(await resolve('ssm:a')).toBe('old');
    now = 999;
    expect(await resolve('ssm:a')).toBe('old');
    now = 1_000;
    expect(await resolve('ssm:a')).toBe('new');
    expect(asked).toHaveLength(2);
  });

  it('is asked once by all who ask at the same time', async () => {
    answers = [{ ...parameter('shared'), waitMs: 50 }];
    const resolve = createSecretResolver({ environment: {} });
    expect(await Promise.all([1, 2, 3].map(() => resolve('ssm:a')))).toEqual(['shared', 'shared', 'shared']);
    expect(asked).toHaveLength(1);
  });

  it.each([
    ['ssm:a', 400, 'ParameterNotFound'],
    ['ssm:a', 400, 'AccessDeniedException'],
    ['secret:a', 400, 'ResourceNotFoundException'],
    ['secret:a', 400, 'DecryptionFailure'],
  ])(
    '%s that AWS answers with %i %s is the operator’s to mend, and asked again the next time',
    async (reference, status, type) => {
      answers = [
        failure(status, type),
        reference.startsWith('ssm') ? parameter('mended') : { body: { SecretString: 'mended' } },
      ];
      const resolve = createSecretResolver({ environment: {} });
      const error = await errorOf(resolve(reference));
      expect(error).toMatchObject({ code: 'configuration', message: `${reference} could not be read (${type})` });
      expect(await resolve(reference)).toBe('mended');
    },
  );

  it('that has no string value is a configuration error', async () => {
    answers = [{ body: { SecretBinary: 'AAEC' } }];
    expect((await errorOf(createSecretResolver({ environment: {} })('secret:binary'))).code).toBe('configuration');
  });

  it('that AWS can’t answer for the moment is worth another try', async () => {
    answers = [failure(500, 'InternalServerError')];
    expect(await errorOf(createSecretResolver({ environment: {} })('ssm:a'))).toMatchObject({
      code: 'upstream_unavailable',
      retryable: true,
    });
  });

  it('goes on with its last value while AWS can’t answer, but not when AWS says no', async () => {
    answers = [parameter('known'), failure(500, 'InternalServerError')];
    let now = 0;
    const resolve = createSecretResolver({ environment: {}, ttlMs: 10, now: () => now });
    await resolve('ssm:a');
    now = 10;
    expect(await resolve('ssm:a')).toBe('known');
    answers = [failure(400, 'AccessDeniedException')];
    expect((await errorOf(resolve('ssm:a'))).code).toBe('configuration');
  });
});
