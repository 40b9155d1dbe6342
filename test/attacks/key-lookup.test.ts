import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  startTestEnvironment,
  type TestEnvironment,
} from '../functions/test-environment.ts';

let testEnvironment: TestEnvironment;
let authorize: Handler;
/** The bodies of all requests that leave the authorizer. */
const sent: string[] = [];
/** Passes requests on to DynamoDB. */
const proxy = createServer(async (request, response) => {
  const body = await buffer(request);
  sent.push(`${request.url} ${JSON.stringify(request.rawHeaders)} ${body}`);
  const headers = Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
    typeof value === 'string' && name !== 'host' && name !== 'content-length' ? [[name, value]] : [],
  );
  const answer = await fetch(testEnvironment.services.urls.dynamodb, { method: 'POST', headers, body });
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
  response.end(await answer.text());
});
const KEY = 'sk-SecretOfTheKey0123456789';

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  const Item = createKeyItem(KEY, { tenant: 'acme', keyId: 'acme-1', scopes: ['generate'] });
  await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port');
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', `http://127.0.0.1:${address.port}`);
  authorize = await import('../../functions/authorize.ts').then(getHandler);
});
const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
afterAll(async () => {
  write.mockRestore();
  vi.unstubAllEnvs();
  proxy.close();
  await testEnvironment[Symbol.asyncDispose]();
});

async function decide(key: string): Promise<string> {
  const headers = { Authorization: `Bearer ${key}` };
  const result = await authorize(
    {
      ...{
        type: 'REQUEST',
        resource: '/v1/responses',
        headers,
        multiValueHeaders: { Authorization: [`Bearer ${key}`] },
      },
      methodArn: 'arn:aws:execute-api:eu-west-1:000000000000:api/test/POST/v1/responses',
    },
    makeContext(),
  );
  return JSON.stringify(result);
}

/** The key, and whatever of it could find or confirm the rest. */
const PARTS = [
  KEY,
  KEY.slice(3),
  'SecretOfTheKey',
  Buffer.from(KEY).toString('base64'),
  Buffer.from(KEY).toString('hex'),
];

it('a key leaves the authorizer as its hash alone, so that no comparison of keys can be timed', async () => {
  const hash = createHash('sha256').update(KEY).digest('hex');
  sent.length = 0;
  const result = await decide(KEY);
  expect(result).toContain('"Effect":"Allow"');
  expect(sent.length).toBeGreaterThan(0);
  expect(sent.filter((request) => request.includes(`key#${hash}`))).toHaveLength(1);
  const traces = [...sent, result, ...write.mock.calls.map(([text]) => String(text))];
  for (const part of PARTS) expect(traces.filter((trace) => trace.includes(part))).toEqual([]);
});

it('a key that shares a beginning with a real one makes the same requests as any other unknown key', async () => {
  const listRequests = async (key: string) => {
    sent.length = 0;
    expect(await decide(key)).toContain('"Effect":"Deny"');
    return sent.map((request) => request.replace(/^.*?\] /, '').replace(/key#[0-9a-f]{64}/, 'key#…'));
  };
  const near = await listRequests(`${KEY.slice(0, -1)}8`);
  expect(near).toEqual(await listRequests('sk-nothing'));
  expect(near.join()).toContain('key#…');
});
