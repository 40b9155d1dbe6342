import { existsSync, mkdtempSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { closeAfterwards, functionOf, until, useCleanup } from '../runners.ts';
import { ROUTES, routeOf, testGateway } from './gateways.ts';

useCleanup();

const post = (url: string, orders: unknown, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body: JSON.stringify(orders), headers });

describe('an answer in one piece', () => {
  it('arrives with its status, headers and body', async () => {
    const { gateway } = await testGateway();
    const answer = await post(`${gateway.url}/open`, {
      answer: {
        statusCode: 201,
        headers: { 'X-One': 1 },
        multiValueHeaders: { 'Set-Cookie': ['a=1', 'b=2'] },
        body: 'hé',
      },
    });
    expect([answer.status, answer.headers.get('x-one'), answer.headers.getSetCookie()]).toEqual([
      201,
      '1',
      ['a=1', 'b=2'],
    ]);
    expect(answer.headers.get('content-length')).toBe('3');
    expect(await answer.text()).toBe('hé');
  });

  it('may be bytes, as base64', async () => {
    const { gateway } = await testGateway();
    const answer = await post(`${gateway.url}/open`, {
      answer: { statusCode: 200, body: Buffer.from([0, 255]).toString('base64'), isBase64Encoded: true },
    });
    expect([...new Uint8Array(await answer.arrayBuffer())]).toEqual([0, 255]);
  });

  it('cannot set what the gateway sets itself', async () => {
    const { gateway } = await testGateway();
    const headers = { 'Content-Length': '99', 'Transfer-Encoding': 'chunked', 'WWW-Authenticate': 'Basic' };
    const answer = await post(`${gateway.url}/open`, { answer: { statusCode: 200, headers, body: 'ok' } });
    expect(answer.headers.get('www-authenticate')).toBeNull();
    expect(answer.headers.get('x-amzn-remapped-www-authenticate')).toBe('Basic');
    expect(await answer.text()).toBe('ok');
  });

  it.each([
    { statusCode: 'many' },
    { statusCode: 200, headers: { 'bad name': 'x' } },
    { statusCode: 200, headers: { 'x-bad': 'a\nb' } },
    { statusCode: 200, body: 7 },
    'text',
    [1],
  ])('that API Gateway does not understand is an integration failure: %j', async (answer) => {
    const { gateway } = await testGateway();
    const { status, headers } = await post(`${gateway.url}/open`, { answer });
    expect([status, headers.get('x-bad')]).toEqual([502, null]);
  });

  it('to HEAD has no body', async () => {
    const { gateway } = await testGateway();
    const answer = await fetch(`${gateway.url}/open`, { method: 'HEAD' });
    expect([answer.status, await answer.text()]).toEqual([200, '']);
    expect(Number(answer.headers.get('content-length'))).toBeGreaterThan(100);
  });
});

describe('a streamed answer', () => {
  it('arrives with its status and cookies, and its chunks as they are written', async () => {
    const { gateway } = await testGateway();
    const answer = await post(`${gateway.url}/stream`, { status: 202, cookies: ['a=1', 'b=2'], pauseMs: 400 });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([202, 'text/plain']);
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    const arrivals = new Map<string, number>();
    for await (const chunk of answer.body ?? []) arrivals.set(Buffer.from(chunk).toString(), performance.now());
    expect([...arrivals.keys()]).toEqual(['one', 'two']);
    expect((arrivals.get('two') ?? 0) - (arrivals.get('one') ?? 0)).toBeGreaterThan(200);
  });

  it('shows its status before there is a body', async () => {
    const { gateway } = await testGateway();
    // The body would come only after the test's time limit.
    const answer = await post(`${gateway.url}/stream`, { chunks: ['', 'late'], pauseMs: 600_000 });
    expect(answer.status).toBe(200);
    await answer.body?.cancel();
  });

  it('arrives whole, however large', async () => {
    const { gateway } = await testGateway();
    const answer = await post(`${gateway.url}/stream`, { bytes: 30_000_000, chunks: [] });
    expect((await answer.arrayBuffer()).byteLength).toBe(30_000_000);
  });

  it('that ends without a write has no status, and is an integration failure', async () => {
    const { gateway } = await testGateway();
    expect((await post(`${gateway.url}/stream`, { endOnly: true })).status).toBe(502);
  });

  it.each(['no prelude at all', '{"statusCode":"many"}\0\0\0\0\0\0\0\0body', `${'x'.repeat(20_000)}\0\0\0\0\0\0\0\0`])(
    'with a broken prelude is an integration failure',
    async (raw) => {
      const { gateway } = await testGateway();
      const answer = await post(`${gateway.url}/stream`, { raw });
      expect([answer.status, await answer.json()]).toEqual([502, { message: 'Internal server error' }]);
    },
  );

  it('is an integration failure when its process is killed before the first byte', async () => {
    const { gateway } = await testGateway();
    expect((await post(`${gateway.url}/stream`, { killBefore: true })).status).toBe(502);
    expect((await post(`${gateway.url}/stream`, {})).status).toBe(200);
  });

  it.each([{ killAfter: true }, { throwAfter: 'late' }])(
    'is cut, not ended, when it fails midway: %j',
    async (orders) => {
      const { gateway } = await testGateway();
      const answer = await post(`${gateway.url}/stream`, orders);
      expect(answer.status).toBe(200);
      await expect(answer.text()).rejects.toThrow('terminated');
      expect(await (await post(`${gateway.url}/stream`, {})).text()).toBe('onetwo');
    },
  );

  it('goes on when its client goes away: nobody tells the function', async () => {
    const { gateway } = await testGateway();
    const finishedFile = join(mkdtempSync(join(tmpdir(), 'lambent-')), 'finished');
    const abort = new AbortController();
    const chunks = Array.from({ length: 10 }, (_, index) => `chunk ${index}`);
    const answer = await fetch(`${gateway.url}/stream`, {
      method: 'POST',
      body: JSON.stringify({ chunks, pauseMs: 50, bytes: 3_000_000, finishedFile }),
      signal: abort.signal,
    });
    expect(answer.status).toBe(200);
    abort.abort();
    await until(() => existsSync(finishedFile));
  });
});

describe('time', () => {
  it('that a route allows ends the wait, not the function', async () => {
    const routes = [routeOf('POST', '/open', { timeoutMs: 400 })];
    const { gateway, runner } = await testGateway({ routes });
    const answer = await post(`${gateway.url}/open`, { sleepMs: 1_500, log: 'ran to its end' });
    expect([answer.status, await answer.json()]).toEqual([504, { message: 'Endpoint request timed out' }]);
    await until(() => runner.logs.some((line) => line.text === 'ran to its end'));
  });

  it('that a route allows cuts a stream', async () => {
    const routes = [routeOf('POST', '/stream', { function: 'stream', streamed: true, timeoutMs: 600 })];
    const { gateway } = await testGateway({ routes });
    const answer = await post(`${gateway.url}/stream`, { pauseMs: 5_000 });
    await expect(answer.text()).rejects.toThrow('terminated');
  });

  it('that a function may take, and does, is an integration failure', async () => {
    const { gateway } = await testGateway({}, { functions: [functionOf('echo', { timeoutMs: 500 })] });
    expect((await post(`${gateway.url}/open`, { spin: true })).status).toBe(502);
  });
});

describe('a request', () => {
  it('to no route, or with another method, is refused as API Gateway does', async () => {
    const { gateway } = await testGateway();
    for (const [path, method] of [
      ['/nowhere', 'GET'],
      ['/closed', 'DELETE'],
      ['/open/../nowhere', 'GET'],
    ] as const) {
      const answer = await fetch(gateway.url + path, { method });
      expect(answer.status).toBe(403);
      expect(answer.headers.get('x-amzn-errortype')).toBe('MissingAuthenticationTokenException');
    }
  });

  it('above 10 MB, or above what Lambda takes, is too large, and its sender gets to read it', async () => {
    const { gateway } = await testGateway();
    for (const size of [11_000_000, 7_000_000]) {
      const answer = await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(size) });
      expect(answer.status).toBe(413);
    }
    expect((await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(1_000_000) })).status).toBe(200);
  });

  it('above 10 MB in chunks is too large as well', async () => {
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
  ])('with $what is answered in the words of the definition', async ({ bytes, status }) => {
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

  it('that a browser asks about beforehand is answered without the function', async () => {
    const preflight = {
      kind: 'preflight',
      method: 'OPTIONS',
      resource: '/closed',
      headers: { 'Access-Control-Allow-Origin': 'https://app.test' },
    } as const;
    const { gateway, runner } = await testGateway({ routes: [...ROUTES, preflight] });
    const answer = await fetch(`${gateway.url}/closed`, { method: 'OPTIONS' });
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, 'https://app.test']);
    expect(runner.processes()).toEqual([]);
  });

  it('beyond a reservation is an integration failure: API Gateway hides what Lambda said', async () => {
    const { gateway } = await testGateway({}, { functions: [functionOf('echo', { reservedConcurrency: 0 })] });
    expect((await post(`${gateway.url}/open`, {})).status).toBe(502);
  });

  it('may be one of many at once', async () => {
    const { gateway } = await testGateway();
    const answers = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const answer = await post(`${gateway.url}/stream`, { pauseMs: 2_000 });
        return [answer.headers.get('x-pid'), await answer.text()] as const;
      }),
    );
    expect(answers.every(([, body]) => body === 'onetwo')).toBe(true);
    expect(new Set(answers.map(([pid]) => pid)).size).toBe(8);
  });
});
