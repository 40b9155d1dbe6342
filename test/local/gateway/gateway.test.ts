import { existsSync, mkdtempSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { closeAfterwards, functionOf, MODES, until, useCleanup } from '../runners.ts';
import { ROUTES, routeOf, testGateway } from './gateways.ts';

useCleanup();

const post = (url: string, orders: unknown, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body: JSON.stringify(orders), headers });

describe('a buffered response', () => {
  it('is forwarded with its status, headers and body', async () => {
    const { gateway } = await testGateway();
    const response = await post(`${gateway.url}/open`, {
      answer: {
        statusCode: 201,
        headers: { 'X-One': 1 },
        multiValueHeaders: { 'Set-Cookie': ['a=1', 'b=2'] },
        body: 'hé',
      },
    });
    expect([response.status, response.headers.get('x-one'), response.headers.getSetCookie()]).toEqual([
      201,
      '1',
      ['a=1', 'b=2'],
    ]);
    expect(response.headers.get('content-length')).toBe('3');
    expect(await response.text()).toBe('hé');
  });

  it('is decoded from base64 where the function says so', async () => {
    const { gateway } = await testGateway();
    const response = await post(`${gateway.url}/open`, {
      answer: { statusCode: 200, body: Buffer.from([0, 255]).toString('base64'), isBase64Encoded: true },
    });
    expect([...new Uint8Array(await response.arrayBuffer())]).toEqual([0, 255]);
  });

  it('cannot set the headers that the gateway sets itself', async () => {
    const { gateway } = await testGateway();
    const headers = { 'Content-Length': '99', 'Transfer-Encoding': 'chunked', 'WWW-Authenticate': 'Basic' };
    const response = await post(`${gateway.url}/open`, { answer: { statusCode: 200, headers, body: 'ok' } });
    expect(response.headers.get('www-authenticate')).toBeNull();
    expect(response.headers.get('x-amzn-remapped-www-authenticate')).toBe('Basic');
    expect(await response.text()).toBe('ok');
  });

  it.each([
    { statusCode: 'many' },
    { statusCode: 200, headers: { 'bad name': 'x' } },
    { statusCode: 200, headers: { 'x-bad': 'a\nb' } },
    { statusCode: 200, body: 7 },
    'text',
    [1],
  ])('is an integration failure if API Gateway does not understand it: %j', async (answer) => {
    const { gateway } = await testGateway();
    const { status, headers } = await post(`${gateway.url}/open`, { answer });
    expect([status, headers.get('x-bad')]).toEqual([502, null]);
  });

  it('has no body if the request is a HEAD request', async () => {
    const { gateway } = await testGateway();
    const response = await fetch(`${gateway.url}/open`, { method: 'HEAD' });
    expect([response.status, await response.text()]).toEqual([200, '']);
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100);
  });
});

describe.each(MODES)('a streamed response of a function in %s mode', (mode) => {
  it('is forwarded with its status and cookies, and each chunk as the function writes it', async () => {
    const { gateway } = await testGateway({}, { mode });
    const response = await post(`${gateway.url}/stream`, { status: 202, cookies: ['a=1', 'b=2'], pauseMs: 400 });
    expect([response.status, response.headers.get('content-type')]).toEqual([202, 'text/plain']);
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    const arrivals = new Map<string, number>();
    for await (const chunk of response.body ?? []) arrivals.set(Buffer.from(chunk).toString(), performance.now());
    expect([...arrivals.keys()]).toEqual(['one', 'two']);
    expect((arrivals.get('two') ?? 0) - (arrivals.get('one') ?? 0)).toBeGreaterThan(200);
  });

  it('sends its status before its body', async () => {
    const { gateway } = await testGateway({}, { mode });
    // The body would come only after the test's time limit.
    const response = await post(`${gateway.url}/stream`, { chunks: ['', 'late'], pauseMs: 600_000 });
    expect(response.status).toBe(200);
    await response.body?.cancel();
  });

  it('is forwarded whole if it is larger than 6 MB', async () => {
    const { gateway } = await testGateway({}, { mode });
    const response = await post(`${gateway.url}/stream`, { bytes: 30_000_000, chunks: [] });
    expect((await response.arrayBuffer()).byteLength).toBe(30_000_000);
  });

  it('is an integration failure if it ends without a write, and so without a status', async () => {
    const { gateway } = await testGateway({}, { mode });
    expect((await post(`${gateway.url}/stream`, { endOnly: true })).status).toBe(502);
  });

  it.each(['no prelude at all', '{"statusCode":"many"}\0\0\0\0\0\0\0\0body', `${'x'.repeat(20_000)}\0\0\0\0\0\0\0\0`])(
    'is an integration failure if its prelude is invalid',
    async (raw) => {
      const { gateway } = await testGateway({}, { mode });
      const response = await post(`${gateway.url}/stream`, { raw });
      expect([response.status, await response.json()]).toEqual([502, { message: 'Internal server error' }]);
    },
  );

  it('is an integration failure if its process is killed before the first byte', async () => {
    const { gateway } = await testGateway({}, { mode });
    expect((await post(`${gateway.url}/stream`, { killBefore: true })).status).toBe(502);
    expect((await post(`${gateway.url}/stream`, {})).status).toBe(200);
  });

  it.each([{ killAfter: true }, { throwAfter: 'late' }])(
    'is cut, not ended, if the function fails midway: %j',
    async (orders) => {
      const { gateway } = await testGateway({}, { mode });
      const response = await post(`${gateway.url}/stream`, orders);
      expect(response.status).toBe(200);
      await expect(response.text()).rejects.toThrow('terminated');
      expect(await (await post(`${gateway.url}/stream`, {})).text()).toBe('onetwo');
    },
  );

  it('runs to its end if the client disconnects', async () => {
    const { gateway } = await testGateway({}, { mode });
    const finishedFile = join(mkdtempSync(join(tmpdir(), 'lambent-')), 'finished');
    const abort = new AbortController();
    const chunks = Array.from({ length: 10 }, (_, index) => `chunk ${index}`);
    const response = await fetch(`${gateway.url}/stream`, {
      method: 'POST',
      body: JSON.stringify({ chunks, pauseMs: 50, bytes: 3_000_000, finishedFile }),
      signal: abort.signal,
    });
    expect(response.status).toBe(200);
    abort.abort();
    await until(() => existsSync(finishedFile));
  });
});

describe('a timeout', () => {
  it('of a route ends the request, but not the function', async () => {
    const routes = [routeOf('POST', '/open', { timeoutMs: 400 })];
    const { gateway, runner } = await testGateway({ routes });
    const response = await post(`${gateway.url}/open`, { sleepMs: 1_500, log: 'ran to its end' });
    expect([response.status, await response.json()]).toEqual([504, { message: 'Endpoint request timed out' }]);
    await until(() => runner.logs.some((line) => line.text === 'ran to its end'));
  });

  it('of a route cuts a stream', async () => {
    const routes = [routeOf('POST', '/stream', { function: 'stream', streamed: true, timeoutMs: 600 })];
    const { gateway } = await testGateway({ routes });
    const response = await post(`${gateway.url}/stream`, { pauseMs: 5_000 });
    await expect(response.text()).rejects.toThrow('terminated');
  });

  it('of a function is an integration failure', async () => {
    const { gateway } = await testGateway({}, { functions: [functionOf('echo', { timeoutMs: 500 })] });
    expect((await post(`${gateway.url}/open`, { spin: true })).status).toBe(502);
  });
});

describe('a request', () => {
  it('without a route for its path and method is refused as by API Gateway', async () => {
    const { gateway } = await testGateway();
    for (const [path, method] of [
      ['/nowhere', 'GET'],
      ['/closed', 'DELETE'],
      ['/open/../nowhere', 'GET'],
    ] as const) {
      const response = await fetch(gateway.url + path, { method });
      expect(response.status).toBe(403);
      expect(response.headers.get('x-amzn-errortype')).toBe('MissingAuthenticationTokenException');
    }
  });

  it('larger than the limit of API Gateway or Lambda gets a readable response with status 413', async () => {
    const { gateway } = await testGateway();
    for (const size of [11_000_000, 7_000_000]) {
      const response = await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(size) });
      expect(response.status).toBe(413);
    }
    expect((await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(1_000_000) })).status).toBe(200);
  });

  it('larger than 10 MB and sent in chunks gets status 413', async () => {
    const { gateway } = await testGateway();
    const status = await new Promise<number | undefined>((done, fail) => {
      const call = request(`${gateway.url}/open`, { method: 'POST' }, (response) => {
        response.resume();
        done(response.statusCode);
      });
      call.on('error', fail);
      for (let chunk = 0; chunk < 12; chunk += 1) call.write('x'.repeat(1_000_000));
      call.end();
    });
    expect(status).toBe(413);
  });

  it.each([
    { what: 'broken syntax', bytes: 'NONSENSE\r\n\r\n', status: 400 },
    { what: 'an endless header', bytes: `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, status: 431 },
    { what: 'a control character in a header', bytes: 'GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n', status: 400 },
    { what: 'no host', bytes: 'GET /open HTTP/1.1\r\nConnection: close\r\n\r\n', status: 200 },
    {
      what: 'a strange expectation',
      bytes: 'GET /open HTTP/1.1\r\nHost: a\r\nExpect: luck\r\nConnection: close\r\n\r\n',
      status: 200,
    },
    {
      what: 'an absolute URL',
      bytes: 'GET http://a/open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      status: 200,
    },
    { what: 'no path', bytes: 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', status: 403 },
  ])('with $what gets the response that the API defines', async ({ bytes, status }) => {
    const template = { 'application/json': '{"error":{"message":$context.error.messageString}}' };
    const responses = [{ responseType: 'DEFAULT_4XX', statusCode: undefined, templates: template, parameters: {} }];
    const { gateway } = await testGateway({ responses });
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    closeAfterwards({ close: () => socket.destroy() });
    socket.write(bytes);
    const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    if (status >= 400) expect(JSON.parse(body)).toEqual({ error: { message: expect.any(String) } });
  });

  it('that is a CORS preflight is answered without the function', async () => {
    const preflight = {
      kind: 'preflight',
      method: 'OPTIONS',
      resource: '/closed',
      headers: { 'Access-Control-Allow-Origin': 'https://app.test' },
    } as const;
    const { gateway, runner } = await testGateway({ routes: [...ROUTES, preflight] });
    const response = await fetch(`${gateway.url}/closed`, { method: 'OPTIONS' });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, 'https://app.test']);
    expect(runner.processes()).toEqual([]);
  });

  it('that Lambda throttles is an integration failure, as in API Gateway', async () => {
    const { gateway } = await testGateway({}, { functions: [functionOf('echo', { reservedConcurrency: 0 })] });
    expect((await post(`${gateway.url}/open`, {})).status).toBe(502);
  });

  it.each(MODES)('is served beside others, by processes of the function in %s mode', async (mode) => {
    const { gateway } = await testGateway({}, { mode });
    const answers = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const response = await post(`${gateway.url}/stream`, { pauseMs: 2_000 });
        return [response.headers.get('x-pid'), await response.text()] as const;
      }),
    );
    expect(answers.every(([, body]) => body === 'onetwo')).toBe(true);
    expect(new Set(answers.map(([pid]) => pid)).size).toBe(mode === 'managed' ? 1 : 8);
  });
});
