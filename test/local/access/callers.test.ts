import { createServer } from 'node:http';
import { connect } from 'node:http2';
import { describe, expect, it } from 'vitest';
import { findCallerProblem } from '../../../local/access/callers.ts';
import { startBedrock } from '../../../local/bedrock/server.ts';
import { listen } from '../../../local/listen.ts';
import { startTestGateway } from '../gateway/gateways.ts';
import { closeAfterwards, useCleanup } from '../runners.ts';
import { sendRaw } from './signed-requests.ts';

useCleanup();

describe('the rules for callers', () => {
  it.each(['127.0.0.1:3000', 'localhost', 'LOCALHOST:5173', '[::1]:3000', 'localhost:'])('Host may be %s', (host) => {
    expect(findCallerProblem({ host })).toBeUndefined();
  });

  it.each([
    'evil.example',
    '127.0.0.1.evil.example',
    'localhost.evil.example:3000',
    '',
    '127.0.0.1@evil.example',
    '0.0.0.0',
    '[::ffff:7f00:1]',
  ])('Host may not be %j', (host) => {
    expect(findCallerProblem({ host })).toBe('host_not_allowed');
  });

  it('a request without Host is refused', () => {
    expect(findCallerProblem({})).toBe('host_not_allowed');
  });

  it('the pseudo-header of HTTP/2 counts like Host', () => {
    expect(findCallerProblem({ ':authority': 'localhost:3000' })).toBeUndefined();
    expect(findCallerProblem({ ':authority': 'evil.example' })).toBe('host_not_allowed');
  });

  it('with the origin *, a page of another site may send requests without Origin too', () => {
    const headers = { host: 'localhost', 'sec-fetch-site': 'cross-site' };
    expect(findCallerProblem(headers)).toBe('origin_not_allowed');
    expect(findCallerProblem(headers, { origin: '*' })).toBeUndefined();
  });

  it('a host name of the settings is accepted, and so are web pages under it', () => {
    const rules = { hosts: ['lambent.internal'] };
    const host = 'lambent.internal:8080';
    expect(findCallerProblem({ host }, rules)).toBeUndefined();
    expect(findCallerProblem({ host, origin: 'https://lambent.internal' }, rules)).toBeUndefined();
    expect(findCallerProblem({ host: 'other.internal' }, rules)).toBe('host_not_allowed');
  });

  const host = '127.0.0.1:3000';
  it.each(['http://localhost:5173', 'http://127.0.0.1:3000', 'https://[::1]:1'])('Origin may be %s', (origin) => {
    // The name localhost and the address are different sites for a browser.
    expect(findCallerProblem({ host, origin, 'sec-fetch-site': 'cross-site' })).toBeUndefined();
  });

  it.each([
    'null',
    'https://evil.example',
    'http://localhost.evil.example',
    'file://',
    'chrome-extension://localhost',
    '',
  ])('Origin may not be %j', (origin) => {
    expect(findCallerProblem({ host, origin })).toBe('origin_not_allowed');
  });

  it('the origin of the setting corsOrigin is accepted, and * accepts all', () => {
    const origin = 'https://app.example.com';
    expect(findCallerProblem({ host, origin }, { origin })).toBeUndefined();
    expect(findCallerProblem({ host, origin: 'https://evil.example' }, { origin })).toBe('origin_not_allowed');
    expect(
      findCallerProblem({ host, origin: 'null', 'sec-fetch-site': 'cross-site' }, { origin: '*' }),
    ).toBeUndefined();
  });

  it('a request of another site without Origin is refused, and one that a user typed is accepted', () => {
    expect(findCallerProblem({ host, 'sec-fetch-site': 'cross-site' })).toBe('origin_not_allowed');
    for (const site of ['none', 'same-origin', 'same-site']) {
      expect(findCallerProblem({ host, 'sec-fetch-site': site })).toBeUndefined();
    }
  });
});

describe('a server on this machine', () => {
  it('a server does not see a request of another site', async () => {
    let served = 0;
    const server = createServer((_request, response) => {
      served += 1;
      response.end('served');
    });
    const { port } = closeAfterwards(await listen(server, { port: 0 }));
    const url = `http://127.0.0.1:${port}`;
    const body = 'x'.repeat(1_000_000);
    const refused = await sendRaw(url, { headers: { host: 'evil.example' }, body });
    expect([refused.status, JSON.parse(refused.body)]).toMatchObject([403, { message: expect.stringMatching(/Host/) }]);
    const expecting = { host: 'evil.example', expect: '100-continue' };
    expect((await sendRaw(url, { headers: expecting, body })).status).toBe(403);
    expect((await sendRaw(url, { headers: { origin: 'https://evil.example' }, body })).status).toBe(403);
    expect(served).toBe(0);
    expect((await sendRaw(url, { body })).body).toBe('served');
  });

  it("the gateway's refusals are OpenAI's error objects", async () => {
    const { gateway } = await startTestGateway();
    const refuse = async (headers: Record<string, string>) => {
      const { status, headers: answered, body } = await sendRaw(gateway.url, { path: '/open', headers, body: '{}' });
      expect(answered).not.toHaveProperty('access-control-allow-origin');
      return [status, JSON.parse(body)];
    };
    const error = { type: 'invalid_request_error', param: null, message: expect.any(String) };
    expect(await refuse({ host: 'evil.example:3000' })).toEqual([
      403,
      { error: { ...error, code: 'host_not_allowed' } },
    ]);
    expect(await refuse({ origin: 'https://evil.example' })).toEqual([
      403,
      { error: { ...error, code: 'origin_not_allowed' } },
    ]);
  });

  it('the stand-in for Bedrock refuses requests of other sites over HTTP/1.1 and HTTP/2', async () => {
    const { url } = closeAfterwards(await startBedrock({ respond: async function* () {} }));
    expect((await sendRaw(url, { path: '/model/m/converse', headers: { host: 'evil.example' } })).status).toBe(403);
    const session = connect(url);
    closeAfterwards({ close: () => session.destroy() });
    const stream = session.request({ ':method': 'POST', ':path': '/model/m/converse', ':authority': 'evil.example' });
    const status = await new Promise((resolve) =>
      stream.on('response', (headers) => resolve(headers[':status'])).end(),
    );
    expect(status).toBe(403);
  });
});
