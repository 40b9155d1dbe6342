import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addTenant } from '../end-to-end/keys.ts';
import { type Service, startService } from '../end-to-end/service.ts';
import { waitUntil } from '../wait.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
  await addTenant(service.cloud, 'victim');
  await addTenant(service.cloud, 'slow');
});
afterAll(() => service[Symbol.asyncDispose]());

const HOST = 'host-of-the-service';
const OWN = 'Authorization: Bearer sk-local\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';
/** A request of the victim, which no one but the victim may send. */
const SMUGGLED = `GET /v1/models HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer sk-victim\r\nConnection: close\r\n\r\n`;

/** Sends bytes on a connection of their own, for this server's host, and returns all that comes back until it is closed. */
function exchange(bytes: string): Promise<string> {
  const { port, host } = new URL(service.cloud.url);
  return new Promise((resolve) => {
    let received = '';
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(bytes.replaceAll(HOST, host), 'latin1'));
    socket.setEncoding('latin1').on('data', (text) => {
      received += text;
    });
    socket.on('error', () => undefined).on('close', () => resolve(received));
  });
}

/** Counts the logged requests of a tenant, without their repetitions in the audit log. */
const countRequests = (tenant: string): number =>
  service.logs.filter((line) => line.includes('"message":"request"') && line.includes(`"tenant":"${tenant}"`)).length;

it.each<[string, string]>([
  [
    'both a length and chunks',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    'two lengths',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Content-Length: 2\r\nContent-Length: 150\r\n\r\n{}${SMUGGLED}`,
  ],
  [
    'an encoding that only some parsers read as chunks',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    'a space before the colon',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    'a length with a sign',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Content-Length: +2\r\n\r\n{}${SMUGGLED}`,
  ],
  [
    'a chunk whose size is too large to be one',
    `POST /v1/responses HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    'a line that continues a header with another key',
    `GET /v1/models HTTP/1.1\r\nHost: ${HOST}\r\nX-Folded: a\r\n Authorization: Bearer sk-victim\r\nConnection: close\r\n\r\n`,
  ],
  [
    'a line feed alone in a header',
    `GET /v1/models HTTP/1.1\r\nHost: ${HOST}\r\nX-Injected: a\nAuthorization: Bearer sk-victim\r\nConnection: close\r\n\r\n`,
  ],
  [
    'a zero byte in a header',
    `GET /v1/models HTTP/1.1\r\nHost: ${HOST}\r\nX-Zero: a\0\r\n${OWN}Connection: close\r\n\r\n`,
  ],
])('a request with %s is refused, and no request within it is served', async (_, bytes) => {
  const before = countRequests('victim');
  const answer = await exchange(bytes);
  expect(answer.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 400']);
  expect(countRequests('victim')).toBe(before);
});

it('a request that follows another one on the same connection is served by its own key', async () => {
  const before = countRequests('victim');
  const first = `GET /v1/models HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}\r\n`;
  expect((await exchange(first + SMUGGLED)).match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
  await waitUntil('the request is logged', () => countRequests('victim') > before);
  expect(countRequests('victim')).toBe(before + 1);
});

it('the path of an absolute URL is that of the request, whichever host it names', async () => {
  const answer = await exchange(
    `GET http://evil.test/v1/models HTTP/1.1\r\nHost: ${HOST}\r\n${OWN}Connection: close\r\n\r\n`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
});

it('a function takes the caller from its authorizer alone, not from headers or fields that look like its context', async () => {
  const lambda = new LambdaClient({
    endpoint: service.cloud.endpoints['AWS_ENDPOINT_URL_LAMBDA'] ?? '',
    region: 'us-east-1',
    credentials: service.cloud.credentials,
  });
  const victim = { tenant: 'victim', keyId: 'victim-key', scopes: 'generate models.read' };
  const base = {
    ...{ httpMethod: 'GET', resource: '/v1/models', path: '/v1/models', pathParameters: null, body: null },
    headers: { Authorization: 'Bearer sk-victim', authorizer: JSON.stringify(victim), 'x-lambent-principal': 'victim' },
    multiValueHeaders: { Authorization: ['Bearer sk-victim'] },
    ...{ queryStringParameters: { authorizer: JSON.stringify(victim) }, multiValueQueryStringParameters: null },
    authorizer: victim,
  };
  const contexts = [
    { requestId: 'r' },
    { requestId: 'r', authorizer: null },
    { requestId: 'r', authorizer: { ...victim, tenant: '' } },
    { requestId: 'r', authorizer: { ...victim, tenant: ['victim'] } },
    { requestId: 'r', authorizer: { ...victim, tenant: 'victim/../other' } },
    { requestId: 'r', authorizer: { principalId: 'victim:victim-key' } },
    { requestId: 'r', authorizer: JSON.stringify(victim) },
  ];
  for (const requestContext of contexts) {
    const Payload = JSON.stringify({ ...base, requestContext });
    const { Payload: result } = await lambda.send(new InvokeCommand({ FunctionName: 'chat', Payload }));
    const [head = ''] = Buffer.from(result ?? [])
      .toString()
      .split('\0'.repeat(8));
    expect([requestContext, JSON.parse(head).statusCode]).toEqual([requestContext, 401]);
  }
  // With the context of its authorizer, the same event is served.
  const Payload = JSON.stringify({ ...base, requestContext: { requestId: 'r', authorizer: victim } });
  const { Payload: result } = await lambda.send(new InvokeCommand({ FunctionName: 'chat', Payload }));
  expect(Buffer.from(result ?? []).toString()).toContain('"statusCode":200');
  lambda.destroy();
});

it('a body that is never completed runs no function, and holds up no other request', async () => {
  const slow = 'Authorization: Bearer sk-slow\r\n';
  const head = `POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n${slow}${JSON_TYPE}Content-Length: 1000\r\n\r\n{"model":`;
  const sockets = Array.from({ length: 50 }, () => {
    const socket = connect(Number(new URL(service.cloud.url).port), '127.0.0.1', () => socket.write(head));
    return socket.on('error', () => undefined);
  });
  await waitUntil('all beginnings are sent', () => sockets.every((socket) => socket.bytesWritten === head.length));
  const { data, request_id: id } = await service.client.models.list().withResponse();
  expect(data.data.length).toBeGreaterThan(0);
  await waitUntil('the other request is logged', () =>
    service.logs.some((line) => line.includes('"message":"request"') && line.includes(`"requestId":"${id}"`)),
  );
  expect(countRequests('slow')).toBe(0);
  for (const socket of sockets) socket.destroy();
});

it('a compressed body is refused without being decompressed', async () => {
  const bomb = gzipSync(Buffer.alloc(50_000_000, ' '));
  expect(bomb.length).toBeLessThan(100_000);
  for (const path of ['/chat/completions', '/responses', '/embeddings', '/conversations', '/messages']) {
    const response = await fetch(`${service.cloud.url}${path}`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: bomb,
    });
    expect([path, response.status]).toEqual([path, 400]);
    await response.text();
  }
});
