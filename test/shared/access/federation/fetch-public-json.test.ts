import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fetchPublicJson } from '../../../../shared/access/federation/fetch-public-json.ts';
import { hasPrivateHost, isPublicUrl } from '../../../../shared/access/federation/public-url.ts';
import { type OidcIssuer, startOidcIssuer } from '../../../upstreams/oidc-issuer.ts';

const UNAVAILABLE = { code: 'issuer_unavailable' };

let local: OidcIssuer;
let secure: OidcIssuer;
beforeAll(async () => {
  // A key of these tests only, and its certificate for localhost and issuer.example.com.
  const pem = readFileSync(join(import.meta.dirname, 'localhost.pem'), 'utf8');
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), pem]);
  local = await startOidcIssuer();
  secure = await startOidcIssuer({
    createServer: (listener) => createTlsServer({ key: pem, cert: pem }, listener),
    origin: 'https://localhost',
  });
});
afterAll(async () => {
  await local[Symbol.asyncDispose]();
  await secure[Symbol.asyncDispose]();
});

const toAddress = (address: string) => (_host: string, options: object, done: unknown) => {
  const family = address.includes(':') ? 6 : 4;
  const isAll = 'all' in options && options.all === true;
  if (typeof done === 'function') isAll ? done(null, [{ address, family }]) : done(null, address, family);
};

it('a document is fetched by TLS', async () => {
  expect(await fetchPublicJson(`${secure.url}/keys`, { isLoopbackAllowed: true })).toEqual({ keys: secure.keys });
});

it("a server whose certificate isn't for its name is refused", async () => {
  const url = `${secure.url.replace('localhost', 'other.example.com')}/keys`;
  const lookup = toAddress('127.0.0.1');
  await expect(fetchPublicJson(url, { isLoopbackAllowed: true, lookup })).rejects.toMatchObject(UNAVAILABLE);
});

describe('addresses', () => {
  it('the loopback address is refused, except on a laptop', async () => {
    const before = [secure.fetches(), local.fetches()];
    for (const url of [secure.url, secure.url.replace('localhost', '127.0.0.1'), local.url])
      await expect(fetchPublicJson(`${url}/keys`, { isLoopbackAllowed: false })).rejects.toMatchObject(UNAVAILABLE);
    expect([secure.fetches(), local.fetches()]).toEqual(before);
    expect(await fetchPublicJson(`${local.url}/keys`, { isLoopbackAllowed: true })).toEqual({ keys: local.keys });
  });

  it.each([
    '127.0.0.1',
    '10.0.0.1',
    '172.16.3.4',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '::1',
    'fd00:ec2::254',
    'fe80::1',
    '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
  ])('a name that resolves to %s is refused before a connection is made', async (address) => {
    const url = secure.url.replace('localhost', 'issuer.example.com');
    const before = secure.fetches();
    const options = { isLoopbackAllowed: false, lookup: toAddress(address) };
    await expect(fetchPublicJson(`${url}/keys`, options)).rejects.toThrow(/is not allowed/);
    expect(secure.fetches()).toBe(before);
  });

  it('a name that resolves to another address the second time is not resolved a second time', async () => {
    const url = secure.url.replace('localhost', 'issuer.example.com');
    let calls = 0;
    const lookup = (host: string, options: object, done: unknown) => {
      calls += 1;
      // On a laptop, 127.0.0.1 counts as public.
      toAddress(calls === 1 ? '127.0.0.1' : '169.254.169.254')(host, options, done);
    };
    expect(await fetchPublicJson(`${url}/keys`, { isLoopbackAllowed: true, lookup })).toEqual({ keys: secure.keys });
    expect(calls).toBe(1);
  });

  it.each([
    'https://2130706433/',
    'https://0x7f.1/',
    'https://127.1/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
  ])('the address %s is refused in any notation', async (url) => {
    await expect(fetchPublicJson(url, { isLoopbackAllowed: false })).rejects.toThrow(/is not allowed/);
  });
});

describe('URLs', () => {
  it.each([
    'http://issuer.example.com/',
    'ftp://issuer.example.com/',
    'file:///etc/passwd',
    'data:application/json,{}',
    'https://user:secret@issuer.example.com/',
    'https://issuer.example.com/#fragment',
    'issuer.example.com',
    '',
  ])('"%s" is not fetched', async (url) => {
    expect(isPublicUrl(url, false)).toBe(false);
    await expect(fetchPublicJson(url, { isLoopbackAllowed: false })).rejects.toMatchObject(UNAVAILABLE);
  });

  it.each([
    ...[
      '127.0.0.1',
      '10.0.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '169.254.169.254',
      '100.64.0.1',
      '0.0.0.0',
      '224.0.0.1',
    ],
    ...[
      '2130706433',
      '0x7f.1',
      '127.1',
      '0177.0.0.1',
      'localhost',
      'LOCALHOST',
      'localhost.',
      'a.localhost',
      '127.0.0.1.',
    ],
    ...[
      '[::1]',
      '[::]',
      '[::ffff:127.0.0.1]',
      '[::ffff:8.8.8.8]',
      '[fc00::1]',
      '[fe80::1]',
      '[2001:db8::1]',
      '[ff02::1]',
    ],
    ...['[64:ff9b::a00:1]', '[2002:a00:1::1]', '[2001::1]'],
  ])('the host %s is private', async (host) => {
    expect(hasPrivateHost(`https://${host}:8443/path`, false)).toBe(true);
  });

  it.each(['issuer.example.com', '10.example.com', 'localhost.example.com', '8.8.8.8', '[2606:4700::1]', 'not a url'])(
    'the host %s is not known to be private',
    (host) => expect(hasPrivateHost(`https://${host}/`, false)).toBe(false),
  );

  it('on a laptop, only 127.0.0.1 is not private', () => {
    expect(hasPrivateHost('http://127.0.0.1:8080/', true)).toBe(false);
    for (const host of ['localhost', '127.0.0.2', '[::1]', '10.0.0.1'])
      expect(hasPrivateHost(`https://${host}/`, true)).toBe(true);
  });

  it('without TLS, a laptop fetches only from 127.0.0.1', () => {
    expect(isPublicUrl('http://127.0.0.1:8080/', true)).toBe(true);
    expect(isPublicUrl('http://localhost:8080/', true)).toBe(false);
    expect(isPublicUrl('http://127.0.0.1.example.com/', true)).toBe(false);
  });
});

describe('responses', () => {
  const fetchLocal = () => fetchPublicJson(`${local.url}/keys`, { isLoopbackAllowed: true });

  it('a redirect is not followed', async () => {
    let requests = 0;
    local.answerWith((_, response) => {
      requests += 1;
      response.writeHead(302, { location: `${local.url}/keys` }).end();
    });
    await expect(fetchLocal()).rejects.toThrow('status 302');
    expect(requests).toBe(1);
  });

  it('a response of more than 256 KiB is cut', async () => {
    const sent = Promise.withResolvers<number>();
    local.answerWith((_, response) => {
      let size = 0;
      const write = () => {
        if (response.destroyed) return;
        size += 65_536;
        response.write(' '.repeat(65_536), write);
      };
      response.once('close', () => sent.resolve(size));
      write();
    });
    await expect(fetchLocal()).rejects.toThrow(/more than 262144 bytes/);
    // What is in the buffers of both ends was sent, too.
    expect(await sent.promise).toBeLessThan(32 * 1024 * 1024);
  });

  it('a response that never ends is aborted', async () => {
    local.answerWith((_, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 50);
      response.once('close', () => clearInterval(timer));
    });
    await expect(fetchLocal()).rejects.toMatchObject(UNAVAILABLE);
  });

  it('a response that is not JSON is refused', async () => {
    local.answerWith((_, response) => response.end('<html>'));
    await expect(fetchLocal()).rejects.toMatchObject(UNAVAILABLE);
  });
});
