import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { APIGatewayAuthorizerResult } from 'aws-lambda';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FaultProxy, startFaultProxy } from '../../local/faults/proxy.ts';
import { generateKey } from '../../shared/access/api-key.ts';
import { createKeyItem, getKeyPartition } from '../../shared/access/keys.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let authorize: Handler;
/** Counts the requests to DynamoDB. */
let counter: FaultProxy;
/** The operations and bodies of these requests since the test began. */
let requests: { readonly operation: string; readonly body: string }[] = [];

/** Whether DynamoDB refuses to record warnings. */
let refuseUpdates = false;

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  counter = await startFaultProxy({
    service: 'dynamodb',
    target: testEnvironment.services.urls.dynamodb,
    random: () => 0,
    rewrite: (body) => (refuseUpdates && body.includes('warnedOn') ? Buffer.from('{}') : body),
    onExchange: ({ target, request }) => {
      requests.push({ operation: target.split('.')[1] ?? '', body: String(request) });
    },
  });
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  vi.stubEnv('CUSTOM_KEYS', 'false');
  vi.stubEnv('LOG_LEVEL', 'info');
  vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', counter.url);
  authorize = await import('../../functions/authorize.ts').then(getHandler);
});
/** The log. */
const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
beforeEach(() => {
  requests = [];
  write.mockClear();
});
afterAll(async () => {
  write.mockRestore();
  vi.unstubAllEnvs();
  await counter.close();
  await testEnvironment[Symbol.asyncDispose]();
});

async function decide(key: string): Promise<string | undefined> {
  const event = {
    type: 'REQUEST',
    resource: '/v1/responses',
    methodArn: 'arn:aws:execute-api:eu-west-1:000000000000:api/test/POST/v1/responses',
    headers: { authorization: `Bearer ${key}` },
  };
  const { policyDocument } = (await authorize(event, makeContext())) as APIGatewayAuthorizerResult;
  return policyDocument.Statement[0]?.Effect;
}

/** Stores a key of the tenant `acme`. */
async function storeKey(key: string, expiresAt?: number): Promise<void> {
  const expiry = expiresAt === undefined ? {} : { expiresAt };
  const Item = createKeyItem(key, { tenant: 'acme', keyId: 'web', scopes: ['generate'], ...expiry });
  await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
}

describe('the form of a key', () => {
  it.each(['sk-local', 'sk-proj-short', `sk-proj-${'a'.repeat(49)}`, `sk-${'g'.repeat(64)}`, 'undefined'])(
    'the authorizer refuses the key %s without a request to DynamoDB',
    async (key) => {
      await storeKey(key);
      expect(await decide(key)).toBe('Deny');
      expect(requests).toEqual([]);
    },
  );

  it.each([generateKey('project'), generateKey('serviceAccount'), `sk-${'0'.repeat(64)}`])(
    'the authorizer looks the key %s up, and then what restricts it',
    async (key) => {
      expect(await decide(key)).toBe('Deny');
      expect(requests.map(({ operation }) => operation)).toEqual(['GetItem']);
      expect(requests[0]?.body).toContain(getKeyPartition(key));
      await storeKey(key);
      expect(await decide(key)).toBe('Allow');
      expect(requests).toHaveLength(1 + 4);
    },
  );
});

describe('the warning before a key expires', () => {
  const DAY_SECONDS = 86_400;
  const inDays = (days: number) => Math.floor(Date.now() / 1000) + days * DAY_SECONDS;
  const readLines = () =>
    write.mock.calls
      .flatMap(([text]) => String(text).split('\n'))
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  const findActs = () => readLines().filter(({ record }) => record === 'act');

  it('a key that expires within seven days is logged and counted once a day', async () => {
    const key = generateKey('project');
    const expiresAt = inDays(6);
    await storeKey(key, expiresAt);
    expect(await decide(key)).toBe('Allow');
    expect(findActs()).toEqual([
      expect.objectContaining({ act: 'api_key.expiring', objectId: 'web', project: 'acme', level: 'info' }),
    ]);
    expect(JSON.parse(findActs()[0].details)).toEqual({ expires_at: expiresAt });
    expect(readLines().filter(({ KeysExpiring }) => KeysExpiring === 1)).toHaveLength(1);
    expect(JSON.stringify(readLines())).not.toContain(key);
    expect(await decide(key)).toBe('Allow');
    expect(findActs()).toHaveLength(1);
    expect(requests.filter(({ operation }) => operation === 'UpdateItem')).toHaveLength(1);
  });

  it('a key that expires later, or never, costs no write', async () => {
    for (const expiresAt of [inDays(8), undefined]) {
      const key = generateKey('project');
      await storeKey(key, expiresAt);
      expect(await decide(key)).toBe('Allow');
    }
    expect(findActs()).toEqual([]);
    expect(requests.filter(({ operation }) => operation !== 'GetItem')).toEqual([]);
  });

  it('a key works although the warning could not be recorded', async () => {
    const key = generateKey('project');
    await storeKey(key, inDays(1));
    refuseUpdates = true;
    expect(await decide(key)).toBe('Allow');
    refuseUpdates = false;
    expect(findActs()).toEqual([]);
    expect(readLines()).toContainEqual(expect.objectContaining({ message: 'expiry warning not recorded' }));
    expect(await decide(key)).toBe('Allow');
    expect(findActs()).toHaveLength(1);
  });
});
