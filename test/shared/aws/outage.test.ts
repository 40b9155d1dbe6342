import { connect, createServer, type LookupFunction, type NetConnectOpts } from 'node:net';
import { expect, it } from 'vitest';
import { isUnsent } from '../../../shared/aws/outage.ts';

const toAddresses =
  (...addresses: string[]): LookupFunction =>
  (_name, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: 4 })),
    );

/** Returns the error of a connection. */
const fail = (options: NetConnectOpts) => new Promise<Error>((resolve) => connect(options).once('error', resolve));

it('a request whose connection was refused, at all addresses of a name, was not sent', async () => {
  expect(isUnsent(await fail({ host: '127.0.0.1', port: 1 }))).toBe(true);
  const refused = await fail({ host: 'name.test', port: 1, lookup: toAddresses('127.0.0.1', '127.0.0.2') });
  expect(refused).toBeInstanceOf(AggregateError);
  expect(isUnsent(refused)).toBe(true);
});

it('a request to a name without an address was not sent', async () => {
  expect(isUnsent(await fail({ host: 'name.invalid', port: 1 }))).toBe(true);
});

it('a request on a connection that broke may have been sent', async () => {
  const server = createServer((socket) => socket.once('data', () => socket.resetAndDestroy())).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const broken = await new Promise<Error>((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }).once('error', resolve);
    socket.write('request');
  });
  expect(broken).toMatchObject({ code: 'ECONNRESET' });
  expect(isUnsent(broken)).toBe(false);
  server.close();
});
