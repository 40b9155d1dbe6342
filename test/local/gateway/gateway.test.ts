import { existsSync, mkdtempSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { closeAfterwards, createGate, defineFunction, MODES, until, useCleanup } from '../runners.ts';
import { createRoute, ROUTES, startTestGateway } from './gateways.ts';

useCleanup();

const post = (url: string, instructions: unknown, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', body: JSON.stringify(instructions), headers });

describe('a buffered response', () => {
  it('a buffered response is forwarded with its status, headers and body', async () => {
    const { gateway } = await startTestGateway();
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

  it('a buffered response is decoded from base64 if it has isBase64Encoded', async () => {
    const { gateway } = await startTestGateway();
    const response = await post(`${gateway.url}/open`, {
      answer: { statusCode: 200, body: Buffer.from([0, 255]).toString('base64'), isBase64Encoded: true },
    });
    expect([...new Uint8Array(await response.arrayBuffer())]).toEqual([0, 255]);
  });

  it('a buffered response cannot set the headers that the gateway sets itself', async () => {
    const { gateway } = await startTestGateway();
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
  ])('a response that API Gateway does not understand is an integration failure: %j', async (answer) => {
    const { gateway } = await startTestGateway();
    const { status, headers } = await post(`${gateway.url}/open`, { answer });
    expect([status, headers.get('x-bad')]).toEqual([502, null]);
  });

  it('the response to a HEAD request has no body', async () => {
    const { gateway } = await startTestGateway();
    const response = await fetch(`${gateway.url}/open`, { method: 'HEAD' });
    expect([response.status, await response.text()]).toEqual([200, '']);
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(100);
  });
});

describe.each(MODES)('a streamed response of a function in %s mode', (mode) => {
  it('a stream is forwarded with its status and cookies, and each chunk when the function writes it', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    const gate = createGate();
    const instructions = { status: 202, cookies: ['a=1', 'b=2'], untilFile: gate.file };
    const response = await post(`${gateway.url}/stream`, instructions);
    expect([response.status, response.headers.get('content-type')]).toEqual([202, 'text/plain']);
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    let received = '';
    for await (const chunk of response.body ?? []) {
      received += Buffer.from(chunk).toString();
      // The function writes the second chunk only after the first has arrived.
      if (received === 'one') gate.open();
    }
    expect(received).toBe('onetwo');
  });

  it('the status of a stream is sent before its body', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    // The body would come only after the test's time limit.
    const response = await post(`${gateway.url}/stream`, { chunks: ['', 'late'], pauseMs: 600_000 });
    expect(response.status).toBe(200);
    await response.body?.cancel();
  });

  it('a stream of more than 6 MB is forwarded completely', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    const response = await post(`${gateway.url}/stream`, { bytes: 30_000_000, chunks: [] });
    expect((await response.arrayBuffer()).byteLength).toBe(30_000_000);
  });

  it('a stream that ends without a write, and so without a status, is an integration failure', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    expect((await post(`${gateway.url}/stream`, { endOnly: true })).status).toBe(502);
  });

  it.each(['no prelude at all', '{"statusCode":"many"}\0\0\0\0\0\0\0\0body', `${'x'.repeat(20_000)}\0\0\0\0\0\0\0\0`])(
    'a stream with an invalid prelude is an integration failure',
    async (raw) => {
      const { gateway } = await startTestGateway({}, { mode });
      const response = await post(`${gateway.url}/stream`, { raw });
      expect([response.status, await response.json()]).toEqual([502, { message: 'Internal server error' }]);
    },
  );

  it('a stream is an integration failure if its function throws before the first byte', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    for (const instructions of [{ throwBefore: 'early' }, { throwPrelude: 'early' }]) {
      const response = await post(`${gateway.url}/stream`, instructions);
      expect([response.status, await response.json()]).toEqual([502, { message: 'Internal server error' }]);
    }
    expect((await post(`${gateway.url}/stream`, {})).status).toBe(200);
  });

  it('a stream is an integration failure if its process is killed before the first byte', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    expect((await post(`${gateway.url}/stream`, { killBefore: true })).status).toBe(502);
    expect((await post(`${gateway.url}/stream`, {})).status).toBe(200);
  });

  it('a stream is cut, not ended, if the function throws midway', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    const response = await post(`${gateway.url}/stream`, { throwAfter: 'late' });
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow('terminated');
    expect(await (await post(`${gateway.url}/stream`, {})).text()).toBe('onetwo');
  });

  it('a stream is cut, not ended, if its process is killed midway', async () => {
    const { gateway } = await startTestGateway({}, { mode });
    const response = await post(`${gateway.url}/stream`, { untilFile: createGate().file });
    expect(response.status).toBe(200);
    process.kill(Number(response.headers.get('x-pid')), 'SIGKILL');
    await expect(response.text()).rejects.toThrow('terminated');
    expect(await (await post(`${gateway.url}/stream`, {})).text()).toBe('onetwo');
  });

  it('a streaming function runs to its end if the client disconnects', async () => {
    const { gateway } = await startTestGateway({}, { mode });
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
  it('the timeout of a route ends the request, but not the function', async () => {
    const routes = [createRoute('POST', '/open', { timeoutMs: 400 })];
    const { gateway, runner } = await startTestGateway({ routes });
    const response = await post(`${gateway.url}/open`, { sleepMs: 1_500, log: 'ran to its end' });
    expect([response.status, await response.json()]).toEqual([504, { message: 'Endpoint request timed out' }]);
    await until(() => runner.logs.some((line) => line.text === 'ran to its end'));
  });

  it('the timeout of a route cuts a stream', async () => {
    const routes = [createRoute('POST', '/stream', { function: 'stream', streamed: true, timeoutMs: 3_000 })];
    const { gateway, runner } = await startTestGateway({ routes });
    // With a running process, the response begins long before the timeout.
    await buffer((await runner.invoke('stream', '{}')).body);
    const response = await post(`${gateway.url}/stream`, { untilFile: createGate().file });
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow('terminated');
  });

  it('the timeout of a function is an integration failure', async () => {
    const { gateway } = await startTestGateway({}, { functions: [defineFunction('echo', { timeoutMs: 500 })] });
    expect((await post(`${gateway.url}/open`, { spin: true })).status).toBe(502);
  });
});

describe('a request', () => {
  it('a request without a route for its path and method is refused as by API Gateway', async () => {
    const { gateway } = await startTestGateway();
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

  it('a request larger than the limit of API Gateway or Lambda gets a readable response with status 413', async () => {
    const { gateway } = await startTestGateway();
    for (const size of [11_000_000, 7_000_000]) {
      const response = await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(size) });
      expect(response.status).toBe(413);
    }
    expect((await fetch(`${gateway.url}/open`, { method: 'POST', body: 'x'.repeat(1_000_000) })).status).toBe(200);
  });

  it('a request of more than 10 MB that is sent in chunks gets status 413', async () => {
    const { gateway } = await startTestGateway();
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
    { detail: 'broken syntax', bytes: 'NONSENSE\r\n\r\n', status: 400 },
    {
      detail: 'an endless header',
      bytes: `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      status: 431,
    },
    { detail: 'a control character in a header', bytes: 'GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n', status: 400 },
    { detail: 'no host', bytes: 'GET /open HTTP/1.1\r\nConnection: close\r\n\r\n', status: 403 },
    {
      detail: 'a strange expectation',
      bytes: 'GET /open HTTP/1.1\r\nHost: localhost\r\nExpect: luck\r\nConnection: close\r\n\r\n',
      status: 200,
    },
    {
      detail: 'an absolute URL',
      bytes: 'GET http://localhost/open HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
      status: 200,
    },
    { detail: 'no path', bytes: 'OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', status: 403 },
  ])('a request with $detail gets status $status, and an error has a message', async ({ bytes, status }) => {
    const template = { 'application/json': '{"error":{"message":$context.error.messageString}}' };
    const responses = [{ responseType: 'DEFAULT_4XX', statusCode: undefined, templates: template, parameters: {} }];
    const { gateway } = await startTestGateway({ responses });
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    closeAfterwards({ close: () => socket.destroy() });
    socket.write(bytes);
    const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    if (status >= 400) expect(JSON.parse(body)).toMatchObject({ error: { message: expect.any(String) } });
  });

  it('a CORS preflight request is answered without the function', async () => {
    const preflight = {
      kind: 'mock',
      method: 'OPTIONS',
      resource: '/closed',
      headers: { 'Access-Control-Allow-Origin': 'https://app.test' },
      body: '',
    } as const;
    const { gateway, runner } = await startTestGateway({ routes: [...ROUTES, preflight] });
    const response = await fetch(`${gateway.url}/closed`, { method: 'OPTIONS' });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, 'https://app.test']);
    expect(runner.processes()).toEqual([]);
  });

  it('a request that Lambda throttles is an integration failure, as in API Gateway', async () => {
    const { gateway } = await startTestGateway({}, { functions: [defineFunction('echo', { reservedConcurrency: 0 })] });
    expect((await post(`${gateway.url}/open`, {})).status).toBe(502);
  });

  it.each(MODES)(
    'concurrent requests are served by one process or by several, depending on the mode: %s',
    async (mode) => {
      const { gateway, runner } = await startTestGateway({}, { mode });
      const gate = createGate();
      const calls = Array.from({ length: 8 }, async () => {
        const response = await post(`${gateway.url}/stream`, { untilFile: gate.file });
        return [response.headers.get('x-pid'), await response.text()] as const;
      });
      await until(() => runner.processes().flatMap(({ requestIds }) => requestIds).length === 8);
      gate.open();
      const answers = await Promise.all(calls);
      expect(answers.every(([, body]) => body === 'onetwo')).toBe(true);
      expect(new Set(answers.map(([pid]) => pid)).size).toBe(mode === 'managed' ? 1 : 8);
    },
  );
});
