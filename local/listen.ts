import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type GuardRules, guardServer } from './access/guard.ts';

export interface Listening {
  readonly port: number;
  /** Stops listening, cuts all connections, and resolves when they are closed. */
  close(): Promise<void>;
}

export interface ListenOptions extends GuardRules {
  /** 0 for any free port. */
  readonly port: number;
}

/**
 * Milliseconds for which an idle connection stays open. Node's default of 5 s is so short that on a busy machine a client may send
 * a request on a connection that the server is closing.
 */
const KEEP_ALIVE_MS = 65_000;

/**
 * Makes a server listen on 127.0.0.1 only, for requests that don't come from web pages of other sites.
 * @throws Error with the system's code (`EADDRINUSE`…) if it can't listen
 */
export async function listen(server: Server, { port, ...rules }: ListenOptions): Promise<Listening> {
  guardServer(server, rules);
  // With 0, they stay open for ever.
  if (server.keepAliveTimeout > 0) server.keepAliveTimeout = Math.max(server.keepAliveTimeout, KEEP_ALIVE_MS);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: readPort(server.address()),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function readPort(address: string | AddressInfo | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return address.port;
}
