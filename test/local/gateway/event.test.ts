import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { useCleanup } from '../runners.ts';
import { startTestGateway } from './gateways.ts';

useCleanup();

const recorded = JSON.parse(readFileSync(resolve(import.meta.dirname, '../fixtures/api-gateway-event.json'), 'utf8'));

/** Sends a request exactly as given, and returns the event that the function received. */
async function requestEvent(
  options: { path?: string; method?: string; headers?: string[]; body?: Buffer; binaryMediaTypes?: string[] } = {},
) {
  const { binaryMediaTypes = [], path = '/open', method = 'POST', headers = [], body } = options;
  const api = { apiId: 'local', stage: 'test', region: 'eu-west-1', binaryMediaTypes };
  const { gateway } = await startTestGateway({ api, callers: { hosts: ['api.test'] } });
  const answer = await new Promise<string>((done, fail) => {
    const call = request(
      `${gateway.url}`,
      { path, method, headers: ['Host', 'api.test:1', ...headers] },
      (response) => {
        text(response).then(done, fail);
      },
    );
    call.on('error', fail);
    call.end(body);
  });
  return JSON.parse(answer);
}

describe('the event of a function', () => {
  it('the event has every field that API Gateway sends, of the same type', async () => {
    const { gateway } = await startTestGateway();
    const answer = await fetch(`${gateway.url}/closed?name=me`, {
      method: 'POST',
      headers: { authorization: 'Bearer good', 'user-agent': 'curl/8.5.0' },
      body: '{"hello":"world"}',
    });
    const event = Object(await answer.json());
    expect(findMissing(recorded, event)).toEqual([]);
    expect(event.requestContext).toMatchObject({
      requestId: answer.headers.get('x-amzn-requestid'),
      requestTime: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
      stage: 'test',
      identity: { sourceIp: '127.0.0.1', userAgent: 'curl/8.5.0' },
    });
    expect(event.requestContext.requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  });

  it("the event keeps the case, order and repetition of headers, and has the gateway's headers", async () => {
    const { headers, multiValueHeaders } = await requestEvent({
      headers: [
        'X-Two',
        'a',
        'X-Two',
        'b',
        'x-lower',
        'c',
        'X-Forwarded-For',
        '192.0.2.1',
        'X-Forwarded-Proto',
        'http',
      ],
    });
    expect(headers).toMatchObject({
      'X-Two': 'b',
      'x-lower': 'c',
      Host: 'api.test:1',
      'X-Forwarded-For': '192.0.2.1, 127.0.0.1',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Port': '443',
      'X-Amzn-Trace-Id': expect.stringMatching(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/),
    });
    expect(multiValueHeaders['X-Two']).toEqual(['a', 'b']);
  });

  it('the event has no headers of the connection', async () => {
    const { headers } = await requestEvent({ headers: ['TE', 'trailers', 'Keep-Alive', '1', 'Connection', 'close'] });
    expect(Object.keys(headers).map((name) => name.toLowerCase())).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(te|keep-alive|connection|transfer-encoding)$/)]),
    );
  });

  it('the event keeps headers with the names of properties that every object has', async () => {
    const { headers } = await requestEvent({ headers: ['__proto__', 'a', 'constructor', 'b', 'toString', 'c'] });
    expect(Object.entries(headers)).toEqual(
      expect.arrayContaining([
        ['__proto__', 'a'],
        ['constructor', 'b'],
        ['toString', 'c'],
      ]),
    );
  });

  it('the query of the event is decoded, and the path is not', async () => {
    const event = await requestEvent({ path: '/open/a%2Fb/%C3%A9?x=1&x=%C3%A9+2&empty&__proto__=p' });
    expect(event).toMatchObject({
      path: '/open/a%2Fb/%C3%A9',
      resource: '/open/{proxy+}',
      pathParameters: { proxy: 'a%2Fb/%C3%A9' },
      multiValueQueryStringParameters: { x: ['1', 'é 2'], empty: [''] },
      queryStringParameters: { x: 'é 2', empty: '' },
    });
    expect(Object.hasOwn(event.queryStringParameters, '__proto__')).toBe(true);
  });

  it('the event has null for each part that the request lacks', async () => {
    expect(await requestEvent({ method: 'GET' })).toMatchObject({
      body: null,
      queryStringParameters: null,
      multiValueQueryStringParameters: null,
      pathParameters: null,
      stageVariables: null,
      isBase64Encoded: false,
    });
  });

  it('the body in the event has U+FFFD for bytes that are not UTF-8, as in AWS', async () => {
    const { body, isBase64Encoded } = await requestEvent({ body: Buffer.from([0x61, 0xff, 0xc3, 0x28, 0x62]) });
    expect([body, isBase64Encoded]).toEqual(['a\uFFFD\uFFFD(b', false]);
  });

  it('the body in the event is base64 only if its media type is binary', async () => {
    const bytes = Buffer.from([0xff, 0x00, 0xfe]);
    const binaryMediaTypes = ['image/*', 'application/octet-stream'];
    const sent = (type: string) => requestEvent({ body: bytes, binaryMediaTypes, headers: ['content-type', type] });
    expect(await sent('image/png; q=1')).toMatchObject({ body: bytes.toString('base64'), isBase64Encoded: true });
    expect(await sent('text/plain')).toMatchObject({ isBase64Encoded: false });
  });
});

/**
 * Returns the paths at which `actual` lacks a field of `expected` or has a field of another type. The names of path
 * parameters and headers are not compared.
 */
function findMissing(expected: unknown, actual: unknown, path = 'event'): string[] {
  if (Array.isArray(expected) || typeof expected !== 'object' || expected === null) {
    const same = Array.isArray(expected) === Array.isArray(actual) && typeof expected === typeof actual;
    return same || expected === null || actual === null ? [] : [path];
  }
  if (/eaders$/.test(path) || /(pathParameters|authorizer)$/.test(path))
    return typeof actual === 'object' ? [] : [path];
  return Object.entries(expected).flatMap(([name, value]) =>
    Object.hasOwn(Object(actual), name)
      ? findMissing(value, Object(actual)[name], `${path}.${name}`)
      : [`${path}.${name}`],
  );
}
